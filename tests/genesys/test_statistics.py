"""Statistics: what is asked for, as the reference prints it, and which numbers are believed."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from dcbridge.genesys import envelope, statistics
from dcbridge.genesys.statistics import Statistics, Value, Watched, service_state, updates, values_of, waits_of

API = Statistics("https://g.example.com/statistics/v3", "https://g.example.com/engagement/v3")
AHT = Watched("Agent", "agent", "AverageHandlingTime")
CUSTOM = Watched("Agent", "agent", definition={"notificationMode": "Periodical", "notificationFrequency": 10})


def test_a_subscription_is_asked_for_as_the_reference_prints_it() -> None:
    request = API.subscribe("UUID1", {"UUID2": AHT, "UUID3": CUSTOM})
    assert (request.method, str(request.url)) == (
        "POST",
        "https://g.example.com/statistics/v3/subscriptions?verbose=INFO",
    )
    assert orjson.loads(request.content) == {
        "operationId": "UUID1",
        "data": {
            "statistics": [
                {"statisticId": "UUID2", "objectId": "agent", "objectType": "Agent", "name": "AverageHandlingTime"},
                {
                    "statisticId": "UUID3",
                    "objectId": "agent",
                    "objectType": "Agent",
                    "definition": {"notificationMode": "Periodical", "notificationFrequency": 10},
                },
            ]
        },
    }


@pytest.mark.parametrize(
    ("request_", "method", "url", "cached"),
    [
        (
            API.values("a/b", ["1", "2"]),
            "GET",
            "/statistics/v3/subscriptions/a%2Fb/statistic-values?statisticIds=1,2&verbose=INFO",
            "",
        ),
        (API.unsubscribe("id"), "DELETE", "/statistics/v3/subscriptions/id", ""),
        (API.peek([AHT]), "POST", "/statistics/v3/operations/get-statistic-ex", ""),
        (
            API.peek_by_key([AHT], 1.0),
            "POST",
            "/engagement/v3/statistics/operations/get-statistic-ex",
            "max-age=15",
        ),
        (API.peek_by_key([AHT], 30.0), "POST", "/engagement/v3/statistics/operations/get-statistic-ex", "max-age=30"),
        (API.waits(["VQ Sales", "ü"]), "GET", "/engagement/v3/estimated-wait-time?virtual-queues=VQ+Sales,%C3%BC", ""),
    ],
)
def test_each_request(request_: httpx.Request, method: str, url: str, cached: str) -> None:
    assert (request_.method, str(request_.url)) == (method, f"https://g.example.com{url}")
    assert request_.headers.get("cache-control", "") == cached


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        (5.5, 5.5),
        ("5.5", 5.5),
        ({"value": 5}, 5.0),
        ({"value": "300"}, 300.0),
        ({"value": {"value": 5}}, None),
        ({"state": "Ready"}, None),
        (True, None),
        ("5e3", None),
        ("٥", None),
        ("Infinity", None),
        (10**13, None),
        (10**400, None),
        (None, None),
        ([5], None),
    ],
)
def test_a_number_is_taken_from_a_value_or_there_is_none(value: object, number: float | None) -> None:
    row = {"subscriptionId": "UUID1", "statisticId": "UUID2", "value": value, "timestamp": 1490830620000}
    assert updates({"statistics": [row]}) == [Value("UUID2", number, 1490830620.0, "UUID1")]


@pytest.mark.parametrize("at", [None, "soon", -5, 0, True, {"value": "x"}])
def test_a_time_that_is_none(at: object) -> None:
    assert updates({"statistics": [{"statisticId": "a", "value": 1, "timestamp": at}]})[0].at is None


@pytest.mark.parametrize(
    "data",
    [
        {
            "name": "StatisticUpdate",
            "topic": statistics.UPDATES,
            "data": {"statistics": [{"statisticId": "a", "value": 1}]},
        },
        {"statistics": [{"statisticId": "a", "value": 1}]},
    ],
)
def test_an_update_is_nested_or_flat(data: object) -> None:
    assert updates(data) == [Value("a", 1.0)]


@pytest.mark.parametrize("data", [None, [], {}, {"data": 5}, {"statistics": "x"}, {"data": {"statistics": {}}}])
def test_an_update_that_says_nothing(data: object) -> None:
    assert updates(data) == []


def test_no_more_values_are_read_than_there_could_be() -> None:
    assert len(updates({"statistics": [{"statisticId": "a", "value": 1}] * 5000})) == statistics.MOST


@pytest.mark.parametrize(
    ("data", "state"),
    [
        ({"data": {"serviceState": "UNAVAILABLE"}, "name": "ServiceStateChange", "topic": "x"}, "UNAVAILABLE"),
        ({"serviceState": "AVAILABLE"}, "AVAILABLE"),
        ({"serviceState": "SLEEPY"}, ""),
        ({"serviceState": ["AVAILABLE"]}, ""),
        (None, ""),
    ],
)
def test_the_state_of_the_service(data: object, state: str) -> None:
    assert service_state(data) == state


def read(body: Any) -> envelope.Reading:
    return envelope.read(httpx.Response(200, content=orjson.dumps(body)))


def test_a_peek_names_what_it_answers() -> None:
    row = {"name": "N", "objectType": "Agent", "objectId": "agent2", "value": {"value": 7}, "timestamp": 1490830620000}
    answer = read({"status": {"code": 0}, "data": {"statistics": [row]}})
    assert values_of(answer) == [Value("", 7.0, 1490830620.0, "", "N", "Agent", "agent2")]


@pytest.mark.parametrize(
    ("rows", "waits"),
    [
        ([{"virtualQueue": "VQ", "estimatedWaitTime": 90.5, "resultCode": 0}], {"VQ": 90.5}),
        ([{"virtualQueue": "VQ", "estimatedWaitTime": 0}], {"VQ": 0.0}),
        ([{"virtualQueue": "VQ", "estimatedWaitTime": -1, "resultCode": -2}], {"VQ": None}),
        ([{"virtualQueue": "VQ"}], {"VQ": None}),
        ([{"estimatedWaitTime": 5}, 5, None], {}),
        ({"virtualQueue": "VQ", "estimatedWaitTime": 5}, {}),
    ],
)
def test_estimated_waits(rows: object, waits: dict[str, float | None]) -> None:
    assert waits_of(read({"status": {"code": 200}, "data": rows})) == waits
