"""The mail server, spoken to by aiosmtplib and smtplib; its delivery reports read by the email package."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx
import pytest
import uvloop

from tests.certificates import self_signed
from tests.sandbox.two_worlds import SID, TOKEN, Worlds, two_worlds

SENDER = "no-reply@company.com"


def letter(to: str, text: str = "Plain – text") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Contact centre <no-reply@company.com>"
    message["To"] = to
    message["Subject"] = "Grüße – subject"
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message


async def deliver(
    worlds: Worlds, to: list[str], mail: list[str] | None = None, rcpt: list[str] | None = None
) -> tuple[int, str]:
    """One transaction; the answer to DATA. Raises what aiosmtplib raises."""
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=worlds.world.smtp_port, timeout=30) as client:
        await client.ehlo()
        await client.mail(SENDER, options=mail or [])
        for one in to:
            await client.rcpt(one, options=rcpt or [])
        answer = await client.data(letter(", ".join(to)).as_bytes())
        return answer.code, answer.message


def parts(report: bytes) -> tuple[EmailMessage, list[dict[str, str]], EmailMessage]:
    """The report, the field groups of its delivery-status, and its last part."""
    message = message_from_bytes(report, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    human, status, returned = message.iter_parts()
    assert human.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    groups: Any = status.get_payload()
    assert isinstance(returned, EmailMessage)
    return message, [dict(group.items()) for group in groups], returned


async def test_a_mail_is_kept_and_decoded() -> None:
    async with two_worlds() as worlds:
        assert (await deliver(worlds, ["recipient-1@mail.com", "recipient-2@mail.com"]))[0] == 250
        await worlds.settled()
        (mail,) = (await worlds.http.get("/sandbox/mail")).json()
        assert mail["mail_from"] == SENDER
        assert [one["address"] for one in mail["recipients"]] == ["recipient-1@mail.com", "recipient-2@mail.com"]
        assert mail["subject"] == "Grüße – subject"
        assert mail["text"].strip() == "Plain – text"
        assert mail["html"].strip() == "<p>Plain – text</p>"
        assert not worlds.bridge.heard  # nobody asked for a report


async def test_success_is_reported_when_asked_for() -> None:
    async with two_worlds() as worlds:
        await deliver(
            worlds,
            ["recipient-1@mail.com"],
            ["ENVID=ref+2B1-0", "RET=HDRS"],
            ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;recipient-1+2Btag@mail.com"],
        )
        await worlds.settled()
        (heard,) = worlds.bridge.heard
        assert heard.path == "/callbacks/mail/status"
        assert heard.headers["content-type"] == "message/rfc822"
        assert heard.headers["authorization"] == "Bearer mail-secret"
        message, (about, recipient), returned = parts(heard.body)
        assert (message["To"], message["Auto-Submitted"]) == (SENDER, "auto-replied")
        assert about["Original-Envelope-Id"] == "ref+1-0"
        assert about["Reporting-MTA"].startswith("dns;")
        assert recipient == {
            "Original-Recipient": "rfc822;recipient-1+tag@mail.com",
            "Final-Recipient": "rfc822; recipient-1@mail.com",
            "Action": "delivered",
            "Status": "2.0.0",
        }
        assert returned.get_content_type() == "text/rfc822-headers"
        assert worlds.world.mails[0].reports == [200]
        assert b"\n" not in heard.body.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("notify", "reported"),
    [([], True), (["NOTIFY=FAILURE"], True), (["NOTIFY=SUCCESS"], False), (["NOTIFY=NEVER"], False)],
)
async def test_a_later_bounce_is_reported_unless_it_was_not_wanted(notify: list[str], reported: bool) -> None:
    async with two_worlds() as worlds:
        await deliver(worlds, ["later-bounce@mail.com"], ["ENVID=ref"], notify)
        await worlds.settled()
        assert len(worlds.bridge.heard) == reported
        if reported:
            _, (about, recipient), returned = parts(worlds.bridge.heard[0].body)
            assert about["Original-Envelope-Id"] == "ref"
            assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
            assert recipient["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
            assert returned.get_content_type() == "message/rfc822"


async def test_one_report_tells_of_several_recipients() -> None:
    async with two_worlds() as worlds:
        to = ["recipient-1@mail.com", "later-bounce@mail.com", "recipient-2@mail.com"]
        await deliver(worlds, to, ["ENVID=ref"], ["NOTIFY=SUCCESS,FAILURE"])
        await worlds.settled()
        groups = [parts(heard.body)[1][1:] for heard in worlds.bridge.heard]
        told = [[(one["Final-Recipient"][8:], one["Action"]) for one in group] for group in groups]
        assert told == [
            [("recipient-1@mail.com", "delivered"), ("recipient-2@mail.com", "delivered")],
            [("later-bounce@mail.com", "failed")],
        ]


@pytest.mark.parametrize(
    ("mail", "rcpt", "code"),
    [
        ([], ["NOTIFY=SOMETIMES"], 501),
        ([], ["NOTIFY=NEVER,SUCCESS"], 501),
        ([], ["NOTIFY=SUCCESS,SUCCESS"], 501),
        ([], ["NOTIFY=SUCCESS", "NOTIFY=FAILURE"], 501),
        ([], ["NOTIFY="], 501),
        ([], ["ORCPT=recipient-1@mail.com"], 501),
        ([], ["ORCPT=rfc822;a+2b@mail.com"], 501),
        ([], ["FUTURERELEASE=1"], 555),
        (["RET=ALL"], [], 501),
        (["ENVID=a+b"], [], 501),
        (["ENVID=" + "a" * 101], [], 501),
        (["BODY=BINARYMIME"], [], 501),
        (["SIZE=99999999"], [], 552),
        (["HOLDFOR=1"], [], 555),
    ],
)
async def test_a_wrong_parameter_is_refused(mail: list[str], rcpt: list[str], code: int) -> None:
    async with two_worlds() as worlds:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await deliver(worlds, ["recipient-1@mail.com"], mail, rcpt)
        assert refused.value.code == code
        assert not worlds.world.mails


async def test_the_parameters_twins_are_taken() -> None:
    async with two_worlds() as worlds:
        mail = ["RET=full", "ENVID=" + "a" * 100, "BODY=8BITMIME", "SIZE=1000", "SMTPUTF8"]
        rcpt = ["NOTIFY=never", "ORCPT=utf-8;a+2B@mail.com"]
        assert (await deliver(worlds, ["recipient-1@mail.com"], mail, rcpt))[0] == 250
        kept = worlds.world.mails[0]
        assert (kept.returned, kept.utf8, kept.recipients[0].notify) == ("FULL", True, ("NEVER",))
        assert kept.recipients[0].original == "utf-8;a+@mail.com"
        assert kept.envelope_id == "a" * 100


@pytest.mark.parametrize(
    ("local", "codes"),
    [
        ("recipient-1", [250]),
        ("bounce", [550, 550]),
        ("policy", [554, 554]),
        ("full", [452, 452, 250]),
        ("greylist", [451, 451, 250]),
        ("toobig", [552, 552]),
        ("later-bounce", [250]),
    ],
)
async def test_a_magic_mailbox_does_what_its_row_says(local: str, codes: list[int]) -> None:
    async with two_worlds() as worlds:
        found = []
        for _ in codes:
            try:
                found.append((await deliver(worlds, [f"{local}@mail.com"]))[0])
            except aiosmtplib.SMTPResponseException as refused:
                found.append(refused.code)
        assert found == codes
        assert len(worlds.world.mails) == codes.count(250)


async def test_a_slow_mailbox_and_one_that_hangs_up() -> None:
    async with two_worlds() as worlds:
        started = asyncio.get_running_loop().time()
        assert (await deliver(worlds, ["slow@mail.com"]))[0] == 250
        assert asyncio.get_running_loop().time() - started >= 0.3
        with pytest.raises((aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPReadTimeoutError, ConnectionError)):
            await deliver(worlds, ["drop@mail.com"])
        assert len(worlds.world.mails) == 1


def test_hanging_up_and_starttls_work_on_uvloop(tmp_path: Path) -> None:
    async def story() -> None:
        server, client = _certificate(tmp_path)
        async with two_worlds() as worlds:
            with pytest.raises((aiosmtplib.SMTPServerDisconnected, ConnectionError)):
                await deliver(worlds, ["drop@mail.com"])
            fields = {"To": "+15005550014", "From": "+15557650123", "Body": "Hello"}
            path = f"/2010-04-01/Accounts/{SID}/Messages.json"
            with pytest.raises(httpx.ReadError):
                await worlds.http.post(path, data=fields, auth=(SID, TOKEN))
        async with two_worlds(smtp_tls=server) as worlds:
            there: dict[str, Any] = {"hostname": "localhost", "port": worlds.world.smtp_port, "tls_context": client}
            await aiosmtplib.send(letter("a@mail.com"), start_tls=True, **there)
            assert [mail.encrypted for mail in worlds.world.mails] == [True]

    uvloop.run(story())


async def test_smtplib_delivers_utf8_addresses() -> None:
    async with two_worlds() as worlds:

        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", worlds.world.smtp_port, timeout=30) as client:
                client.ehlo()
                assert {"dsn", "smtputf8", "8bitmime", "size"} <= set(client.esmtp_features)
                assert "auth" not in client.esmtp_features
                return client.send_message(letter("jürgen@mail.com"), SENDER, ["jürgen@mail.com"], ["SMTPUTF8"])

        assert await asyncio.to_thread(send) == {}
        assert worlds.world.mails[0].recipients[0].address == "jürgen@mail.com"


async def test_login_is_demanded_when_configured() -> None:
    async with two_worlds(smtp_username="user", smtp_password="secret") as worlds:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await deliver(worlds, ["recipient-1@mail.com"])
        assert refused.value.code == 530
        port = worlds.world.smtp_port
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await aiosmtplib.send(
                letter("a@mail.com"), hostname="127.0.0.1", port=port, username="user", password="Secret"
            )
        await aiosmtplib.send(letter("a@mail.com"), hostname="127.0.0.1", port=port, username="user", password="secret")
        assert [mail.authenticated for mail in worlds.world.mails] == [True]


async def test_starttls_comes_before_login(tmp_path: Path) -> None:
    server, client = _certificate(tmp_path)
    async with two_worlds(smtp_username="user", smtp_password="secret", smtp_tls=server) as worlds:
        there: dict[str, Any] = {
            "hostname": "localhost",
            "port": worlds.world.smtp_port,
            "username": "user",
            "password": "secret",
        }
        with pytest.raises(aiosmtplib.SMTPException):
            await aiosmtplib.send(letter("a@mail.com"), start_tls=False, **there)
        await aiosmtplib.send(letter("a@mail.com"), start_tls=True, tls_context=client, **there)
        assert [mail.encrypted for mail in worlds.world.mails] == [True]


def _certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context around one self-signed certificate for localhost."""
    made, key = self_signed(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made, key)
    return server, ssl.create_default_context(cafile=str(made))
