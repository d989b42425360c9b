"""Mail taken by LMTP and SMTP over real sockets, into a real Redis; clients of the standard library speak to it."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.ledger import Ledger
from dcbridge.mail.reader import name_of
from dcbridge.mail.reply_tokens import ReplyTokens
from dcbridge.providers.callback import mail_task_id
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import DAY, Settings
from dcbridge.store.connection import connect
from service.mail.main import MailListener
from service.mail.session import MOST_COMMANDS, MOST_MISTAKES, Rules, Session
from service.mail.taker import LedgerTaker
from service.mail.wire import Room, Wire
from tests.certificates import self_signed
from tests.mail.writing import plain

T = TypeVar("T")
CONFIGURATION = """
public_url: https://bridge.example.com
digital_channels: {base_url: https://dc.example.com/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {one: {secrets: [0123456789abcdef]}}
providers: {mail: {kind: smtp, host: mail.example.com}}
channels:
  company.com: {type: email, provider: mail, inbound: {addresses: [care@company.com, shop@company.com], per_sender: 5}}
  other.example: {type: email, provider: mail, inbound: {addresses: [hello@other.example]}}
  third.example: {type: email, provider: mail, inbound: {addresses: [x@third.example], reply_reference: local_part}}
"""
CARE, OTHER, SENDER = "care@company.com", "hello@other.example", "ana@example.org"


class MailIn:
    """A listener, and what it has stored."""

    def __init__(self, listener: MailListener, ledger: Ledger, metrics: Metrics, key: bytes) -> None:
        self.listener, self.ledger, self.metrics, self.key = listener, ledger, metrics, key
        self.port = listener.port

    def outcomes(self, channel: str) -> dict[str, float]:
        return {
            sample.labels["outcome"]: sample.value
            for metric in self.metrics.mails.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["channel"] == channel
        }

    async def stored(self, raw: bytes, channel: str = "company.com") -> bytes | None:
        """The mail that the task of this one names; None where there is none."""
        task_id = mail_task_id(channel, name_of(raw))
        if not await self.ledger.tasks.entry(task_id):
            return None
        return await self.ledger.blobs.get(task_id)


@asynccontextmanager
async def mail_in(redis_url: str, **settings: Any) -> AsyncIterator[MailIn]:
    told = Settings(redis_url=redis_url, mail_port=0, **{"mail_protocol": "lmtp", "redis_timeout": 1.0, **settings})
    redis, metrics = connect(told), Metrics()
    ledger = Ledger.of(told, redis)
    listener = MailListener(told, LedgerTaker(told, parse(CONFIGURATION, {}), ledger, metrics), metrics)
    serving = asyncio.create_task(listener.serve())
    await asyncio.sleep(0)
    try:
        yield MailIn(listener, ledger, metrics, told.reply_keys[0])
    finally:
        listener.stop()
        await serving
        await redis.aclose()


@pytest.fixture
async def lmtp(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[MailIn]:
    async with mail_in(redis_server.url) as running:
        yield running


async def in_thread(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


def lmtp_client(port: int) -> smtplib.LMTP:
    client = smtplib.LMTP("127.0.0.1", port, timeout=20)
    client.ehlo_or_helo_if_needed()
    return client


def replies(port: int, *commands: bytes, count: int | None = None) -> list[bytes]:
    """Send everything at once, and read to the end, or so many lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"".join(commands))
        with connection.makefile("rb") as file:
            return [file.readline() for _ in range(count)] if count else file.readlines()


HELLO, QUIT = b"LHLO mx.example.org\r\n", b"QUIT\r\n"


async def test_a_mail_is_stored_before_it_is_answered(lmtp: MailIn) -> None:
    raw = plain("Hello\r\n..two dots\r\n.one dot\r\n")

    def send() -> dict[str, tuple[int, bytes]]:
        with lmtp_client(lmtp.port) as client:
            return client.sendmail(SENDER, [CARE], raw)

    assert await in_thread(send) == {}
    assert await lmtp.stored(raw) == raw, "byte for byte"
    assert lmtp.outcomes("company.com") == {"accepted": 1.0}


async def test_each_recipient_has_an_answer_of_its_own_and_a_channel_its_mail_once(lmtp: MailIn) -> None:
    raw = plain("Hello\r\n")
    commands = [
        f"MAIL FROM:<{SENDER}> SIZE=100 BODY=8BITMIME\r\n", f"RCPT TO:<{CARE}>\r\n", "RCPT TO:<nobody@company.com>\r\n",
        "RCPT TO:<Shop+tag@Company.com>\r\n", f"RCPT TO:<{OTHER}>\r\n", "DATA\r\n",
    ]  # fmt: skip
    written = [HELLO, *(one.encode() for one in commands), raw + b".\r\n", QUIT]
    said = await in_thread(lambda: replies(lmtp.port, *written))
    codes = [line[:3] for line in said if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"550", b"250", b"250", b"354", b"250", b"250", b"250", b"221"]
    assert await lmtp.stored(raw) is not None
    assert await lmtp.stored(raw, "other.example") is not None
    assert lmtp.outcomes("company.com") == {"accepted": 1.0}
    assert lmtp.outcomes("(unknown)") == {"unknown mailbox": 1.0}


async def test_the_same_mail_again_is_known(lmtp: MailIn) -> None:
    raw = plain("Hello\r\n")

    def send() -> None:
        with lmtp_client(lmtp.port) as client:
            client.sendmail(SENDER, [CARE], raw)
            client.sendmail(SENDER, [CARE], b"Received: from elsewhere\r\n" + raw)

    await in_thread(send)
    assert lmtp.outcomes("company.com") == {"accepted": 1.0, "repeated": 1.0}


async def test_a_reference_in_place_of_a_mailbox_is_taken(lmtp: MailIn) -> None:
    now, ref = time.time(), "0123456789abcdef01234567"
    tokens = ReplyTokens([lmtp.key])
    good = tokens.mailbox("r", ref, now + DAY, "x@third.example", whole_local_part=True)
    over = tokens.mailbox("r", ref, now - 2 * DAY, "x@third.example", whole_local_part=True)
    forged = ReplyTokens([b"another key of 16"]).mailbox("r", ref, now + DAY, "x@third.example", whole_local_part=True)
    elsewhere = good.replace("third.example", "company.com")
    recipients = [f"RCPT TO:<{one}>\r\n".encode() for one in (good, over, forged, elsewhere, "nobody@third.example")]
    written = [HELLO, f"MAIL FROM:<{SENDER}>\r\n".encode(), *recipients, b"DATA\r\n", plain("x\r\n") + b".\r\n", QUIT]
    said = await in_thread(lambda: replies(lmtp.port, *written))
    codes = [line[:3] for line in said if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"550", b"550", b"550", b"550", b"354", b"250", b"221"]
    stored = await lmtp.ledger.tasks.entry(mail_task_id("third.example", name_of(plain("x\r\n"))))
    assert orjson.loads(stored.payload)["to"] == good


async def test_it_comes_again_while_redis_is_away(own_redis: EmbeddedRedis) -> None:
    raw = plain("Hello\r\n")
    async with mail_in(own_redis.url, redis_timeout=0.5) as running:

        def send() -> tuple[int, bytes]:
            with lmtp_client(running.port) as client:
                client.mail(SENDER)
                client.rcpt(CARE)
                return client.data(raw)

        own_redis.kill()
        code, _ = await in_thread(send)
        assert code == 451
        own_redis.start()
        code, _ = await in_thread(send)
        assert code == 250
        assert await running.stored(raw) == raw


async def test_what_has_no_room_is_answered_452(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    raw = plain("x" * (1 << 21) + "\r\n")

    async def code_of(**settings: object) -> int:
        async with mail_in(redis_server.url, **settings) as running:

            def send() -> int:
                with lmtp_client(running.port) as client:
                    client.mail(SENDER)
                    client.rcpt(CARE)
                    return client.data(raw)[0]

            return await in_thread(send)

    assert await code_of() == 452, "there is no folder, and it is too large for Redis"
    assert await code_of(blob_folder=str(tmp_path), mail_memory=1 << 20, mail_limit=1 << 20) == 552
    assert await code_of(blob_folder=str(tmp_path), mail_memory=3 << 20, mail_limit=3 << 20) == 250


async def test_the_memory_for_mails_is_shared(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with mail_in(redis_server.url, mail_memory=1 << 20, mail_limit=1 << 20) as running:
        begin = HELLO + f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{CARE}>\r\nDATA\r\n".encode()

        def code() -> bytes:
            return replies(running.port, begin, plain("y" * 600_000) + b"\r\n.\r\n", QUIT)[-2][:3]

        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(begin + b"x" * 600_000)
        await writer.drain()
        while not running.listener.connections or running.listener.room_left > 500_000:  # noqa: ASYNC110 (its own state)
            await asyncio.sleep(0.01)
        assert await in_thread(code) == b"452"
        writer.close()
        await reader.read()
        while running.listener.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await in_thread(code) == b"250"


class SlowTaker:
    """It stores a mail when it is told to."""

    def __init__(self) -> None:
        self.has_one, self.goes_on = asyncio.Event(), asyncio.Event()

    def refusal(self, mailbox: str, sender: str) -> str:
        return ""

    async def take(self, raw: bytes, sender: str, mailboxes: list[str]) -> list[str]:
        self.has_one.set()
        await self.goes_on.wait()
        return ["250 2.0.0 stored"]


async def test_a_mail_that_is_being_stored_is_still_in_memory() -> None:
    """A folder may take half a minute for each, and there may be one on each connection."""
    most, taker = 1 << 20, SlowTaker()
    rules = Rules(lmtp=True, name="here", most=most, timeout=30.0, tls=None, room=Room(most))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Session(Wire(reader, writer, 30.0), rules, taker, lambda: False).run()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    commands = [HELLO, f"MAIL FROM:<{SENDER}>\r\n".encode(), f"RCPT TO:<{CARE}>\r\n".encode(), b"DATA\r\n"]
    mail = (b"a" * 100 + b"\r\n") * 1000 + b".\r\n"
    sending = asyncio.create_task(in_thread(lambda: replies(port, *commands, mail, QUIT)))
    try:
        await asyncio.wait_for(taker.has_one.wait(), 30)
        assert rules.room.left <= most - 100_000
    finally:
        taker.goes_on.set()
        said = await sending
        server.close()
    assert said[-2:] == [b"250 2.0.0 stored\r\n", b"221 2.0.0 bye\r\n"]
    assert rules.room.left == most


@pytest.mark.parametrize(("sender", "code"), [(b"\xff", b"553"), ("\u00ff".encode(), b"250")])
async def test_a_sender_that_nobody_can_read_is_refused_for_good(lmtp: MailIn, sender: bytes, code: bytes) -> None:
    """Taken, it would be a fault of ours each time that it came again."""
    written = [HELLO, b"MAIL FROM:<" + sender + b"@example.org>\r\n", QUIT]
    said = await in_thread(lambda: replies(lmtp.port, *written))
    assert said[-2][:3] == code


async def test_too_many_mails_of_one_sender_have_to_wait(lmtp: MailIn) -> None:
    def codes(sender: str) -> list[int]:
        with lmtp_client(lmtp.port) as client:
            found = []
            for _ in range(6):
                client.mail(sender)
                found.append(client.rcpt(CARE)[0])
                client.rset()
            return found

    assert await in_thread(lambda: codes(SENDER)) == [250] * 5 + [451]
    assert await in_thread(lambda: codes("bob@example.org")) == [250] * 5 + [451]


async def test_smtp_answers_once_for_all(redis: Redis, redis_server: EmbeddedRedis) -> None:
    raw = plain("Hello\r\n")
    async with mail_in(redis_server.url, mail_protocol="smtp") as running:

        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", running.port, timeout=20) as client:
                return client.sendmail(SENDER, [CARE, OTHER], raw, ["SMTPUTF8"])

        assert await in_thread(send) == {}
        assert await running.stored(raw) == raw
        said = await in_thread(lambda: replies(running.port, HELLO, QUIT))
        assert said[1].startswith(b"500 5.5.1 this is SMTP")


async def test_starttls(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    told = {"mail_protocol": "smtp", "mail_certificate": str(certificate), "mail_key": str(key)}
    raw = plain("Hello\r\n")
    async with mail_in(redis_server.url, **told) as running:

        def send() -> bool:
            context = ssl.create_default_context(cafile=str(certificate))
            with smtplib.SMTP("127.0.0.1", running.port, timeout=20) as client:
                client.ehlo()
                assert client.has_extn("starttls")
                client.starttls(context=context)
                client.ehlo()
                client.sendmail(SENDER, [CARE], raw)
                return client.has_extn("starttls")

        assert not await in_thread(send), "once is enough"
        assert await running.stored(raw) == raw
        injected = await in_thread(
            lambda: replies(running.port, b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
        )
        assert injected[-1].startswith(b"501"), "what follows in the clear must not count as encrypted"


@pytest.mark.parametrize(
    ("sent", "last"),
    [
        (b"x" * 5000, b"500 5.5.2"),
        (b"NONSENSE\r\n" * (MOST_MISTAKES + 2), b"421"),
        (b"NOOP\r\n" * (MOST_COMMANDS + 2), b"421"),
        (b"MAIL FROM:<a@b.c>\r\nQUIT\r\n", b"221"),
    ],
    ids=["a long line", "mistakes", "too many commands", "no hello"],
)
async def test_who_speaks_no_lmtp_is_sent_away(lmtp: MailIn, sent: bytes, last: bytes) -> None:
    assert (await in_thread(lambda: replies(lmtp.port, sent)))[-1].startswith(last)


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ("MAIL FROM:<ana@example.org> SIZE=999999999\r\n", b"552"),
        ("MAIL FROM:<ana@example.org> SIZE=x\r\n", b"501"),
        ("MAIL FROM:<ana@example.org> X=1\r\n", b"555"),
        ("MAIL TO:<ana@example.org>\r\n", b"501"),
        ("MAIL FROM ana@example.org\r\n", b"501"),
        ("MAIL FROM:<>\r\nRCPT TO:<care@company.com>\r\n", b"250"),
        ("MAIL FROM:<a@b.c>\r\nRCPT TO:<@relay.example,@two.example:care@company.com>\r\n", b"250"),
        ("MAIL FROM:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\n", b"503"),
        ("RCPT TO:<care@company.com>\r\n", b"503"),
        ("MAIL FROM:<a@b.c>\r\nDATA\r\n", b"503"),
        ("MAIL FROM:<a@b.c>\r\nRCPT TO:<care@company.com> X=1\r\n", b"501"),
        ("MAIL FROM:<a@b.c>\r\nRCPT TO:<care@company.com.evil.example>\r\n", b"550"),
        ("VRFY care\r\n", b"252"),
        ("EHLO x\r\n", b"500"),
        ("STARTTLS\r\n", b"502"),
    ],
)
async def test_each_command_has_its_answer(lmtp: MailIn, commands: str, code: bytes) -> None:
    said = await in_thread(lambda: replies(lmtp.port, HELLO, commands.encode(), QUIT))
    assert said[-2][:3] == code


async def test_only_cr_lf_dot_cr_lf_ends_a_mail(lmtp: MailIn) -> None:
    """Anything else, and a mail could carry another one of whatever sender behind it."""
    inside = b"one\r\n\n.\nMAIL FROM:<evil@example.org>\r\n\r.\r\n\n.\r\ntwo\r\n"
    begin = HELLO + f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{CARE}>\r\nDATA\r\n".encode()
    raw = plain("x").replace(b"\r\n\r\nx", b"\r\n\r\n" + inside)
    said = await in_thread(lambda: replies(lmtp.port, begin, raw, b".\r\n", QUIT))
    assert [line[:3] for line in said[-3:]] == [b"354", b"250", b"221"]
    assert await lmtp.stored(raw) == raw


async def test_a_silent_connection_is_ended(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with mail_in(redis_server.url, mail_timeout=0.3) as running:
        assert len(await in_thread(lambda: replies(running.port, HELLO[:-2]))) == 1


async def test_no_more_connections_than_allowed(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with mail_in(redis_server.url, mail_connections=2) as running:
        open_ones = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(2)]
        for reader, _ in open_ones:
            assert (await reader.readline()).startswith(b"220")
        assert (await in_thread(lambda: replies(running.port, b"")))[0].startswith(b"421 4.3.2")
        for _, writer in open_ones:
            writer.close()


async def test_a_mail_that_is_being_received_is_taken_when_the_process_stops(lmtp: MailIn) -> None:
    raw = plain("Hello\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", lmtp.port)
    writer.write(HELLO + f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{CARE}>\r\nDATA\r\n".encode())
    while not (await reader.readline()).startswith(b"354"):
        pass
    lmtp.listener.stop()
    writer.write(raw + b".\r\n" + b"NOOP\r\n")
    assert (await reader.readline()).startswith(b"250")
    assert (await reader.readline()).startswith(b"421")
    assert await lmtp.stored(raw) == raw
    writer.close()
