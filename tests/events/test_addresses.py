"""Which addresses a webhook may reach. Every refusal has an accepted twin: one bit away, or allowed by the operator."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest
from pydantic import ValidationError

from dcbridge.errors import SendError
from dcbridge.events.sinks.http import Http
from dcbridge.transport.ssrf import Guard, network_of
from tests.events.receivers import (
    SECRET,
    Names,
    Receiver,
    an_event,
    http_fields,
    http_sink,
    receiving,
    unchecked,
)

HOST = "hooks.example.test"

# Forbidden, and its public neighbour.
EDGES = [
    ("0.255.255.255", "1.0.0.0"),
    ("10.0.0.0", "9.255.255.255"),
    ("10.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.63.255.255"),
    ("100.127.255.255", "100.128.0.0"),
    ("127.0.0.1", "126.255.255.255"),
    ("127.255.255.255", "128.0.0.0"),
    ("169.254.0.1", "169.253.255.255"),
    ("169.254.169.254", "169.255.0.0"),
    ("172.16.0.0", "172.15.255.255"),
    ("172.31.255.255", "172.32.0.0"),
    ("192.0.0.192", "192.0.1.0"),
    ("192.0.2.1", "192.0.3.0"),
    ("192.88.99.1", "192.88.100.0"),
    ("192.168.0.1", "192.167.255.255"),
    ("192.168.255.255", "192.169.0.0"),
    ("198.18.0.1", "198.17.255.255"),
    ("198.19.255.255", "198.20.0.0"),
    ("198.51.100.1", "198.51.101.0"),
    ("203.0.113.1", "203.0.114.0"),
    ("224.0.0.1", "223.255.255.255"),
    ("239.255.255.255", "223.255.255.254"),
    ("240.0.0.1", "223.255.255.253"),
    ("255.255.255.255", "223.255.255.252"),
    ("168.63.129.16", "168.63.129.17"),  # Azure's WireServer has a public address
    ("::", "2606:4700::1"),
    ("::1", "2606:4700::1"),
    ("::127.0.0.1", "2606:4700::1"),  # "IPv4-compatible", long gone and still understood by some
    ("::ffff:127.0.0.1", "::ffff:8.8.8.8"),
    ("::ffff:10.0.0.1", "::ffff:9.0.0.1"),
    ("::ffff:169.254.169.254", "::ffff:169.253.169.254"),
    ("64:ff9b::7f00:1", "64:ff9b::808:808"),
    ("64:ff9b::a9fe:a9fe", "64:ff9b::a9fd:a9fe"),
    ("64:ff9b:1::808:808", "64:ff9b::808:808"),  # a NAT64 of somebody's own
    ("2002:7f00:1::", "2002:808:808::"),
    ("2002:a9fe:a9fe::1", "2002:a9fd:a9fe::1"),
    ("2001::1", "2001:200::1"),  # Teredo
    ("2001:db8::1", "2001:db9::1"),
    ("3fff::1", "2606:4700::1"),
    ("fc00::1", "2606:4700::1"),
    ("fd00:ec2::254", "2606:4700::1"),
    ("fd12:3456::1", "2606:4700::1"),
    ("fe80::1", "2606:4700::1"),
    ("fec0::1", "2606:4700::1"),
    ("ff02::1", "2606:4700::1"),
    ("4000::1", "3ffe::1"),  # given to nobody
]


@pytest.mark.parametrize(("forbidden", "public"), EDGES)
def test_public_addresses_may_be_reached_and_no_others(forbidden: str, public: str) -> None:
    guard = Guard(HOST)
    assert not guard.allows(ip_address(forbidden))
    assert guard.allows(ip_address(public))


@pytest.mark.parametrize("forbidden", [forbidden for forbidden, _ in EDGES])
def test_an_operator_may_allow_any_of_them_by_its_own_address(forbidden: str) -> None:
    address = ip_address(forbidden)
    assert Guard(HOST, [forbidden]).allows(address)
    assert not Guard(HOST, [str(address - 1 if int(address) else address + 1)]).allows(address)


# What an allowed host opens: what networks give to their own machines. Nothing that is special everywhere.
@pytest.mark.parametrize(
    ("address", "by_host"),
    [
        ("10.1.2.3", True),
        ("172.20.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("fd12:3456::1", True),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::a01:203", True),
        ("169.254.169.254", False),
        ("169.254.10.1", False),
        ("::ffff:169.254.169.254", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),  # noqa: S104 (an address that is judged)
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::", False),
    ],
)
def test_what_an_allowed_host_opens(address: str, by_host: bool) -> None:
    assert Guard(HOST, [HOST.upper() + "."]).allows(ip_address(address)) is by_host
    assert not Guard(HOST, ["other.example.test"]).allows(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
        ("10.1.0.0/16", "::ffff:10.1.0.1", "::ffff:10.2.0.1"),
        ("fd00:1::/32", "fd00:1::1", "fd00:2::1"),
        ("169.254.0.0/16", "169.254.10.1", "169.254.169.254"),  # metadata only by its own address
        ("fd00::/8", "fd00:ec1::254", "fd00:ec2::254"),
        ("0.0.0.0/0", "192.168.0.1", "169.254.169.254"),
        ("[::1]", "::1", "::2"),
    ],
)
def test_what_an_allowed_range_opens(entry: str, inside: str, outside: str) -> None:
    guard = Guard(HOST, [entry])
    assert guard.allows(ip_address(inside))
    assert not guard.allows(ip_address(outside))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("10.0.0.0/33", "should be a host"),
        ("127.1", "should be a host"),
        ("0x7f.1", "should be a host"),
        ("a b", "should be a host"),
        ("https://a.example", "should be a host"),
        ("", "should be a host"),
        ("*.example.com", "should be a host"),
    ],
)
def test_an_allow_entry_that_is_none(word: str, says: str) -> None:
    assert network_of("a.example") is None
    assert network_of("10.0.0.0/8") is not None
    with pytest.raises(ValueError, match=says):
        network_of(word)


# ---------------------------------------------------------------- bridge.yaml


@pytest.mark.parametrize(
    ("url", "allow", "says"),
    [
        ("https://crm.example.com/x", [], ""),
        ("https://8.8.8.8/x", [], ""),
        ("https://127.0.0.1/x", [], "is not a public address"),
        ("https://127.0.0.1/x", ["127.0.0.1"], ""),
        ("https://127.0.0.1/x", ["127.0.0.2"], "is not a public address"),
        ("https://localhost/x", [], "is not a public address"),
        ("https://LOCALHOST./x", ["localhost"], ""),
        ("https://a.localhost/x", [], "is not a public address"),
        ("https://[::1]/x", [], "is not a public address"),
        ("https://[::1]/x", ["::1"], ""),
        ("https://[::ffff:10.0.0.1]/x", ["10.0.0.0/8"], ""),
        ("https://169.254.169.254/latest/meta-data", [], "is not a public address"),
        ("https://169.254.169.254/x", ["169.254.0.0/16"], "is not a public address"),
        ("https://169.254.169.254/x", ["169.254.169.254"], ""),
        ("https://2130706433/x", ["127.0.0.1"], "should be a name"),
        ("https://0x7f000001/x", ["127.0.0.1"], "should be a name"),
        ("https://0x7f.1/x", ["127.0.0.1"], "should be a name"),
        ("https://017700000001/x", ["127.0.0.1"], "should be a name"),
        ("https://0177.0.0.1/x", ["127.0.0.1"], "should be a name"),
        ("https://127.1/x", ["127.0.0.1"], "should be a name"),
        ("https://1.2.3.4.5/x", [], "should be a name"),
        ("https://①②⑦.⓪.⓪.①/x", [], "should be a"),
        ("https://crm.example.com/x", ["other.example.com"], "is a host, and not that of url"),
        ("https://user@crm.example.com/x", [], "should have no user"),
        ("https://crm.example.com/x#y", [], "should have no fragment"),
        ("ftp://crm.example.com/x", [], "should be a whole URL"),
        ("https:///x", [], "should be a whole URL"),
        ("https://crm.example.com:99999/x", [], "should be a whole URL"),
    ],
)
def test_what_the_configuration_says_of_an_address(url: str, allow: list[str], says: str) -> None:
    given = {"kind": "http", "url": url, "secrets": [SECRET], "allow": allow}
    if not says:
        assert Http.model_validate(given).place.startswith("https://")
        return
    with pytest.raises(ValidationError, match=says) as refused:
        Http.model_validate(given)
    assert url not in str(refused.value)


# ---------------------------------------------------------------- real sockets


async def fate(fields: Http, **how: Any) -> str:
    """ "delivered", or the code of the refusal."""
    async with http_sink(fields, **how) as sink:
        try:
            await sink.deliver(an_event())
        except SendError as error:
            return error.code
    return "delivered"


def ways_to_this_computer() -> list[tuple[str, list[str]]]:
    """Hosts that reach 127.0.0.1 or ::1 from here, and what has to be allowed before they may."""
    ways = [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["localhost"]),
        ("localhost", ["127.0.0.0/8", "::1"]),
        ("0.0.0.0", ["0.0.0.0"]),  # noqa: S104 (a host that is asked for)
        ("[::ffff:127.0.0.1]", ["127.0.0.1"]),
        ("[::ffff:7f00:1]", ["::ffff:127.0.0.1"]),
    ]
    return ways + ([("[::1]", ["::1"])] if socket.has_ipv6 else [])


@pytest.mark.parametrize(("host", "allow"), ways_to_this_computer())
async def test_a_literal_address_is_refused_and_the_same_one_allowed_is_reached(host: str, allow: list[str]) -> None:
    listen = "::1" if host == "[::1]" else "127.0.0.1"
    async with receiving(Receiver(), host=listen) as receiver:
        url = f"http://{host}:{receiver.port}/"
        fields = http_fields("http://127.0.0.1/", allow=["127.0.0.1"])
        strict = unchecked(fields, url).model_copy(update={"allow": ()})
        assert await fate(strict) == "address not allowed"
        assert receiver.connections == 0
        assert await fate(strict.model_copy(update={"allow": tuple(allow)})) == "delivered"
        assert len(receiver.got) == 1


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1"])
async def test_addresses_written_oddly_reach_nobody_even_past_the_configuration(host: str) -> None:
    """The resolver of this computer takes most of these for 127.0.0.1; whoever asks it is stopped at the socket."""
    async with receiving(Receiver()) as receiver:
        fields = unchecked(http_fields(receiver.url, allow=["127.0.0.1"]), f"http://{host}:{receiver.port}/")
        assert await fate(fields.model_copy(update={"allow": ()})) in ("address not allowed", "invalid url", "dns")
        assert receiver.connections == 0
        assert await fate(http_fields(receiver.url, allow=["127.0.0.1"])) == "delivered"


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],  # one good address among them is no excuse
        ["127.0.0.1", "93.184.216.34"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["fd00:ec2::254"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["0.0.0.0"],  # noqa: S104 (an answer)
    ],
)
async def test_a_name_that_resolves_to_a_forbidden_address_reaches_nobody(answer: list[str]) -> None:
    async with receiving(Receiver()) as receiver:
        names = Names(answer)
        fields = Http.model_validate({"kind": "http", "url": f"http://{HOST}:{receiver.port}/", "secrets": [SECRET]})
        assert await fate(fields, names=names) == "address not allowed"
        assert names.asked == [HOST]
        assert receiver.connections == 0


@pytest.mark.parametrize("allow", [[HOST], ["127.0.0.1"], ["127.0.0.0/8"]])
async def test_the_same_name_allowed_is_reached(allow: list[str]) -> None:
    async with receiving(Receiver()) as receiver:
        fields = http_fields(f"http://{HOST}:{receiver.port}/", allow=allow)
        assert await fate(fields, names=Names(["127.0.0.1"])) == "delivered"
    [got] = receiver.got
    assert got.headers["host"] == f"{HOST}:{receiver.port}"


async def test_a_name_that_changes_between_check_and_use_cannot_win() -> None:
    """It is asked for once a connection, and what is connected to is the answer that was judged."""
    async with receiving(Receiver()) as good, receiving(Receiver(), host="127.0.0.2", port=good.port) as bad:
        fields = http_fields(f"http://{HOST}:{good.port}/", allow=["127.0.0.1"])
        good.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        assert await fate(fields, names=names) == "delivered"
        assert names.asked == [HOST]
        assert await fate(fields, names=names) == "address not allowed"  # and now it has changed
        assert names.asked == [HOST, HOST]
        assert (len(good.got), bad.connections) == (1, 0)
        twin = http_fields(f"http://{HOST}:{good.port}/", allow=["127.0.0.0/30"])
        assert await fate(twin, names=Names(["127.0.0.2"])) == "delivered"
        assert bad.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with receiving(Receiver()) as inner, receiving(Receiver()) as outer:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {inner.url}\r\nContent-Length: 0\r\n\r\n"
        outer.answers = [head.encode()]
        assert await fate(http_fields(outer.url)) == str(status)
        assert (len(outer.got), inner.connections) == (1, 0)
        outer.answers = [head.replace(str(status), "200").encode()]
        assert await fate(http_fields(outer.url)) == "delivered"
        assert inner.connections == 0


@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
async def test_one_forbidden_address_among_allowed_ones_is_enough(order: list[str]) -> None:
    async with receiving(Receiver()) as receiver:
        fields = http_fields(f"http://{HOST}:{receiver.port}/", allow=["127.0.0.1"])
        assert await fate(fields, names=Names(order)) == "address not allowed"
        assert receiver.connections == 0
        assert await fate(fields, names=Names(["127.0.0.1"])) == "delivered"
