"""The Kannel example of the page of kind `http`, against Kannel itself: bearerbox and smsbox, with a simulated SMSC."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote_plus, urlsplit

import httpx
import pytest

from dcbridge.errors import AccountFault, BadSignature, Refused
from dcbridge.messages import Address, ConsumerMessage, DeliveryUpdate, UpdateStatus
from dcbridge.providers.base import Callback, Turn
from dcbridge.providers.http import Http, HttpFields
from tests.providers.test_http import KANNEL, message
from tests.stack import quiet_ports, until

BOXES = [shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin") for name in ("bearerbox", "smsbox")]
pytestmark = pytest.mark.skipif(not all(BOXES), reason="Kannel is not installed")
SECRET = "0123456789abcdef"

CONFIGURATION = """\
group = core
admin-port = {admin}
admin-password = x
admin-interface = 127.0.0.1
smsbox-port = {smsbox}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-file = {folder}/bearerbox.log

group = smsc
smsc = fake
smsc-id = fake
port = {smsc}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {smsbox}
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
log-file = {folder}/smsbox.log

group = sendsms-user
username = dcbridge
password = p&w
concatenation = true
max-messages = 20

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{bridge}/callbacks/kannel/inbound/{secret}?i=%I&p=%p&P=%P&a=%a"
max-messages = 0
omit-empty = true
"""


@dataclass(slots=True)
class Kannel:
    """Two processes, an SMSC that takes everything, and what Kannel calls the bridge with."""

    smsc: int
    sendsms: int
    bridge: int
    calls: list[str] = field(default_factory=list)
    carried: list[bytes] = field(default_factory=list)

    def provider(self, **changes: Any) -> Http:
        send = {**KANNEL["send"], "url": f"http://127.0.0.1:{self.sendsms}/cgi-bin/sendsms"}
        fields = HttpFields.model_validate({**KANNEL, "send": send, **changes})
        return Http("kannel", fields, f"http://127.0.0.1:{self.bridge}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.StreamWriter]:
        """An SMSC that speaks to bearerbox, and a bridge that answers 200."""

        async def bridge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := (await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""):
                self.calls.append(head.split(b" ")[1].decode())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                writer.close()
                return

        async def carry(reader: asyncio.StreamReader) -> None:
            while line := await reader.readline():
                self.carried.append(line)

        server = await asyncio.start_server(bridge, "127.0.0.1", self.bridge)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.smsc)
        carrier = asyncio.create_task(carry(reader))
        try:
            yield writer
        finally:
            carrier.cancel()
            writer.close()
            server.close()
            await server.wait_closed()

    async def calls_to(self, kind: str, count: int) -> list[Callback]:
        """The first callbacks of this kind, as the service would hand them on."""
        async with asyncio.timeout(20):
            while len(found := [one for one in self.calls if one.startswith(f"/callbacks/kannel/{kind}/")]) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return [_callback(self.bridge, one) for one in found]


def _callback(port: int, path: str) -> Callback:
    split = urlsplit(path)
    where, _, secret = split.path.rpartition("/")
    kind = cast(Literal["status", "inbound"], where.rpartition("/")[2])
    url = f"http://127.0.0.1:{port}{where}?{split.query}"
    return Callback(kind, "GET", url, split.query.encode(), {}, b"", secret)


@pytest.fixture(scope="module")
def kannel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kannel]:
    folder: Path = tmp_path_factory.mktemp("kannel")
    admin, smsbox, smsc, sendsms, bridge = quiet_ports(5)
    text = CONFIGURATION.format(
        admin=admin, smsbox=smsbox, smsc=smsc, sendsms=sendsms, bridge=bridge, folder=folder, secret=SECRET
    )
    (folder / "kannel.conf").write_text(text)
    processes = []
    try:
        for box, port in zip(BOXES, (smsbox, sendsms), strict=True):
            with (folder / "output").open("ab") as output:
                command = [str(box), str(folder / "kannel.conf")]
                processes.append(subprocess.Popen(command, stdout=output, stderr=output))
            until(lambda port=port: _open(port), f"{box} listens")  # type: ignore[misc]
        yield Kannel(smsc, sendsms, bridge)
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _open(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("text", "carried"), [("Gr\u00fc\u00dfe & 1+1=2", b" text "), ("я 😀 €", b" ucs-2 ")])
async def test_kannel_takes_our_request_and_reports_it(kannel: Kannel, text: str, carried: bytes) -> None:
    provider, said = kannel.provider(), message(text)
    kannel.calls.clear()
    kannel.carried.clear()
    async with kannel.running(), httpx.AsyncClient() as http:
        request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0))
        provider.parse_response(await http.send(request))
        reports = await kannel.calls_to("status", 2)
    for report in reports:
        provider.verify(report)
    updates = [update for report in reports for update in provider.parse_callback(report)]
    assert {update.status for update in updates if isinstance(update, DeliveryUpdate)} == {
        UpdateStatus.SENT, UpdateStatus.DELIVERED
    }  # fmt: skip
    assert {(update.ref, update.part) for update in updates if isinstance(update, DeliveryUpdate)} == {(said.ref, 0)}
    [line] = kannel.carried
    assert carried in line
    if b"ucs-2" in carried:
        assert quote_plus(text.encode("utf-16-be")).encode() in line


async def test_what_a_consumer_wrote_comes_from_kannel(kannel: Kannel) -> None:
    provider = kannel.provider()
    kannel.calls.clear()
    async with kannel.running() as smsc:
        smsc.write(b"+16504661149 +12025550123 text Yes & no = 1+1, 100 %\n")
        [callback] = await kannel.calls_to("inbound", 1)
    provider.verify(callback)
    [said] = provider.parse_callback(callback)
    assert isinstance(said, ConsumerMessage)
    ends = Address("16504661149"), Address("+12025550123")
    assert said == ConsumerMessage("kannel", said.provider_id, *ends, "Yes & no = 1+1, 100 %")
    assert said.provider_id
    wrong = _callback(kannel.bridge, kannel.calls[0].replace(SECRET, SECRET[:-1] + "0"))
    with pytest.raises(BadSignature):
        provider.verify(wrong)


async def test_kannel_refuses_a_wrong_password_and_a_request_without_recipient(kannel: Kannel) -> None:
    async with httpx.AsyncClient() as http:
        wrong = kannel.provider(secrets={"password": "wrong"})
        said = message("Hello")
        request = wrong.build_request(Turn(said, wrong.parts(said)[0], 0.0))
        with pytest.raises(AccountFault):
            wrong.parse_response(await http.send(request))
        nowhere = httpx.Request("GET", str(request.url).replace("to=%2B16504661149", "to=").replace("wrong", "p%26w"))
        with pytest.raises(Refused):
            wrong.parse_response(await http.send(nowhere))
