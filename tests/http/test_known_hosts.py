"""Which Host is answered: each refused one has an accepted twin."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dcbridge.http.known_hosts import KnownHosts, read_names
from dcbridge.runtime.server import operator_app
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import read_settings
from tests.listening import listening

NAMES = read_names("dcbridge-operator.messages.svc, *.example.com")


async def answer(hosts: list[bytes], names: tuple[str, ...] = NAMES, path: str = "/") -> tuple[int, str]:
    async def page(_request: Request) -> Response:
        return PlainTextResponse("inside")

    app = KnownHosts(Starlette(routes=[Route("/", page)]), names, setting="DCBRIDGE_OPERATOR_HOSTS")
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Any) -> None:
        said.append(event)

    headers = [(b"host", host) for host in hosts]
    await app({"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}, receive, send)
    return said[0]["status"], said[1]["body"].decode()


KNOWN = [
    b"localhost", b"localhost:8081", b"LOCALHOST", b"localhost.", b"page.localhost:8090",
    b"127.0.0.1", b"127.0.0.1:8081", b"127.9.9.9", b"10.2.3.4:8081", b"0.0.0.0:8090", b"192.168.1.1", b"8.8.8.8",
    b"[::1]", b"[::1]:8081", b"[fe80::1]:80", b"[::ffff:127.0.0.1]",
    b"dcbridge-operator.messages.svc", b"dcbridge-operator.messages.svc:8081", b"DCBRIDGE-operator.messages.svc.",
    b"metrics.example.com", b"a.b.example.com:443", b"127.0.0.1:",
]  # fmt: skip
REFUSED = [
    b"evil.example", b"evil.example:8081", b"localhost.evil.example", b"localhosts", b"xlocalhost", b"local host",
    b"127.0.0.1.evil.example", b"127.0.0.1.nip.io:8081", b"1.2.3", b"127.1", b"0x7f.0.0.1", b"2130706433",
    b"127.0.0.1x", b"127.0.0.01", b"[::1].evil.example", b"[::1", b"::1]", b"[evil]", b"[]",
    b"dcbridge-operator.messages.svc.evil.example", b"x.dcbridge-operator.messages.svc", b"dcbridge-operator",
    b"example.com", b"evilexample.com", b".example.com", b"example.com.evil", b"", b" ", b".", b":8081", b"*",
    b"*.example.com:80@localhost", b"localhost@evil.example", b"evil.example@localhost", b"localhost/evil",
    b"localhost#evil", b"localhost?x", b"localhost\\evil", b"localhost,evil.example", b"localhost\tevil",
    b"localhost:80:80", b"localhost:http", b"\xff", b"localhost\x00", b"xn--lcalhost-xyz", b"metrics.example.com\n",
    b"a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("host", KNOWN)
async def test_a_host_that_is_answered(host: bytes) -> None:
    assert await answer([host]) == (200, "inside")


@pytest.mark.parametrize("host", REFUSED)
async def test_a_host_that_is_not(host: bytes) -> None:
    status, said = await answer([host])
    assert status == 421
    assert said == "this listener is not known under that host; add it to DCBRIDGE_OPERATOR_HOSTS\n"


async def test_no_host_is_no_browser_and_two_are_one_too_many() -> None:
    assert (await answer([]))[0] == 200
    assert (await answer([b"localhost", b"localhost"]))[0] == 421
    assert (await answer([b"localhost", b"evil.example"]))[0] == 421


async def test_a_path_that_is_not_there_is_not_told_to_a_stranger() -> None:
    assert (await answer([b"localhost"], path="/nothing"))[0] == 404
    assert (await answer([b"evil.example"], path="/nothing"))[0] == 421


async def test_a_star_is_everybody() -> None:
    assert (await answer([b"evil.example"], read_names("*")))[0] == 200
    assert (await answer([b"evil.example"], ()))[0] == 421


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        (" , ,", ()),
        ("A.example", ("a.example",)),
        ("a.example.,b.example", ("a.example", "b.example")),
        ("a.example  *.b.example\n*", ("a.example", "*.b.example", "*")),
        ("under_score.example", ("under_score.example",)),
    ],
)
def test_names_are_read(text: str, names: tuple[str, ...]) -> None:
    assert read_names(text) == names


@pytest.mark.parametrize(
    "text", ["http://a.example", "a.example:80", "a.*.example", "*.*.example", "**", "-a", "a/b", "é"]
)
def test_what_is_no_name_is_refused_and_the_setting_named(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_settings({"DCBRIDGE_OPERATOR_HOSTS": text, "DCBRIDGE_TOKEN_KEY": "0" * 16})
    [problem] = refused.value.problems
    assert "DCBRIDGE_OPERATOR_HOSTS" in str(problem)
    assert "without a port" in str(problem)


@asynccontextmanager
async def operator(names: str) -> AsyncIterator[int]:
    async def ready() -> bool:
        return True

    async def scrape() -> bytes:
        return b"a_metric 1\n"

    settings, _ = read_settings({"DCBRIDGE_OPERATOR_HOSTS": names, "DCBRIDGE_TOKEN_KEY": "0" * 16})
    async with listening(operator_app(ready, scrape, settings.known_hosts)) as url:
        yield int(url.rpartition(":")[2])


def ask(port: int, path: str, host: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return s.makefile("rb").read()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_the_operators_port_asks_who_it_is_taken_for(path: str) -> None:
    async with operator("metrics.example.com") as port:
        for host in ("evil.example", f"evil.example:{port}"):
            refused = await asyncio.to_thread(ask, port, path, host)
            assert refused.startswith(b"HTTP/1.1 421 ")
            assert b"a_metric" not in refused
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "metrics.example.com", "10.1.2.3:8081"):
            assert not (await asyncio.to_thread(ask, port, path, host)).startswith(b"HTTP/1.1 421 ")
