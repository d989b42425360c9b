"""Unusual numbers, names and words go through every path; then nothing that was logged, measured, answered
or shown by RQ holds any of them, in any spelling."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.stack import EMAIL, SMS, Stack, sms_body, until

AGENTS_TEXT = "Zorblax the agent says: pin 7731948265"
CONSUMERS_TEXT = "Quibbleton the consumer answers: 44871"
SUBJECT = "Your Xylotomy results"
NAME = "Wilhelmina Canary-Featherstone"
MAILBOX = "wilhelmina.canary@featherstone.example"
NUMBER, WRITER = "16502557731", "16502557742"
IN_A_PATH = "pathcanary-90210"
IN_A_QUERY = "querycanary-31415"
IN_A_HEADER = "headercanary-27182"
IN_A_CHANNEL = "channelcanary-16180"
IN_AN_ID = "idcanary-57721"
CANARIES = (
    AGENTS_TEXT, CONSUMERS_TEXT, SUBJECT, NAME, MAILBOX, NUMBER, WRITER,
    IN_A_PATH, IN_A_QUERY, IN_A_HEADER, IN_A_CHANNEL, IN_AN_ID,
)  # fmt: skip
SECRETS = ("app_secret", "twilio_auth_token", "mail_callback_secret", "token_key", "genesys_api_key")


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[Stack, list[str]]]:
    """A talkative bridge after all of it, and every answer that it gave."""
    with Stack(settings={"DCBRIDGE_LOG_LEVEL": "debug"}, sandbox={"callback_tries": 20}) as stack:
        yield stack, go_everywhere(stack)


def go_everywhere(stack: Stack) -> list[str]:
    answers = [good_paths(stack), refused_paths(stack), dead_letters(stack)]
    retries(stack)
    a_bug(stack)
    without_redis(stack, answers)
    stack.settled()
    return [answer for some in answers for answer in some]


def good_paths(stack: Stack) -> list[str]:
    message = stack.agent_writes(to=NUMBER, text=AGENTS_TEXT)
    stack.receipt(message)
    mail = stack.sandbox(
        "agent/email",
        {"to": [{"id": MAILBOX, "name": NAME}], "subject": SUBJECT, "text": AGENTS_TEXT, "html": AGENTS_TEXT,
         "replyTo": {"id": MAILBOX, "name": NAME}, "wait": True},
    )  # fmt: skip
    stack.receipt(mail["messageId"], MAILBOX, EMAIL)
    bounced = stack.agent_mails("later-bounce@featherstone.example", subject=SUBJECT, text=AGENTS_TEXT)
    stack.receipt(bounced, channel=EMAIL)
    made = stack.sandbox("consumer/sms", {"from": "+" + WRITER, "text": CONSUMERS_TEXT, "wait": True})
    until(lambda: stack.recorded("seen"), "the agent sees it")
    return [json.dumps(made)]


def refused_paths(stack: Stack) -> list[str]:
    body = json.dumps(sms_body(IN_AN_ID, NUMBER, AGENTS_TEXT)).encode()
    headers = {"X-Hub-Signature": f"sha1={IN_A_HEADER}", "X-Canary": IN_A_HEADER, "User-Agent": IN_A_HEADER}
    form = {"From": "+" + WRITER, "Body": CONSUMERS_TEXT, "MessageSid": IN_AN_ID}
    found = [stack.webhook(body, headers), stack.webhook(body, headers, endpoint=IN_A_PATH)]
    for path in ("twilio/inbound", "twilio/status", "mail/status", f"{IN_A_PATH}/status", f"twilio/{IN_A_PATH}"):
        url = f"{stack.public}/callbacks/{path}?a={IN_A_QUERY}"
        found.append(stack.client.post(url, data=form, headers={"X-Twilio-Signature": IN_A_HEADER}))
        found.append(stack.client.get(url + "&To=" + NUMBER, headers={"Authorization": f"Bearer {IN_A_HEADER}"}))
    found.append(stack.client.put(f"{stack.public}/{IN_A_PATH}?a={IN_A_QUERY}", content=body))
    found.append(stack.webhook(body + b" " * (1 << 20), headers))
    assert {answer.status_code for answer in found} == {401, 404, 413}
    return [f"{answer.headers} {answer.text}" for answer in found]


def dead_letters(stack: Stack) -> list[str]:
    broken = json.dumps(sms_body(IN_AN_ID, NUMBER, AGENTS_TEXT)).encode()[:-2]
    strange = sms_body(stack.new_id(), NUMBER, AGENTS_TEXT)
    strange["channel"]["id"] = IN_A_CHANNEL
    wrong = sms_body(stack.new_id(), NUMBER) | {"text": {"canary": AGENTS_TEXT}}
    empty = sms_body(stack.new_id(), NUMBER) | {"type": NAME, "text": "", "subject": SUBJECT}
    nobody = {"channel": {"from": {"id": NUMBER, "name": NAME}, "to": {"id": NUMBER}}, "text": AGENTS_TEXT}
    unreadable = {"Content-Type": "message/rfc822", "Authorization": f"Bearer {stack.kept('mail_callback_secret')}"}
    url = f"{stack.public}/callbacks/mail/status"
    found = [stack.webhook(body) for body in (broken, strange, wrong, empty, nobody)]
    found.append(stack.client.post(url, content=f"To: {MAILBOX}\r\n\r\n{CONSUMERS_TEXT}", headers=unreadable))
    assert {answer.status_code for answer in found} == {200}
    stack.sandbox("consumer/sms", {"from": "+" + WRITER, "to": "+15550001111", "text": CONSUMERS_TEXT, "wait": True})
    until(lambda: "callback_unreadable" in stack.said("worker"), "the worker could not read it")
    return [f"{answer.headers} {answer.text}" for answer in found]


def retries(stack: Stack) -> None:
    """A provider that says later, fails and resets; a Digital Channels that fails; numbers that are none."""
    for fault in ({"p_429": 1.0}, {"p_500": 1.0}, {"p_reset": 1.0}):
        postponed = stack.said("worker").count("send_failed")
        stack.control(sms=fault)
        message = stack.agent_writes(to=NUMBER, text=AGENTS_TEXT)
        until(lambda n=postponed: stack.said("worker").count("send_failed") > n, "it was tried")  # type: ignore[misc]
        stack.control(sms=dict.fromkeys(fault, 0.0))
        stack.receipt(message)
    stack.control(digital_channels={"mode": "500", "count": 2})
    stack.receipt(stack.agent_writes(to=f"{NAME} {NUMBER}", text=AGENTS_TEXT))
    stack.receipt(stack.agent_mails(f"{NAME} <{MAILBOX}", subject=SUBJECT, text=AGENTS_TEXT), channel=EMAIL)
    stack.receipt(stack.agent_mails("policy@featherstone.example", subject=SUBJECT), channel=EMAIL)


def a_bug(stack: Stack) -> None:
    """What the ledger keeps was damaged: our own code trips over it, while it works on the canaries."""
    stack.terminate("worker")
    message = stack.agent_writes(to=NUMBER, text=AGENTS_TEXT)
    with stack.ledger() as redis:
        redis.set(f"dcb:p:{stack.ref(message)}", json.dumps({"channel": AGENTS_TEXT, "text": NUMBER})[:-1])
        redis.rpush("rq:queue:outbound", "a-job-that-is-not-there")
    stack.start("worker")
    stack.receipt(message)
    assert stack.lines("worker", "message_internal_error")


def without_redis(stack: Stack, answers: list[list[str]]) -> None:
    stack.redis.kill()
    answer = stack.webhook(sms_body(stack.new_id(), NUMBER, AGENTS_TEXT))
    assert answer.status_code == 503
    answers.append([f"{answer.headers} {answer.text}"])
    stack.redis.start()
    until(lambda: stack.is_ready("service") and stack.is_ready("worker"), "both go on")


def spellings(canary: str) -> set[str]:
    """The ways in which a text may stand in a log; in small letters."""
    raw = canary.encode()
    found = {canary, quote(canary), quote_plus(canary), json.dumps(canary)[1:-1], raw.hex(), canary[::-1]}
    for shift in range(3):  # base64 of the text at any place in a longer one
        coded = base64.b64encode(b"\0" * shift + raw).decode()
        found.add(coded[(0, 2, 3)[shift] : len(coded) - 4])
    found |= set(canary.split()) - {"the", "says:", "answers:", "pin", "Your", "results", "agent", "consumer"}
    return {one.lower() for one in found if len(one) >= 5}


def leaks(where: str, stack: Stack, *, named: str = "") -> list[str]:
    """What of it stands there. `named` may: a channel's id is the contact centre's, not a person's."""
    seen = where.lower().replace(named, "") if named else where.lower()
    canaries = [*CANARIES, *(stack.kept(name) for name in SECRETS)]
    return sorted({f"{canary}: {one}" for canary in canaries for one in spellings(canary) if one in seen})


def rq_writes(stack: Stack) -> list[list[str]]:
    """Every command that ever wrote a key of RQ's, from the append-only file: job hashes do not live long."""
    [aof] = [path for path in (stack.folder / "redis").rglob("*.aof") if path.stat().st_size]
    data, at, found = aof.read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\r\n", at)
        count, at, words = int(data[at + 1 : end]), end + 2, []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            words.append(data[end + 2 : end + 2 + size].decode("latin-1"))
            at = end + 4 + size
        if len(words) > 1 and words[1].startswith("rq:"):
            found.append(words)
    return found


@pytest.mark.parametrize("part", ["service", "worker"])
def test_nothing_private_is_logged(told: tuple[Stack, list[str]], part: str) -> None:
    stack, _answers = told
    said = stack.said(part)
    assert len(said.splitlines()) > 40
    assert leaks(said, stack, named=IN_A_CHANNEL) == []


@pytest.mark.parametrize("part", ["service", "worker"])
def test_nothing_private_is_measured(told: tuple[Stack, list[str]], part: str) -> None:
    stack, _answers = told
    assert "dcbridge_" in stack.metrics(part)
    assert leaks(stack.metrics(part), stack) == []


def test_nothing_private_is_answered(told: tuple[Stack, list[str]]) -> None:
    stack, answers = told
    assert leaks("\n".join(answers), stack) == []


def test_nothing_private_was_ever_written_to_a_job(told: tuple[Stack, list[str]]) -> None:
    stack, _answers = told
    written = rq_writes(stack)
    assert sum("description" in words for words in written) > 20
    assert leaks(json.dumps(written), stack, named=IN_A_CHANNEL) == []


def test_no_key_of_ours_is_named_after_anybody(told: tuple[Stack, list[str]]) -> None:
    stack, _answers = told
    with stack.ledger() as redis:
        keys: Any = redis.keys("*")
    names = b"\n".join(keys).decode()
    assert SMS in names
    assert leaks(names, stack, named=IN_A_CHANNEL) == []


def test_the_search_itself_finds_what_it_looks_for(told: tuple[Stack, list[str]]) -> None:
    stack, _answers = told
    for canary in CANARIES:
        for hidden in (canary, quote(canary, safe=""), base64.b64encode(b"ab" + canary.encode() + b"c").decode()):
            assert leaks(f'{{"event": "x {hidden} y"}}', stack), (canary, hidden)
