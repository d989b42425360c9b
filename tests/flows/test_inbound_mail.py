"""A consumer writes an email: through `dcbridge mail-in` and a worker to the agent, once, in order, whatever fails."""

from __future__ import annotations

import base64
import json
import re
import smtplib
import socket
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dcbridge.config.secure_email import fingerprint
from tests.mail import corpus_machines
from tests.mail.writing import html, multipart, part, plain
from tests.stack import EMAIL, Stack, until

CARE = "care@company.com"
USUAL = {"addresses": [CARE], "authserv_id": "mail.sandbox.invalid", "per_sender": 1000, "reply_reference": "plus"}
HELD, STRICT, RICH = "care@held.example", "care@strict.example", "care@rich.example"
ITEMS, SECURE = "care@items.example", "care@secure.example"
OTHERS: dict[str, dict[str, object]] = {
    HELD: {"unverified": "hold", "hold_over": 2}, STRICT: {"unverified": "refuse"}, RICH: {"to": "email"},
    ITEMS: {"to": "openmedia", "service": "bridge-tasks", "original": True}, SECURE: {"to": "securemail"},
}  # fmt: skip
CHANNELS: dict[str, dict[str, object]] = {EMAIL: {"inbound": USUAL}}
for _mailbox, _more in OTHERS.items():
    _inbound = {**USUAL, "addresses": [_mailbox], **_more}
    CHANNELS[_mailbox.rpartition("@")[2]] = {"type": "email", "provider": "mail", "inbound": _inbound}
FIELDS = {
    "fromAddress": "{address}", "lastName": "{name|Unknown}", "subject": "{subject}", "text": "{text}",
    "userData": {"dcbRef": "{reference}"},
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n" + bytes(12_000)


@pytest.fixture(scope="module")
def mail_stack() -> Iterator[Stack]:
    parts = ("sandbox", "service", "worker", "mail-in")
    with tempfile.TemporaryDirectory(prefix="dcbridge-test-") as folder:
        settings = {"DCBRIDGE_BLOB_FOLDER": f"{folder}/blobs"}
        made = Stack(Path(folder), settings=settings, channels=CHANNELS, parts=parts)
        path = made.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["genesys"] = {"base_url": f"http://127.0.0.1:{made.ports.page}", "api_key": "file:genesys_api_key"}
        told["genesys"]["secure_email"] = {"fields": FIELDS, "verified": fingerprint(None, FIELDS, None)}
        path.write_text(yaml.safe_dump(told))
        with made as running:
            yield running


def deliver(stack: Stack, raw: bytes, sender: str = "ana@example.org", to: str = CARE) -> int:
    """By LMTP; the code of the answer."""
    with smtplib.LMTP("127.0.0.1", stack.mail_in, timeout=20) as client:
        client.ehlo_or_helo_if_needed()
        client.mail(sender)
        client.rcpt(to)
        return client.data(raw)[0]


def seen(stack: Stack, sender: str) -> list[dict[str, Any]]:
    return [message for message in stack.recorded("seen") if message["sender"] == sender]


def texts(stack: Stack, sender: str) -> list[str]:
    return [message["text"] for message in seen(stack, sender)]


def outcomes(stack: Stack, outcome: str) -> float:
    lines = [line for line in stack.metrics("worker").splitlines() if line.startswith("dcbridge_mails_total")]
    return sum(float(line.split()[-1]) for line in lines if f'outcome="{outcome}"' in line)


def test_a_mail_reaches_the_agent(mail_stack: Stack) -> None:
    wrote = "On Wed, 25 Nov 2026 at 10:00, Company <care@company.com> wrote:\n\n> Tuesday?\n"
    picture = part("image/png", PNG, "Content-Disposition: attachment; filename=map.png")
    raw = multipart("mixed", part("text/plain; charset=utf-8", f"Yes please, Tuesday.\n\n{wrote}"), picture)
    raw = raw.replace(b"ana@example.org", b"Ana@Example.ORG")
    assert deliver(mail_stack, raw) == 250
    until(lambda: seen(mail_stack, "Ana@example.org"), "the agent sees it")
    [message] = seen(mail_stack, "Ana@example.org")
    assert (message["channel_id"], message["to"]) == (EMAIL, EMAIL)
    said, _, link = message["text"].rpartition("\n")
    assert said == "Re: Your order 17\n\nYes please, Tuesday.\n\n[file: map.png, 12 kB]"
    path = link.removeprefix("http://").partition("/")[2]
    assert mail_stack.client.get(f"{mail_stack.public}/{path}").content == PNG
    until(lambda: not mail_stack.ledger().keys("dcb:blobs-of:*"), "nothing of it waits here")
    assert mail_stack.violations() == []


def test_html_alone_is_read_as_text(mail_stack: Stack) -> None:
    deliver(mail_stack, html("<p>Hello <b>you</b></p>", "From: html@example.org", subject=""))
    until(lambda: texts(mail_stack, "html@example.org") == ["Hello you"], "the agent sees it")
    traced = mail_stack.command("trace", mail_stack.lines("mail-in", "mail")[-1]["message"])
    assert (traced.returncode, "html@example.org" in traced.stdout) == (0, False)
    assert "a mail\n" in traced.stdout


def test_the_same_mail_twice_reaches_the_agent_once_and_in_order(mail_stack: Stack) -> None:
    mails = [plain(f"line {n}\r\n", "From: bob@example.org", f"Message-ID: <{n}@x>", subject="") for n in range(6)]
    for raw in [*mails[:3], *mails]:
        assert deliver(mail_stack, raw, "bob@example.org") == 250
    until(lambda: len(texts(mail_stack, "bob@example.org")) == 6, "the agent sees all of it")
    until(lambda: not any(mail_stack.books().tasks.values()), "nothing waits")
    assert texts(mail_stack, "bob@example.org") == [f"line {n}" for n in range(6)]


def test_a_mail_whose_answer_is_lost_comes_again_and_is_seen_once(mail_stack: Stack) -> None:
    sender, raw = "lost@example.org", plain("once\r\n", "From: lost@example.org", subject="")
    commands = f"LHLO mx\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{CARE}>\r\nDATA\r\n".encode()
    with socket.create_connection(("127.0.0.1", mail_stack.mail_in), timeout=20) as connection:
        connection.sendall(commands + raw + b".\r\n")
        until(lambda: texts(mail_stack, sender) == ["once"], "the agent sees it")
        mail_stack.kill("mail-in")
    mail_stack.start("mail-in")
    assert deliver(mail_stack, raw, sender) == 250
    deliver(mail_stack, plain("then\r\n", f"From: {sender}", "Message-ID: <then@x>", subject=""), sender)
    until(lambda: "then" in texts(mail_stack, sender), "the agent sees what came later")
    assert texts(mail_stack, sender) == ["once", "then"]


def test_it_waits_while_digital_channels_fails(mail_stack: Stack) -> None:
    mail_stack.control(digital_channels={"mode": "500", "count": 2})
    deliver(mail_stack, plain("anybody there?\r\n", "From: eve@example.org", subject=""))
    until(lambda: texts(mail_stack, "eve@example.org") == ["anybody there?"], "the agent sees it, once")


def test_a_sender_that_is_not_verified_is_marked(mail_stack: Stack) -> None:
    failed = b"Authentication-Results: mail.sandbox.invalid; dmarc=fail header.from=example.org\r\n"
    deliver(mail_stack, failed + plain("pay here\r\n", "From: boss@example.org", subject="Urgent"))
    until(lambda: texts(mail_stack, "boss@example.org"), "the agent sees it")
    assert texts(mail_stack, "boss@example.org") == ["[sender not verified]\nUrgent\n\npay here"]


def test_machines_are_counted_and_not_shown(mail_stack: Stack) -> None:
    before = outcomes(mail_stack, "automatic")
    deliver(mail_stack, plain("away\r\n", "From: away@example.org", "Auto-Submitted: auto-replied"))
    until(lambda: outcomes(mail_stack, "automatic") == before + 1, "it is counted")
    before = outcomes(mail_stack, "loop")
    deliver(mail_stack, plain("x\r\n", "From: away@example.org", "Message-ID: <0123456789abcdef01234567@company.com>"))
    until(lambda: outcomes(mail_stack, "loop") == before + 1, "it is counted")
    assert seen(mail_stack, "away@example.org") == []


def test_a_bounce_is_the_delivery_report_of_its_mail(mail_stack: Stack) -> None:
    mail_stack.control(mail={"reports": False})
    message = mail_stack.agent_mails("gone@example.org")
    until(lambda: mail_stack.entry(message, EMAIL).state == "sent", "the mail server has it")
    row = next(row for row in corpus_machines.bounces() if row.name == "bounce: Postfix")
    ours = mail_stack.ref(message, EMAIL).encode()
    raw = row.raw.replace(b"0123456789abcdef01234567", ours).replace(b"ana@example.org", b"gone@example.org")
    assert deliver(mail_stack, raw, "") == 250
    receipt = mail_stack.receipt(message, "gone@example.org", EMAIL)
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", 530)


def items(stack: Stack, sender: str) -> list[dict[str, str]]:
    return [dict(one["data"]) for one in stack.sandbox("items") if one["data"].get("From") == sender]


@pytest.mark.parametrize(
    ("mode", "count"), [("ok", None), ("lost_answer", 1), ("500", 2)], ids=["taken", "answer lost", "http 503 twice"]
)
def test_a_mail_is_one_work_item(mail_stack: Stack, mode: str, count: int | None) -> None:
    sender = f"{mode.replace('_', '-')}@example.org"
    mail_stack.control(genesys={"mode": mode, "count": count})
    picture = part("image/png", PNG, "Content-Disposition: attachment; filename=map.png")
    wrote = "On Wed, 25 Nov 2026 at 10:00, Company <care@items.example> wrote:\n\n> Tuesday?\n"
    raw = multipart("mixed", part("text/plain; charset=utf-8", f"Where is it?\n\n{wrote}"), picture)
    raw = raw.replace(b"ana@example.org", sender.encode())
    for _ in range(2):
        assert deliver(mail_stack, raw, sender, ITEMS) == 250
    until(lambda: items(mail_stack, sender), "it is a work item")
    until(lambda: not any(mail_stack.books().tasks.values()), "nothing waits")
    [data] = items(mail_stack, sender)
    links = re.findall(r"http://[^/\s]+(/m/\S+)", data["Text"])
    assert data | {"Text": ""} == {
        "Subject": "Re: Your order 17", "From": sender, "Name": "Ana Ruiz", "To": ITEMS, "Text": "",
        "Channel": "items.example",
    }  # fmt: skip
    assert data["Text"].startswith(
        "Re: Your order 17\n\nWhere is it?\n\n[file: map.png, 12 kB]\n[what was left out is in"
    )
    opened = [mail_stack.client.get(f"{mail_stack.public}{link}") for link in links]
    assert [opened[0].content, opened[1].text] == [PNG, f"Where is it?\n\n{wrote}".strip()]
    assert "attachment" in opened[1].headers["content-disposition"]
    assert texts(mail_stack, sender) == []
    assert mail_stack.violations() == []


def test_a_mail_that_is_refused_as_a_work_item_reaches_the_agent_as_a_text(mail_stack: Stack) -> None:
    sender = "refused@example.org"
    mail_stack.control(genesys={"mode": "refuse_fields"})
    deliver(mail_stack, plain("Where is it?\r\n", f"From: {sender}", subject="Order"), sender, ITEMS)
    until(lambda: texts(mail_stack, sender), "the agent sees it")
    mail_stack.control(genesys={"mode": "ok"})
    assert texts(mail_stack, sender) == ["Order\n\nWhere is it?"]
    assert items(mail_stack, sender) == []


def dead_mails(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.command("dead", "list", "--what", "mail", "--json").stdout.splitlines()]


def test_a_bounce_that_says_nothing_is_a_dead_letter_and_can_be_put_back(mail_stack: Stack) -> None:
    deliver(mail_stack, plain("odd\r\n", "From: postmaster@example.org", subject="Nondeliverable mail"), "")
    [letter] = until(lambda: dead_mails(mail_stack), "it is a dead letter")
    assert letter["reason"] == "bounce from a mail system"
    assert "will be read again" in mail_stack.command("dead", "replay", letter["id"], "--dry-run").stdout
    assert mail_stack.command("dead", "replay", letter["id"]).returncode == 0
    until(lambda: outcomes(mail_stack, "dead") == 2, "the mail was kept, and is read once more")
    assert [one["id"] for one in until(lambda: dead_mails(mail_stack), "and is there again")] == [letter["id"]]


def test_a_large_mail_goes_through_the_folder_and_leaves_nothing(mail_stack: Stack) -> None:
    file = part("application/pdf; name=big.pdf", b"%PDF-1.4" * 250_000)
    raw = multipart("mixed", part("text/plain", "see file"), file, subject="", fields=("From: big@example.org",))
    folder = mail_stack.folder / "blobs"
    assert deliver(mail_stack, raw) == 250
    until(lambda: texts(mail_stack, "big@example.org"), "the agent sees it")
    assert texts(mail_stack, "big@example.org")[0].startswith("see file\n\n[file: big.pdf, 2.0 MB]\nhttp")
    until(lambda: not any(file.stat().st_size > 3_000_000 for file in folder.iterdir()), "the mail is gone")


def test_the_worker_may_be_away(mail_stack: Stack) -> None:
    mail_stack.kill("worker")
    for n in range(3):
        assert (
            deliver(mail_stack, plain(f"{n}\r\n", "From: late@example.org", f"Message-ID: <l{n}@x>", subject="")) == 250
        )
    mail_stack.start("worker")
    until(lambda: texts(mail_stack, "late@example.org") == ["0", "1", "2"], "the agent sees them")


def parsed(mail: dict[str, Any]) -> defaultdict[str, str | None]:
    """Header fields of a mail as the sandbox shows it; None for what is not there."""
    return defaultdict(lambda: None, mail["headers"])


def test_agent_consumer_agent_consumer_in_one_thread(mail_stack: Stack) -> None:
    """Each email goes on from the one before, and what the consumer quotes of ours is left out without any mark."""
    consumer = "thread@example.org"
    said = "Dear Ana, your parcel number seventeen will be brought to your door on Tuesday in the morning."
    mail_stack.agent_mails(consumer, subject="Your order 17", text=said)
    [first] = until(lambda: mail_stack.mails_to(consumer), "she has it")
    headers = parsed(first)
    assert re.search(r"<care\+r[a-z2-7]{36}@company.com>", str(headers["Reply-To"]))
    assert re.fullmatch(r"care\+b[a-z2-7]{36}@company.com", first["mail_from"])
    assert (headers["In-Reply-To"], headers["References"]) == (None, None)
    answer = plain(
        f"Jah, palun.\r\n\r\n{said}\r\n", f"From: {consumer}", "Message-ID: <r1@example.org>",
        f"In-Reply-To: {headers['Message-ID']}", subject="Re: Your order 17",
    )  # fmt: skip
    assert deliver(mail_stack, answer, consumer) == 250
    until(lambda: texts(mail_stack, consumer) == ["Re: Your order 17\n\nJah, palun."], "the agent sees what is new")
    mail_stack.agent_mails(consumer, subject="Re: Your order 17", text="Fine, until Tuesday then, and have a nice day.")
    until(lambda: len(mail_stack.mails_to(consumer)) == 2, "she has the answer")
    second = parsed(mail_stack.mails_to(consumer)[1])
    assert second["In-Reply-To"] == "<r1@example.org>"
    assert str(second["References"]).split() == [headers["Message-ID"], "<r1@example.org>"]
    again = plain("Tänan!\r\n", f"From: {consumer}", "Message-ID: <r2@example.org>", subject="Re: Your order 17")
    deliver(mail_stack, again, consumer)
    until(lambda: texts(mail_stack, consumer)[1:] == ["Re: Your order 17\n\nTänan!"], "and so on")
    mail_stack.agent_mails(consumer, "other@example.org", subject="To both", text="Hello both of you out there today")
    until(lambda: len(mail_stack.mails_to(consumer)) == 3, "she has it")
    assert parsed(mail_stack.mails_to(consumer)[2])["References"] is None, "nobody else may see ids of her thread"


# ---------------------------------------------------------------- as on the page of the sandbox

SENT = "Dear customer, your parcel comes on Tuesday in the morning."
PICTURE = {"type": "image/png", "name": "map.png", "data": base64.b64encode(PNG).decode()}


def answers(stack: Stack, mail: dict[str, Any], style: str, text: str, **more: object) -> dict[str, Any]:
    """A consumer answers a mail that she has; what was written."""
    told = {"answers": mail["seq"], "style": style, "text": text, "wait": True, **more}
    made = stack.sandbox("consumer/mail", told)
    assert made["state"] == "taken", made
    return next(one for one in stack.sandbox("written") if one["seq"] == made["seq"])


def page_of(stack: Stack, path: str) -> httpx.Response:
    return stack.client.get(f"http://127.0.0.1:{stack.ports.page}{path}")


def agent_writes(stack: Stack, to: str, subject: str, text: str) -> None:
    """With a file, and as HTML too."""
    body = {"to": [{"id": to}], "subject": subject, "text": text, "html": f"<p>{text}</p>", "file": PICTURE}
    assert stack.sandbox("agent/email", {**body, "wait": True})["state"] == "accepted"


def test_the_loop_of_the_page_with_an_attachment_each_way(mail_stack: Stack) -> None:
    consumer = "loop@example.org"
    agent_writes(mail_stack, consumer, "Your order 17", "Dear Ana, your parcel comes on Tuesday in the morning.")
    [first] = until(lambda: mail_stack.mails_to(consumer), "she has it")
    [file] = first["files"]
    assert page_of(mail_stack, file["url"]).content == PNG
    assert "<p>Dear Ana" in page_of(mail_stack, f"/sandbox/mail/{first['seq']}/html").text
    written = answers(mail_stack, first, "gmail", "Yes please, and this is the way.", file=PICTURE)
    [got] = until(
        lambda: [one for one in seen(mail_stack, consumer) if one["media"]], "the agent sees it, and its file"
    )
    assert got["text"].startswith(
        "Re: Your order 17\n\nYes please, and this is the way.\n\n[file: map.png, 12 kB]\nhttp"
    )
    assert page_of(mail_stack, got["media"][0]).content == PNG
    assert got["written"] == written["seq"]
    assert any("your parcel comes on Tuesday" in line for line in got["left_out"]), "what was cut can be seen"
    agent_writes(mail_stack, consumer, "Re: Your order 17", "Thank you, then until Tuesday, and have a nice day.")
    second = until(lambda: mail_stack.mails_to(consumer)[1:], "she has the answer")[0]
    ids = [str(parsed(one)["Message-ID"]) for one in (first, second)]
    her_id = str(parsed(second)["In-Reply-To"])
    assert str(parsed(second)["References"]).split() == [ids[0], her_id]
    assert her_id not in ids
    again = answers(mail_stack, second, "outlook", "Until then!")
    until(lambda: len(seen(mail_stack, consumer)) == 2, "and so on")
    last = seen(mail_stack, consumer)[1]
    assert (last["text"], last["written"]) == ("Re: Your order 17\n\nUntil then!", again["seq"])
    assert mail_stack.violations() == []


ALIVE = (
    "<script",
    "onerror",
    "onload",
    "javascript:",
    "<iframe",
    "<svg",
    "<form",
    "<input",
    "evil.example",
    "<meta http",
)


@pytest.mark.parametrize("style", ["above", "below", "gmail", "outlook", "phone", "unmarked", "hostile"])
def test_of_each_kind_of_answer_the_agent_sees_what_is_new(mail_stack: Stack, style: str) -> None:
    consumer = f"{style}@example.org"
    mail_stack.agent_mails(
        consumer, subject="Order", text="Dear customer, your parcel comes on Tuesday in the morning."
    )
    [mail] = until(lambda: mail_stack.mails_to(consumer), "she has it")
    written = answers(mail_stack, mail, style, "Fine, thank you.")
    [got] = until(lambda: seen(mail_stack, consumer), "the agent sees it")
    more = "\na link\nSign in" if style == "hostile" else ""
    assert got["text"] == f"Re: Order\n\nFine, thank you.{more}"
    shown = page_of(mail_stack, f"/sandbox/written/{written['seq']}/html")
    assert [word for word in ALIVE if word in shown.text.lower()] == []
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "allow-scripts" not in shown.headers["content-security-policy"]


def test_an_answer_out_of_office_stays_hidden_and_a_spoofed_one_is_marked(mail_stack: Stack) -> None:
    consumer = "away-now@example.org"
    mail_stack.agent_mails(
        consumer, subject="Order", text="Dear customer, your parcel comes on Tuesday in the morning."
    )
    [mail] = until(lambda: mail_stack.mails_to(consumer), "she has it")
    before = outcomes(mail_stack, "automatic")
    answers(mail_stack, mail, "away", "Back on Monday.")
    until(lambda: outcomes(mail_stack, "automatic") == before + 1, "it is counted")
    answers(mail_stack, mail, "spoofed", "Pay here.")
    until(lambda: seen(mail_stack, consumer), "the agent sees the other")
    assert texts(mail_stack, consumer) == ["[sender not verified]\nRe: Order\n\nPay here."]


def test_an_answer_from_another_mailbox_without_any_header_finds_its_conversation(mail_stack: Stack) -> None:
    consumer, other = "two@example.org", "two.private@mail.example"
    said = "Dear Ana, your parcel comes on Tuesday in the morning, and you need not be there."
    mail_stack.agent_mails(consumer, subject="Order", text=said)
    [mail] = until(lambda: mail_stack.mails_to(consumer), "she has it")
    reply_to = mail["reply_to"].rpartition("<")[2].strip(">")
    raw = plain(f"Fine.\r\n\r\n{said}\r\n", f"From: {other}", "Message-ID: <o1@x>", subject="Order")
    assert deliver(mail_stack, raw, other, reply_to) == 250
    until(lambda: seen(mail_stack, consumer), "it is in her conversation")
    assert texts(mail_stack, consumer) == [f"[written from {other}]\nOrder\n\nFine."], "and the quote is known"
    forged = reply_to[:8] + ("a" if reply_to[8] != "a" else "b") + reply_to[9:]
    assert deliver(mail_stack, raw.replace(b"<o1@x>", b"<o2@x>"), other, forged) == 250
    until(lambda: seen(mail_stack, other), "one with a forged reference arrives, as from who wrote it")
    assert texts(mail_stack, consumer) == [f"[written from {other}]\nOrder\n\nFine."]


def test_a_bounce_finds_its_mail_by_the_address_that_it_comes_to(mail_stack: Stack) -> None:
    mail_stack.control(mail={"reports": False})
    message = mail_stack.agent_mails("verp@example.org")
    [mail] = until(lambda: mail_stack.mails_to("verp@example.org"), "the mail server has it")
    until(lambda: mail_stack.entry(message, EMAIL).state == "sent", "and it is written down")
    row = next(row for row in corpus_machines.bounces() if row.name == "bounce: Postfix")
    raw = row.raw.replace(b"0123456789abcdef01234567", b"not-ours").replace(b"ana@example.org", b"moved@example.net")
    raw = raw.replace(b"Message-ID: <", b"Message-ID: <another-", 1)
    assert deliver(mail_stack, raw, "", mail["mail_from"]) == 250
    receipt = mail_stack.receipt(message, "verp@example.org", EMAIL)
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", 530)


# ---------------------------------------------------------------- what is held, and the other way to Genesys


def test_mail_is_held_until_it_is_released(mail_stack: Stack) -> None:
    boss, many = "boss2@example.org", "many@example.org"
    failed = b"Authentication-Results: mail.sandbox.invalid; dmarc=fail header.from=example.org\r\n"
    spoofed = b"Authentication-Results: another.example; dmarc=pass\r\n" + failed
    deliver(mail_stack, spoofed + plain("pay here\r\n", f"From: {boss}", subject="Urgent"), to=HELD)
    mails = [plain(f"line {n}\r\n", f"From: {many}", f"Message-ID: <m{n}@x>", subject="") for n in range(4)]
    for raw in [*mails, mails[0]]:
        deliver(mail_stack, raw, many, HELD)
    held = until(lambda: one if len(one := held_mails(mail_stack)) == 3 else None, "they are held")
    until(lambda: texts(mail_stack, many) == ["line 0", "line 1"], "the agent sees the first ones")
    assert sorted({letter["reason"] for letter in held}) == [
        "held: more than 2 mails in 10 minutes",
        "held: the sender is not verified",
    ]
    assert texts(mail_stack, boss) == []
    for letter in held:
        assert mail_stack.command("dead", "replay", letter["id"]).returncode == 0
    until(lambda: len(texts(mail_stack, many)) == 4, "the agent sees the others")
    until(lambda: texts(mail_stack, boss) == ["[sender not verified]\nUrgent\n\npay here"], "with its mark")
    assert held_mails(mail_stack) == []


def held_mails(stack: Stack) -> list[dict[str, Any]]:
    return [letter for letter in dead_mails(stack) if letter["reason"].startswith("held")]


def test_mail_that_fails_is_refused_and_an_answer_of_ours_is_not(mail_stack: Stack) -> None:
    consumer, channel = "refuse@example.org", STRICT.rpartition("@")[2]
    address = {"id": channel, "type": "email", "from": {"id": f"no-reply@{channel}"}, "to": [{"id": consumer}]}
    content = [{"type": "text", "text": SENT}]
    email = {"channel": {**address, "messageId": "s-1"}, "type": "Email", "subject": "Order", "content": content}
    assert mail_stack.sends_raw(email)["status"] == 200
    [mail] = until(lambda: mail_stack.mails_to(consumer), "she has it")
    failed = b"Authentication-Results: mail.sandbox.invalid; dmarc=fail header.from=example.org\r\n"
    deliver(
        mail_stack, failed + plain("pay\r\n", f"From: {consumer}", "Message-ID: <f1@x>", subject=""), consumer, STRICT
    )
    until(lambda: outcomes(mail_stack, "refused") == 1, "it is counted")
    answers(mail_stack, mail, "spoofed", "By a forwarder, which breaks DMARC.")
    until(lambda: texts(mail_stack, consumer), "the agent sees the answer")
    assert texts(mail_stack, consumer) == ["[sender not verified]\nRe: Order\n\nBy a forwarder, which breaks DMARC."]


def test_a_mail_goes_on_as_an_email_and_as_a_text_where_that_is_refused(mail_stack: Stack) -> None:
    consumer = "rich@example.org"
    raw = html("<p>Hello <b>you</b><script>x()</script><img src='https://t.example/p.gif'></p>", f"From: {consumer}")
    deliver(mail_stack, raw, consumer, RICH)
    until(lambda: seen(mail_stack, consumer), "the agent sees it")
    [got] = seen(mail_stack, consumer)
    assert (got["to"], got["text"]) == (RICH, "Re: Your order 17\n\nHello you")
    assert got["parts"] == {"text": "Hello you", "html": "<p>Hello <b>you</b></p>"}
    assert mail_stack.violations() == []
    mail_stack.control(digital_channels={"emails": "refuse"})
    deliver(mail_stack, plain("Again\r\n", f"From: {consumer}", "Message-ID: <again@x>"), consumer, RICH)
    until(lambda: len(seen(mail_stack, consumer)) == 2, "the agent sees it all the same")
    again = seen(mail_stack, consumer)[1]
    assert (again["parts"], again["text"]) == ({}, "Re: Your order 17\n\nAgain")


def test_a_mail_is_handed_in_to_secure_email_once_though_its_answer_is_lost(mail_stack: Stack) -> None:
    consumer = "secure@example.org"
    mail_stack.control(genesys={"mode": "lost_answer", "count": 1})
    deliver(mail_stack, plain("Hello\r\n", f"From: Ana Tamm <{consumer}>", "Message-ID: <s1@x>"), consumer, SECURE)
    deliver(mail_stack, plain("And more\r\n", f"From: {consumer}", "Message-ID: <s2@x>"), consumer, SECURE)

    def submitted() -> list[dict[str, Any]]:
        return [one for one in mail_stack.sandbox("secure") if one["address"] == consumer]

    until(lambda: len(submitted()) == 2, "both are there, in their order")
    first, second = submitted()
    assert (first["name"], first["subject"], first["text"]) == ("Ana Tamm", "Re: Your order 17", "Hello")
    assert (second["name"], second["text"]) == ("Unknown", "And more")
    until(lambda: not any(mail_stack.books().tasks.values()), "nothing waits")
    assert (len(submitted()), texts(mail_stack, consumer)) == (2, [])
    assert not [one for one in mail_stack.violations() if one.startswith("Secure Email")]


def test_a_template_is_tried_before_a_channel_depends_on_it(mail_stack: Stack) -> None:
    tried = mail_stack.command("genesys", "probe", "me@company.com")
    assert (tried.returncode, f"verified: {fingerprint(None, FIELDS, None)}" in tried.stdout) == (0, True)
    assert "The list of emails shows its reference." in tried.stdout
    [mail] = [one for one in mail_stack.sandbox("secure") if one["address"] == "me@company.com"]
    assert mail["operation"] in tried.stdout
    mail_stack.control(genesys={"mode": "refuse_fields", "count": 1})
    refused = mail_stack.command("genesys", "probe", "me@company.com")
    assert (refused.returncode, "verified" in refused.stdout) == (1, False)
    assert "Genesys did not take it: http 200 status INVALID_PARAMETER" in refused.stderr
    assert mail_stack.command("genesys", "probe", "nobody").returncode == 2
