"""Bayeux as a client speaks it: what is believed of an answer, and what follows from it."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.genesys import bayeux
from dcbridge.genesys.bayeux import Advice, Event, Reconnect, Said, Session, Unreadable, read

HANDSHAKE = {"channel": "/meta/handshake", "successful": True, "clientId": "c1", "advice": {"timeout": 30000}}
TOPIC = "/statistics/v3/updates"


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no list"),
        (b"null", "no list"),
        (b'"/meta/connect"', "no list"),
        (b"[1]", "without a channel"),
        (b'[{"channel": 5}]', "without a channel"),
        (b'[{"channel": "/meta/connect"}', "no list"),
        (orjson.dumps([{"channel": "/a", "data": 1}] * (bayeux.MOST_MESSAGES + 1)), "too many"),
        (orjson.dumps([{"channel": "/a", "data": nested(bayeux.DEEPEST)}]), "too deeply"),
        (b" " * (bayeux.MOST_BYTES - 1) + b"[]", "too long"),
    ],
)
def test_an_answer_beyond_the_bounds_is_none(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(body)


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"[]", 0),
        (b'{"channel": "/a", "data": 1}', 1),  # one message without a list
        (orjson.dumps([{"channel": "/a", "data": 1}] * bayeux.MOST_MESSAGES), bayeux.MOST_MESSAGES),
        (orjson.dumps([{"channel": "/a", "data": nested(bayeux.DEEPEST - 2)}]), 1),
        (b" " * (bayeux.MOST_BYTES - 2) + b"[]", 0),
        (b'[{"channel": "/a", "data": null}]', 1),
        (b'[{"channel": "/a", "successful": true}]', 0),  # what we have published
    ],
)
def test_an_answer_within_the_bounds_is_read(body: bytes, events: int) -> None:
    assert len(read(body).events) == events


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Advice(Reconnect.RETRY, 1.0, 30.0)),  # what it leaves out holds on
        ({"reconnect": "handshake"}, Advice(Reconnect.HANDSHAKE, 1.0, 30.0)),
        ({"reconnect": "none", "interval": 0}, Advice(Reconnect.NONE, 0.0, 30.0)),
        ({"reconnect": "later"}, Advice(Reconnect.RETRY, 1.0, 30.0)),
        ({"reconnect": ["none"]}, Advice(Reconnect.RETRY, 1.0, 30.0)),
        ({"interval": 2500, "timeout": 60000}, Advice(Reconnect.RETRY, 2.5, 60.0)),
        ({"interval": -1, "timeout": -5}, Advice(Reconnect.RETRY, 1.0, 30.0)),
        ({"interval": True, "timeout": "60000"}, Advice(Reconnect.RETRY, 1.0, 30.0)),
        ({"interval": math.nan, "timeout": math.inf}, Advice(Reconnect.RETRY, 1.0, 120.0)),
        ({"interval": 10**400, "timeout": 10**400}, Advice(Reconnect.RETRY, 60.0, 120.0)),
        ({"interval": 1e12, "timeout": 10**30}, Advice(Reconnect.RETRY, 60.0, 120.0)),
    ],
)
def test_an_advice_is_believed_within_bounds(told: dict[str, Any], expected: Advice) -> None:
    assert Advice(Reconnect.RETRY, 1.0, 30.0).then(told) == expected


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=9), one, max_size=3),
    max_leaves=5,
)


@given(_ANYTHING)
def test_no_advice_makes_a_wait_endless(value: object) -> None:
    told = Advice().then({"interval": value, "timeout": value, "reconnect": value})
    assert 0 <= told.interval <= bayeux.LONGEST_INTERVAL
    assert 0 <= told.timeout <= bayeux.LONGEST_TIMEOUT


def test_what_a_client_says_in_its_order() -> None:
    session = Session()
    first = orjson.loads(session.handshake())
    assert first == [
        {
            "id": "1",
            "channel": "/meta/handshake",
            "version": "1.0",
            "minimumVersion": "1.0",
            "supportedConnectionTypes": ["long-polling"],
            "advice": {"timeout": 60000, "interval": 0},
        }
    ]
    session.heard(read(orjson.dumps([HANDSHAKE])))
    said = [session.subscribe(TOPIC), session.connect(at_once=True), session.connect(), session.disconnect()]
    assert [orjson.loads(one)[0] for one in said] == [
        {"id": "2", "channel": "/meta/subscribe", "subscription": TOPIC, "clientId": "c1"},
        {
            "id": "3",
            "channel": "/meta/connect",
            "connectionType": "long-polling",
            "advice": {"timeout": 0},
            "clientId": "c1",
        },
        {"id": "4", "channel": "/meta/connect", "connectionType": "long-polling", "clientId": "c1"},
        {"id": "5", "channel": "/meta/disconnect", "clientId": "c1"},
    ]


@pytest.mark.parametrize(
    ("said", "client_id"),
    [
        ({"channel": "/meta/connect", "successful": True}, "c1"),
        ({"channel": "/meta/connect", "successful": False, "error": "500::server"}, "c1"),
        ({"channel": "/meta/connect", "successful": False, "error": "402::session_unknown"}, ""),
        ({"channel": "/meta/connect", "successful": False, "error": "402:c1:Unknown Client ID"}, ""),
        ({"channel": "/meta/subscribe", "successful": False, "error": "403::subscribe_unknown"}, ""),
        ({"channel": "/meta/connect", "successful": True, "error": "402::session_unknown"}, "c1"),
        ({"channel": "/meta/connect", "successful": False, "advice": {"reconnect": "handshake"}}, ""),
        ({"channel": "/meta/connect", "successful": False, "advice": {"reconnect": "none"}}, ""),
        ({"channel": "/meta/connect", "successful": False, "advice": {"reconnect": "retry"}}, "c1"),
    ],
)
def test_a_session_is_over_when_the_server_says_so(said: dict[str, Any], client_id: str) -> None:
    session = Session()
    session.heard(read(orjson.dumps([HANDSHAKE])))
    session.heard(read(orjson.dumps([said])))
    assert session.client_id == client_id


@pytest.mark.parametrize("client_id", ["", None, 5, "x" * 201])
def test_a_handshake_without_an_id_opens_nothing(client_id: object) -> None:
    session = Session()
    session.heard(read(orjson.dumps([HANDSHAKE | {"clientId": client_id}])))
    assert session.client_id == ""


def test_events_ride_on_any_answer() -> None:
    answer = read(
        orjson.dumps(
            [
                {"channel": TOPIC, "data": {"a": 1}, "id": "7"},
                {"channel": "/meta/subscribe", "successful": True, "subscription": TOPIC, "error": "x" * 9000},
                {"channel": TOPIC, "data": 2},
            ]
        )
    )
    assert answer.events == (Event(TOPIC, {"a": 1}), Event(TOPIC, 2))
    assert answer.to("/meta/subscribe") == Said("/meta/subscribe", True, subscription=TOPIC)
    assert answer.to("/meta/connect") is None
