"""What an answer means, who we say we are, and that one receiver's silence is nobody else's."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from pydantic import ValidationError

from dcbridge.errors import (
    AccountFault,
    Deferred,
    Gone,
    OutcomeUnknown,
    Refused,
    SendError,
    Throttled,
    Unreachable,
)
from dcbridge.events.sinks.http import Http
from dcbridge.events.sinks.web import ANSWER_LIMIT
from tests.certificates import self_signed
from tests.events.receivers import (
    OK,
    SECRET,
    Names,
    Receiver,
    an_event,
    http_fields,
    http_sink,
    receiving,
    server_tls,
    unchecked,
)


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def fate(fields: Http, **how: Any) -> SendError | None:
    """None for delivered."""
    async with http_sink(fields, **how) as sink:
        try:
            await sink.deliver(an_event())
        except SendError as error:
            return error
    return None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
async def test_any_2xx_is_delivered(status: int) -> None:
    said = answer(status) if status != 204 else b"HTTP/1.1 204 x\r\n\r\n"
    async with receiving(Receiver([said])) as receiver:
        assert await fate(http_fields(receiver.url)) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, AccountFault),
        (308, AccountFault),
        (400, Deferred),
        (401, AccountFault),
        (402, Deferred),
        (403, AccountFault),
        (404, AccountFault),
        (405, AccountFault),
        (408, Deferred),
        (409, Deferred),
        (410, Gone),
        (411, Deferred),
        (413, Refused),
        (422, Deferred),
        (425, Deferred),
        (429, Throttled),
        (431, Refused),
        (500, OutcomeUnknown),
        (501, AccountFault),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
        (599, OutcomeUnknown),
    ],
)
async def test_what_an_answer_means(status: int, kind: type[SendError]) -> None:
    async with receiving(Receiver([answer(status, body=b"4111 1111 1111 1111")])) as receiver:
        error = await fate(http_fields(receiver.url))
    assert type(error) is kind
    assert (error.code, str(error), error.retry_after) == (str(status), str(status), None)


@pytest.mark.parametrize(
    ("status", "header", "kind", "least", "most"),
    [
        (429, "Retry-After: 120", Throttled, 120, 120),
        (503, "Retry-After: 7", Throttled, 7, 7),
        (429, "Retry-After: {in ten minutes}", Throttled, 400, 601),
        (503, "Retry-After: {long ago}", Throttled, 0, 0),
        (429, "Retry-After: 99999999", Throttled, 99999999, 99999999),  # what is kept to is not the sink's to say
        (500, "Retry-After: 30", OutcomeUnknown, 30, 30),
        (400, "Retry-After: 30", Deferred, 30, 30),
    ],
)
async def test_retry_after_is_carried(
    status: int, header: str, kind: type[SendError], least: float, most: float
) -> None:
    dates = {"in ten minutes": formatdate(time() + 600, usegmt=True), "long ago": formatdate(1, usegmt=True)}
    async with receiving(Receiver([answer(status, header.format_map(dates))])) as receiver:
        error = await fate(http_fields(receiver.url))
    assert type(error) is kind
    assert least <= (error.retry_after if error.retry_after is not None else -1) <= most


async def test_a_retry_after_that_is_none_is_none() -> None:
    async with receiving(Receiver([answer(503, "Retry-After: soon")])) as receiver:
        error = await fate(http_fields(receiver.url))
    assert (type(error), error.retry_after if error else 0) == (OutcomeUnknown, None)


async def test_nobody_listens_and_nobody_answers() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        error = await fate(http_fields(f"http://127.0.0.1:{bound.getsockname()[1]}/"))
        assert (type(error), error and error.code) == (Unreachable, "connect")
    async with receiving(Receiver([b""])) as receiver:
        error = await fate(http_fields(receiver.url, timeout=1.0))
        assert (type(error), error and error.code) == (OutcomeUnknown, "timeout")
        assert len(receiver.got) == 1


async def test_a_long_answer_is_read_to_the_limit_and_a_short_one_keeps_the_connection() -> None:
    long, short = answer(200, body=b"x" * (ANSWER_LIMIT * 8)), OK
    async with receiving(Receiver([long, short])) as receiver, http_sink(http_fields(receiver.url)) as sink:
        for _ in range(4):
            await sink.deliver(an_event())
        assert len(receiver.got) == 4
        assert receiver.connections == 2  # the one with the long answer was left


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ({}, None),
        ({"username": "dc", "password": "påss"}, "Basic " + base64.b64encode("dc:påss".encode()).decode()),
        ({"bearer": "tok"}, "Bearer tok"),
        ({"headers": {"Authorization": "Custom x"}}, "Custom x"),
    ],
)
async def test_who_we_are(more: dict[str, Any], sent: str | None) -> None:
    async with receiving(Receiver()) as receiver:
        fields = http_fields(receiver.url, **{"headers": {"X-Tenant": "7"}, **more})
        assert await fate(fields) is None
        assert "påss" not in repr(fields)
        assert "tok" not in repr(fields)
    [got] = receiver.got
    assert got.headers.get("authorization") == sent
    assert got.headers.get("x-tenant") == (None if more.get("headers") else "7")
    assert got.headers["user-agent"] == "dcbridge"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"headers": {"X-A": "b"}}, ""),
        ({"headers": {"Webhook-Id": "b"}}, "dcbridge writes itself"),
        ({"headers": {"ce-id": "b"}}, "dcbridge writes itself"),
        ({"headers": {"Host": "b"}}, "dcbridge writes itself"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "dcbridge writes itself"),
        ({"headers": {"X A": "b"}}, "is not the name of a header"),
        ({"headers": {"X-A": "b\r\nX-B: c"}}, "should be printable ASCII on one line"),
        ({"username": "u"}, "is missing: basic authentication has both"),
        ({"password": "p"}, "is missing: basic authentication has both"),
        ({"username": "u", "password": "p"}, ""),
        ({"username": "u", "password": "p", "bearer": "t"}, "a request has one Authorization"),
        ({"bearer": "t", "headers": {"authorization": "x"}}, "does not go with"),
        ({"client_key": "k.pem"}, "has no client_certificate"),
        ({"client_certificate": "c.pem", "client_key": "k.pem"}, ""),
        ({"secrets": []}, "at least 1"),
        ({"secrets": [SECRET] * 11}, "at most 10"),
        ({"timeout": 0}, "greater than 0"),
    ],
)
def test_fields_that_do_not_fit_together(more: dict[str, Any], says: str) -> None:
    if not says:
        assert http_fields("https://crm.example.com/", **{"allow": [], **more})
        return
    with pytest.raises(ValidationError, match=says):
        http_fields("https://crm.example.com/", **{"allow": [], **more})


# ---------------------------------------------------------------- TLS


async def test_the_name_of_the_url_is_asked_for_and_checked_though_the_address_is_pinned(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "named", "hooks.example.test")
    async with receiving(receiver := Receiver(), tls=server_tls(certificate, key, receiver)):
        for host, expected in (("hooks.example.test", None), ("other.example.test", "tls certificate of another host")):
            fields = http_fields(f"https://{host}:{receiver.port}/", ca_file=str(certificate))
            error = await fate(fields, names=Names(["127.0.0.1"]))
            assert (error and error.code) == expected
    assert receiver.names == ["hooks.example.test", "other.example.test"]
    assert [got.headers["host"] for got in receiver.got] == [f"hooks.example.test:{receiver.port}"]


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with receiving(receiver := Receiver(), tls=server_tls(certificate, key, receiver)):
        url = f"https://127.0.0.1:{receiver.port}/"
        error = await fate(http_fields(url))
        assert (type(error), error and error.code) == (Unreachable, "tls certificate not trusted")
        assert await fate(http_fields(url, ca_file=str(certificate))) is None
    assert len(receiver.got) == 1


async def test_a_receiver_that_asks_for_our_certificate(tmp_path: Path) -> None:
    theirs, ours, another = (self_signed(tmp_path, name) for name in ("theirs", "ours", "another"))
    tls = server_tls(*theirs, receiver := Receiver(), clients=ours[0])
    async with receiving(receiver, tls=tls):
        url = f"https://127.0.0.1:{receiver.port}/"
        shown = {"client_certificate": str(ours[0]), "client_key": str(ours[1])}
        assert await fate(http_fields(url, ca_file=str(theirs[0]), **shown)) is None
        assert len(receiver.got) == 1
        wrong = {"client_certificate": str(another[0]), "client_key": str(another[1])}
        for given in ({}, wrong):
            error = await fate(http_fields(url, ca_file=str(theirs[0]), **given))
            assert isinstance(error, Unreachable | OutcomeUnknown)  # TLS 1.3 says no after the handshake
        assert len(receiver.got) == 1


@pytest.mark.parametrize("missing", ["ca_file", "client_certificate", "client_key"])
async def test_files_that_cannot_be_read_are_told_with_the_attempt(tmp_path: Path, missing: str) -> None:
    certificate, key = self_signed(tmp_path)
    files = {"ca_file": str(certificate), "client_certificate": str(certificate), "client_key": str(key)}
    async with receiving(receiver := Receiver(), tls=server_tls(certificate, key, receiver)):
        url = f"https://127.0.0.1:{receiver.port}/"
        assert await fate(http_fields(url, **files)) is None
        error = await fate(http_fields(url, **files | {missing: str(tmp_path / "absent.pem")}))
        assert (type(error), error and error.code) == (AccountFault, "tls files")
        assert "absent" not in str(error)


def test_a_context_checks(tmp_path: Path) -> None:
    context = http_fields("https://127.0.0.1/").tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


# ---------------------------------------------------------------- beside each other


async def test_a_receiver_that_hangs_uses_its_own_connections_alone() -> None:
    async with (
        receiving(Receiver([b""])) as hanging,
        receiving(Receiver()) as healthy,
        http_sink(http_fields(hanging.url, timeout=60), connections=2) as stuck,
        http_sink(http_fields(healthy.url), connections=2) as well,
    ):
        waiting = [asyncio.ensure_future(stuck.deliver(an_event())) for _ in range(10)]
        await hanging.arrived(2)
        for _ in range(50):
            await well.deliver(an_event())
        assert len(healthy.got) == 50
        assert hanging.connections == 2
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_whoever_waits_in_vain_for_a_free_connection_spoke_to_nobody() -> None:
    fields = http_fields("http://127.0.0.1/", timeout=1.5)
    async with receiving(Receiver([b""])) as hanging, http_sink(unchecked(fields, hanging.url), connections=1) as sink:
        first = asyncio.ensure_future(sink.deliver(an_event()))
        await hanging.arrived(1)
        with pytest.raises(Unreachable):
            await sink.deliver(an_event())
        with pytest.raises(OutcomeUnknown):
            await first
    assert len(hanging.got) == 1
