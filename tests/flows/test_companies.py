"""Every kind of provider, walked through `dcbridge dev`: out, delivered, failed with a reason, in, and unsigned.

A kind without a wire in the sandbox, a page, a row in the README or its secrets in the chart fails here.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dcbridge.cli.dev.companies import COMPANIES, accounts
from dcbridge.providers import KINDS
from sandbox.config import Account, SandboxConfig
from sandbox.magic import NUMBERS
from sandbox.mailbox import Mail, Recipient
from sandbox.records import SentByConsumer
from sandbox.wires import KINDS as WIRES
from sandbox.wires import MAIL_KINDS as MAIL_WIRES
from sandbox.wires import build, build_mail
from sandbox.wires.base import Call, Wire
from sandbox.world import World
from tests.stack import EMAIL, SMS, Stack, until

ROOT = Path(__file__).parent.parent.parent
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PICTURE = {"type": "image/png", "data": PIXEL}
POSTS = sorted(kind for kind, adapter in KINDS.items() if "email" in adapter.can.channel_types and kind != "smtp")
TEXTERS = sorted(kind for kind, adapter in KINDS.items() if "sms" in adapter.can.channel_types)
PICTURED = [kind for kind in TEXTERS if hasattr(KINDS[kind], "media_request")]  # carry files, in both directions
SIGNED = sorted(kind for kind in TEXTERS if KINDS[kind].can.callbacks)
BAD = ("undelivered: the number does not exist", "undelivered: the carrier filters it", "refused: not a phone number",
       "refused: the consumer opted out", "failed: unknown error")  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    suppress = {COMPANIES[kind].channel: {"suppress": {"link": True}} for kind in POSTS}
    with Stack(companies=tuple(COMPANIES), channels=suppress) as running:
        yield running
        assert running.violations() == []


def account(stack: Stack, kind: str) -> Account:
    found, _ = accounts(stack.folder)
    secret = {"account_sid": stack.kept("account_sid"), "auth_token": stack.kept("twilio_auth_token")}
    return found.get(kind) or Account(kind="twilio", channel=SMS, number="+15557650123", secrets=secret)


def send(stack: Stack, kind: str, to: str, text: str) -> str:
    message_id = stack.new_id()
    told = {"channel": account(stack, kind).channel, "to": to, "text": text, "messageId": message_id, "wait": True}
    assert stack.sandbox("agent/sms", told)["state"] == "accepted"
    return message_id


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_is_whole(kind: str) -> None:
    page, readme = ROOT / "docs" / "providers" / f"{kind}.md", (ROOT / "README.md").read_text()
    assert page.exists(), "it has no page"
    assert re.search(rf"^\| \[.+\]\(docs/providers/{kind}\.md\) \|", readme, re.MULTILINE), (
        "it has no row in the README"
    )
    assert kind in WIRES or kind in MAIL_WIRES or kind == "smtp", "it has no wire in the sandbox"
    assert kind in COMPANIES or kind in ("smtp", "twilio"), "dcbridge dev cannot add it"
    for heading in ("bridge.yaml", "Known gaps", "What was verified, and against what"):
        assert f"## {heading}\n" in page.read_text()
    chart = (ROOT / "helm" / "dcbridge" / "templates" / "_checks.tpl").read_text()
    known = chart.partition('define "dcbridge.secretFields" -}}')[2].split("{{")[0].split()
    fields = KINDS[kind].fields_model.model_fields
    assert {name for name, field in fields.items() if SecretStr.__name__ in repr(field.annotation)} <= set(known)


@pytest.mark.parametrize("text", ["Agent message text", "Grüße – 1 € 😀 & 1+1=2 %"])
@pytest.mark.parametrize("kind", TEXTERS)
def test_a_message_is_delivered(stack: Stack, kind: str, text: str) -> None:
    number = stack.new_number()
    message_id = send(stack, kind, number, text)
    receipt = stack.receipt(message_id, channel=account(stack, kind).channel)
    assert (receipt["status"], receipt["repeated"]) == ("Delivered", 0)
    [taken] = stack.texts_to(number)
    assert (taken["body"], taken["provider"]) == (text, kind)


@pytest.mark.parametrize("says", BAD)
@pytest.mark.parametrize("kind", TEXTERS)
def test_a_message_fails_with_its_reason(stack: Stack, kind: str, says: str) -> None:
    [magic] = [one for one in NUMBERS if one.says == says]
    receipt = stack.receipt(send(stack, kind, magic.number, "Hello"), channel=account(stack, kind).channel)
    assert receipt["status"] == "Failed"
    assert [reason["code"] for reason in receipt["reasons"]] == [magic.reason]


def test_the_wire_shows_an_smscs_commands_and_what_they_are_answered_with(stack: Stack) -> None:
    [magic] = [one for one in NUMBERS if one.says == BAD[2]]
    for number in (stack.new_number(), magic.number):
        stack.receipt(send(stack, "smpp", number, "Hello"), channel=account(stack, "smpp").channel)
    shown = {(one["path"], one["code"]) for one in stack.recorded("wire") if one["method"] == "SMPP"}
    assert shown >= {("submit_sm", "0x00"), ("submit_sm", "0x0B"), ("deliver_sm", "0x00")}  # and of the rows before


@pytest.mark.parametrize("kind", TEXTERS)
def test_a_long_text_arrives_whole(stack: Stack, kind: str) -> None:
    """Delivered is said when every part of it is."""
    number, text = stack.new_number(), "0123456789 " * 300
    message_id = send(stack, kind, number, text)
    assert stack.receipt(message_id, channel=account(stack, kind).channel)["status"] == "Delivered"
    taken = stack.texts_to(number)
    assert "".join(one["body"] for one in taken) == text
    assert {one["status"] for one in taken} == {"delivered"}


ODD = (
    "slow to answer, then delivered",
    "too many requests twice, then delivered",
    "delivered before the send is answered",
    "every status twice",
    "statuses in reverse order",
    "connection reset, but accepted and delivered",
)


# They name a message by their own id alone: where that was never read, nothing proves that the message was taken.
NO_REFERENCE = ("africastalking", "smpp")
ROWS = [
    (kind, says)
    for kind in TEXTERS
    for says in ODD
    if kind not in NO_REFERENCE or not says.startswith("connection reset")
]


@pytest.mark.parametrize(("kind", "says"), ROWS)
def test_whatever_happens_on_the_way_it_is_sent_once(stack: Stack, kind: str, says: str) -> None:
    [magic] = [one for one in NUMBERS if one.says == says]
    text = f"{kind}: {says}"
    receipt = stack.receipt(send(stack, kind, magic.number, text), channel=account(stack, kind).channel)
    assert (receipt["status"], receipt["repeated"]) == ("Delivered", 0)
    assert len([one for one in stack.texts_to(magic.number) if one["body"] == text]) == 1


@pytest.mark.parametrize("kind", TEXTERS)
def test_a_consumers_message_reaches_the_agent_once(stack: Stack, kind: str) -> None:
    number, text = f"+{stack.new_number()}", "Größe 42 & 1=1, 😀?"
    told = {"provider": kind, "from": number, "text": text, "wait": True}
    sid = stack.sandbox("consumer/sms", told)["sid"]
    assert stack.sandbox("consumer/sms", {**told, "sid": sid})["state"] == "taken"

    def seen() -> list[dict[str, str]]:
        return [one for one in stack.recorded("seen") if one["sender"] == number[1:]]

    until(seen, "the agent sees it")
    stack.settled()
    [one] = seen()
    assert (one["text"], one["channel_id"]) == (text, account(stack, kind).channel)


@pytest.mark.parametrize("text", ["0123456789 " * 60, "Größe 😀 " * 30])
@pytest.mark.parametrize("kind", TEXTERS)
def test_a_consumers_long_message_reaches_the_agent_whole(stack: Stack, kind: str, text: str) -> None:
    """Some companies tell each SMS of it by itself, in any order."""
    number = stack.new_number()
    told = {"provider": kind, "from": f"+{number}", "text": text.strip(), "wait": True}
    assert stack.sandbox("consumer/sms", told)["state"] == "taken"

    def seen() -> list[str]:
        return [one["text"] for one in stack.recorded("seen") if one["sender"] == number]

    until(seen, "the agent sees it")
    assert seen() == [text.strip()]


@pytest.mark.parametrize("text", ["Look", ""])
@pytest.mark.parametrize("kind", PICTURED)
def test_a_consumers_picture_reaches_the_agent(stack: Stack, kind: str, text: str) -> None:
    number = stack.new_number()
    told = {"provider": kind, "from": f"+{number}", "text": text, "file": PICTURE, "wait": True}
    assert stack.sandbox("consumer/sms", told)["state"] == "taken"

    def seen() -> list[dict[str, Any]]:
        return [one for one in stack.recorded("seen") if one["sender"] == number and one["media"]]

    [one] = until(seen, "the agent sees it")
    assert one["text"].startswith(f"{text}\nhttp" if text else "The consumer sent a file: http")
    assert (one["channel_id"], picture(stack, one["media"])) == (account(stack, kind).channel, base64.b64decode(PIXEL))


@pytest.mark.parametrize("text", ["Look", ""])
@pytest.mark.parametrize("kind", PICTURED)
def test_an_agents_picture_is_an_mms(stack: Stack, kind: str, text: str) -> None:
    number = stack.new_number()
    message_id, channel = stack.new_id(), account(stack, kind).channel
    told = {"channel": channel, "to": number, "text": text, "messageId": message_id, "file": PICTURE, "wait": True}
    assert stack.sandbox("agent/sms", told)["state"] == "accepted"
    assert stack.receipt(message_id, channel=channel)["status"] == "Delivered"
    until(lambda: any(one["media"] for one in stack.texts_to(number)), "the company has fetched it")
    [taken] = stack.texts_to(number)
    assert (taken["body"], picture(stack, taken["media"])) == (text, base64.b64decode(PIXEL))


def picture(stack: Stack, media: list[str]) -> bytes:
    """What the page shows of a message with one file."""
    [path] = media
    return stack.client.get(f"http://127.0.0.1:{stack.ports.page}{path}").content


@pytest.mark.parametrize("kind", sorted({*TEXTERS} - {*PICTURED}))
def test_an_agents_picture_is_a_link_where_none_are_carried(stack: Stack, kind: str) -> None:
    number = stack.new_number()
    told = {"channel": account(stack, kind).channel, "to": number, "text": "Look", "file": PICTURE, "wait": True}
    assert stack.sandbox("agent/sms", told)["state"] == "accepted"
    [taken] = until(lambda: stack.texts_to(number), "it is on the phone")
    assert re.fullmatch(r"Look\nhttp\S+/m/\S+", taken["body"])


@pytest.mark.parametrize("kind", TEXTERS)
def test_a_stop_is_obeyed_until_a_start(stack: Stack, kind: str) -> None:
    number = stack.new_number()

    def writes(text: str) -> None:
        assert stack.sandbox("consumer/sms", {"provider": kind, "from": f"+{number}", "text": text, "wait": True})
        until(
            lambda: any(one["text"] == text for one in stack.recorded("seen") if one["sender"] == number), "it is seen"
        )

    writes("Stop." if KINDS[kind].can.opt_out == "ours" else "STOP")
    receipt = stack.receipt(send(stack, kind, number, "Hello"), channel=account(stack, kind).channel)
    assert (receipt["status"], [reason["code"] for reason in receipt["reasons"]]) == ("Failed", [350])
    writes("START")
    receipt = stack.receipt(send(stack, kind, number, "Hello"), channel=account(stack, kind).channel)
    assert receipt["status"] == "Delivered"
    assert [one["status"] for one in stack.texts_to(number)][-1:] == ["delivered"]
    assert len([one for one in stack.texts_to(number) if one["status"] != "failed"]) == 1


def without_header(name: str) -> Callable[[Call], Call]:
    return lambda call: replace(call, headers={key: value for key, value in call.headers.items() if key != name})


def without_secret(call: Call) -> Call:
    """With another one of the same length at the end of its address."""
    return replace(call, url=call.url[:-1] + ("0" if call.url[-1] != "0" else "1"))


UNSIGNED: dict[str, Callable[[Call], Call]] = {
    "africastalking": without_secret,
    "aws-sms": lambda call: replace(call, body=call.body.replace(b'"Message":"', b'"Message":" ')),
    "azure-sms": without_secret,
    "bandwidth": without_header("Authorization"),
    "clickatell": without_secret,
    "http": without_header("X-Company-Signature"),
    "infobip": without_secret,
    "messagebird": without_header("webhook-signature"),
    "plivo": without_header("X-Plivo-Signature-V3"),
    "sinch": without_header("X-Sinch-Webhook-Signature"),
    "telnyx": without_header("telnyx-signature-ed25519"),
    "twilio": without_header("X-Twilio-Signature"),
    "vonage": lambda call: replace(call, url=re.sub(r"&sig=[0-9a-f]+", "", call.url)),
}


@pytest.mark.parametrize("kind", SIGNED)
def test_an_unsigned_callback_is_refused_and_its_twin_is_taken(stack: Stack, kind: str) -> None:
    call = inbound(stack, kind)
    bad = UNSIGNED[kind](call)
    assert bad != call
    assert [post(stack, bad), post(stack, call)] == [401, 200]


def inbound(stack: Stack, kind: str) -> Call:
    wire = wire_of(stack, kind)
    sent = SentByConsumer(1, 0.0, wire.new_id(), f"+{stack.new_number()}", account(stack, kind).number, "Hello")
    return wire.write(sent)[0]


def world(stack: Stack) -> World:
    config = SandboxConfig(
        app_secret="", contact_center_id="", twilio_account_sid="AC1", twilio_auth_token="x", mail_callback_secret="",
        bridge_url=stack.public,
    )  # fmt: skip
    return World(config)


def wire_of(stack: Stack, kind: str) -> Wire:
    return build(world(stack), kind, account(stack, kind))


def post(stack: Stack, call: Call) -> int:
    return stack.client.request(
        call.method, call.url, content=call.body or None, headers=dict(call.headers)
    ).status_code


def mails(stack: Stack, kind: str, to: str, **more: object) -> str:
    """An agent's email through this company; its messageId."""
    told = {"channel": account(stack, kind).channel, "to": [{"id": to, "name": 'Ana, "Ruiz"'}], "wait": True,
            "subject": f"Größe & {kind}", "text": "Grüße – 1 € 😀", **more}  # fmt: skip
    made = stack.sandbox("agent/email", told)
    assert made["state"] == "accepted"
    return str(made["messageId"])


def posted(stack: Stack, kind: str, *boxes: str) -> dict[str, dict[str, Any]]:
    """What becomes of emails to these mailboxes, by what stands before their @."""
    sent = {to: mails(stack, kind, to) for to in boxes}
    channel = account(stack, kind).channel
    return {to.partition("@")[0]: stack.receipt(one, to, channel) for to, one in sent.items()}


def mailbox(local: str = "ana") -> str:
    return f"{local}@{secrets.token_hex(4)}.example.com"


@pytest.mark.parametrize("kind", POSTS)
def test_an_email_goes_out_whole_and_in_its_thread(stack: Stack, kind: str) -> None:
    to, channel = mailbox(), account(stack, kind).channel
    for more in ({"html": "<p>Grüße</p>", "replyTo": {"id": "help@company.com"}}, {"subject": ""}):
        assert stack.receipt(mails(stack, kind, to, **more), to, channel)["status"] == "Delivered"
    first, second = stack.mails_to(to)
    assert (first["provider"], first["subject"], first["text"].strip()) == (kind, f"Größe & {kind}", "Grüße – 1 € 😀")
    assert (first["html"].strip(), first["reply_to"]) == ("<p>Grüße</p>", "help@company.com")
    assert account(stack, kind).number in first["from"]
    named, answers = ({name.lower(): value for name, value in one["headers"]} for one in (first, second))
    assert (answers["in-reply-to"] == named["message-id"]) is (kind != "azure-email")  # which names it too late


@pytest.mark.parametrize("kind", POSTS)
def test_an_email_fails_with_its_reason(stack: Stack, kind: str) -> None:
    found = posted(stack, kind, *map(mailbox, ("bounce", "policy", "suppressed", "toobig")))
    assert {one["status"] for one in found.values()} == {"Failed"}
    reasons = {local: [reason["code"] for reason in one["reasons"]] for local, one in found.items()}
    assert (reasons["bounce"], reasons["policy"]) == ([530], [350])
    assert reasons["suppressed"] in ([350], [530])
    assert reasons["toobig"] in ([510], [520])


@pytest.mark.parametrize("kind", POSTS)
def test_whatever_happens_to_an_email_it_is_sent_once(stack: Stack, kind: str) -> None:
    odd = ("slow", "early", "twice", "reversed", "reset", "busy", "sick", "complains", "greylist")
    boxes = [mailbox(local) for local in odd]
    found = posted(stack, kind, *boxes)
    assert {local: (one["status"], one["repeated"]) for local, one in found.items()} == dict.fromkeys(
        odd, ("Delivered", 0)
    )
    assert [len(stack.mails_to(to)) for to in boxes] == [1] * len(odd)


MAIL_UNSIGNED: dict[str, Callable[[Call], Call]] = {
    "azure-email": lambda call: replace(call, url=call.url[:-1] + ("0" if call.url[-1] != "0" else "1")),
    "mailgun": lambda call: replace(call, body=call.body.replace(b'"token":"', b'"token":"0')),
    "postmark": lambda call: replace(call, url=call.url[:-1] + ("0" if call.url[-1] != "0" else "1")),
    "sendgrid": lambda call: replace(call, body=call.body + b" "),
    "ses": lambda call: replace(call, body=call.body.replace(b'"Message":"', b'"Message":" ')),
}


@pytest.mark.parametrize("kind", POSTS)
def test_an_unsigned_event_is_refused_and_its_twin_is_taken(stack: Stack, kind: str) -> None:
    wire = build_mail(world(stack), kind, account(stack, kind))
    reference = "" if kind in ("azure-email", "mailgun") else "{}"
    sent = Mail(1, 0.0, "care@company.com", [Recipient(mailbox())], b"", sid=wire.new_id(), reference=reference)
    [call] = wire.tell(sent, "delivered")
    bad = MAIL_UNSIGNED[kind](call)
    assert bad != call
    assert [post(stack, bad), post(stack, call)] == [401, 200]


def outcome(stack: Stack, kind: str, to: str) -> tuple[str, list[int]]:
    receipt = stack.receipt(mails(stack, kind, to), to, account(stack, kind).channel)
    return receipt["status"], [reason["code"] for reason in receipt["reasons"]]


@pytest.mark.parametrize("kind", POSTS)
def test_a_bounced_mailbox_gets_no_more_emails(stack: Stack, kind: str) -> None:
    gone, refusing = mailbox("bounce"), mailbox("policy")
    assert outcome(stack, kind, gone) == ("Failed", [530])
    assert outcome(stack, kind, refusing) == ("Failed", [350])
    assert outcome(stack, kind, gone) == ("Failed", [350])
    assert outcome(stack, kind, refusing) == ("Failed", [350])
    assert [len(stack.mails_to(to)) for to in (gone, refusing)] == [1, 2]  # the second was tried again


@pytest.mark.parametrize("kind", POSTS[:2])
def test_who_reports_an_email_as_spam_gets_no_more(stack: Stack, kind: str) -> None:
    to = mailbox("complains")
    assert outcome(stack, kind, to) == ("Delivered", [])
    if kind == "azure-email":  # which tells nothing of complaints
        return
    until(lambda: outcome(stack, kind, to) == ("Failed", [350]), "the complaint counts")


@pytest.mark.parametrize("kind", POSTS)
def test_who_unsubscribes_by_the_link_gets_no_more(stack: Stack, kind: str) -> None:
    to = mailbox()
    assert outcome(stack, kind, to) == ("Delivered", [])
    fields = {name.lower(): value for name, value in stack.mails_to(to)[0]["headers"]}
    assert fields["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    link = fields["list-unsubscribe"].replace("\n", "").strip("<> ")
    assert to not in link
    for _ in range(2):  # what scanners do changes nothing
        assert "<button>" in stack.client.get(link).text
        assert stack.client.head(link).status_code == 200
    changed = link[:-9] + ("A" if link[-9] != "A" else "B") + link[-8:]
    assert stack.client.post(changed).status_code == 404
    assert outcome(stack, kind, to) == ("Delivered", [])
    form = {"List-Unsubscribe": "One-Click"}
    assert [stack.client.post(link, data=form).status_code for _ in range(2)] == [200, 200]
    assert outcome(stack, kind, to) == ("Failed", [350])
    token = link.rpartition("/")[2]
    assert token not in "".join(map(stack.said, ("service", "worker")))


BRINGERS = [kind for kind in POSTS if KINDS[kind].can.mail]


@pytest.mark.parametrize("kind", BRINGERS)
def test_a_mail_that_a_company_posts_reaches_the_agent_once(stack: Stack, kind: str) -> None:
    care, channel = account(stack, kind).number, account(stack, kind).channel
    sender = f"ana-{secrets.token_hex(4)}@example.com"
    raw = (
        f"From: Ana <{sender}>\r\nTo: {care}\r\nSubject: Order 17\r\nMessage-ID: <{secrets.token_hex(8)}@a.example>\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße, Tuesday?\r\n"
    )
    told = {"provider": kind, "from": sender, "to": care, "raw": raw}
    assert [stack.sandbox("consumer/posted-mail", told)["status"] for _ in range(2)] == [200, 200]
    # What comes to a mailbox that nobody has is taken and not kept: it would be posted again for days.
    assert stack.sandbox("consumer/posted-mail", {**told, "to": "nobody@example.com"})["status"] == 200

    def seen() -> list[dict[str, str]]:
        return [one for one in stack.recorded("seen") if one["sender"] == sender]

    until(seen, "the agent sees it")
    stack.settled()
    assert [(one["text"], one["channel_id"]) for one in seen()] == [("Order 17\n\nGrüße, Tuesday?", channel)]


def test_a_mail_that_lies_in_a_bucket_reaches_the_agent_once(stack: Stack) -> None:
    sender, care = f"ana-{secrets.token_hex(4)}@example.com", account(stack, "ses").number
    head = f"From: {sender}\r\nTo: {care}\r\nSubject: A large one\r\nMessage-ID: <{secrets.token_hex(8)}@a.example>\r\n"
    raw = f"{head}\r\nTuesday?\r\n" + ("and much more " * 9 + "\r\n") * 1800
    told = {"provider": "ses", "from": sender, "to": care, "raw": raw}
    assert len(raw) > 150 << 10
    assert [stack.sandbox("consumer/posted-mail", told)["status"] for _ in range(2)] == [200, 200]

    def seen() -> list[str]:
        return [one["text"] for one in stack.state()["seen"] if one["sender"] == sender]

    until(seen, "the agent sees it")
    stack.settled()
    assert [text.split("\n")[:3] for text in seen()] == [["A large one", "", "Tuesday?"]]


@pytest.mark.parametrize("kind", BRINGERS)
def test_a_mail_without_proof_is_refused_and_its_twin_is_taken(stack: Stack, kind: str) -> None:
    wire, token = build_mail(world(stack), kind, account(stack, kind)), b'"token"\r\n\r\n'
    call = wire.write(b"Subject: x\r\n\r\nx", "a@b.example", "c@d.example")
    assert call is not None
    bad = MAIL_UNSIGNED[kind](call)
    if kind == "mailgun":
        bad = replace(call, body=call.body.replace(token, token + b"0"))
    assert [post(stack, bad), post(stack, call)] == [401, 200]


def test_no_secret_of_a_company_is_written_anywhere(stack: Stack) -> None:
    kept = [
        secret
        for kind in (*TEXTERS, *POSTS)
        for name, secret in account(stack, kind).secrets.items()
        if len(secret) > 20
    ]
    assert len(kept) > 2
    said = "".join(map(stack.said, ("service", "worker"))) + stack.metrics("service") + stack.metrics("worker")
    with stack.ledger() as connection:
        for key in connection.keys("dcb:t:*"):
            said += repr(connection.hgetall(key))
    assert [secret for secret in kept if secret in said] == []


def test_an_email_is_delivered_or_fails_with_its_reason(stack: Stack) -> None:
    good, bad = f"ana-{secrets.token_hex(4)}@example.com", "later-bounce@example.com"
    receipts = [stack.receipt(stack.agent_mails(to), to, EMAIL) for to in (good, bad)]
    assert [one["status"] for one in receipts] == ["Delivered", "Failed"]
    assert receipts[1]["reasons"][0]["code"] == 530
    report = f"{stack.public}/callbacks/mail/status"
    tokens = (None, stack.kept("mail_callback_secret"))
    answers = [
        stack.client.post(report, content=b"x", headers={"Authorization": f"Bearer {one}"} if one else {})
        for one in tokens
    ]
    assert [one.status_code for one in answers] == [401, 200]
