"""Delivery updates that do not carry our reference back are found by the other side's id."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from dcbridge import intake
from dcbridge.ledger.fields import TaskEntry
from dcbridge.messages import Address, AgentMessage, Content
from dcbridge.providers.base import Callback, MailRequest, Turn
from dcbridge.providers.callback import pack
from dcbridge.replay import Replay
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import SMS, FarSide, saying
from tests.workers.test_reconciler_and_inbound import letters, read_one
from workers import callbacks, locating, outbound

EMAIL = "company.com"


def sms_status(sid: str, status: str = "delivered", provider: str = "twilio") -> bytes:
    """As Twilio calls the URL that stands at a number or a messaging service: without our parameters."""
    headers = {"content-type": ("application/x-www-form-urlencoded",)}
    url = f"http://127.0.0.1:8080/callbacks/{provider}/status"
    return pack(
        provider, Callback("status", "POST", url, b"", headers, f"MessageSid={sid}&MessageStatus={status}".encode())
    )


async def one_that_was_sent(side: FarSide, sid: str = "SM1", channel: str = SMS) -> str:
    await side.context.announce()
    side.provider.replies = [saying(201, {"sid": sid})]
    ref = await side.accept(f"m-{sid}", channel)
    await outbound.send(side.context, ref)
    return ref


@pytest.mark.parametrize("channel", [SMS, "asked", "twin"])  # with `ask: false` as well
async def test_a_status_without_our_parameter_is_found_by_its_sid(side: FarSide, channel: str) -> None:
    ref = await one_that_was_sent(side, channel=channel)
    assert (await read_one(side, sms_status("SM1"))).state == "done"
    assert (await side.entry(ref)).state == "delivered"
    assert await letters(side) == []


async def test_a_status_names_the_part(side: FarSide) -> None:
    await side.context.announce()
    side.provider.replies = [saying(201, {"sid": sid}) for sid in ("SM1", "SM2")]
    ref = await side.accept(text="x" * 2000)
    await outbound.send(side.context, ref)
    await outbound.send(side.context, ref)
    await read_one(side, sms_status("SM2"), "b-2")
    entry = await side.entry(ref)
    assert (entry.state, entry.part_status(0), entry.part_status(1)) == ("sent", None, "delivered")
    await read_one(side, sms_status("SM1"), "b-1")
    assert (await side.entry(ref)).state == "delivered"


async def test_two_providers_with_one_account_know_each_others_ids(side: FarSide) -> None:
    ref = await one_that_was_sent(side)
    await read_one(side, sms_status("SM1", provider="asked"))
    assert (await side.entry(ref)).state == "delivered"


async def read_to_the_end(side: FarSide, payload: bytes, task: str = "b-1") -> TaskEntry:
    state = await read_one(side, payload, task)
    for wait in locating.WAITS:
        if state.state != "waiting":
            break
        await Bench(side.redis).pass_time(wait + 1)
        await callbacks.read_callback(side.context, task)
        state = await side.context.ledger.tasks.entry(task)
    return state


async def test_another_accounts_word_about_the_same_id_is_not_believed(side: FarSide) -> None:
    ref = await one_that_was_sent(side)
    assert (await read_to_the_end(side, sms_status("SM1", provider="other"))).state == "done"
    assert (await side.entry(ref)).state == "sent"
    [(what, reason)] = await letters(side)
    assert what == "delivery update"
    assert reason.startswith("512 unknown message: it carries no reference of ours")


async def test_a_status_that_comes_before_the_answer_is_written_waits_for_it(side: FarSide) -> None:
    await side.context.announce()
    assert (await read_one(side, sms_status("SM1"))).state == "waiting"
    ref = await one_that_was_sent(side)
    await Bench(side.redis).pass_time(locating.WAITS[0] + 1)
    await callbacks.read_callback(side.context, "b-1")
    assert (await side.context.ledger.tasks.entry("b-1")).state == "done"
    assert (await side.entry(ref)).state == "delivered"
    assert await letters(side) == []


async def test_an_id_that_stays_unknown_is_a_dead_letter_that_can_be_put_back(side: FarSide) -> None:
    await side.context.announce()
    assert (await read_to_the_end(side, sms_status("SM1"))).state == "done"
    ref = await one_that_was_sent(side)
    dead = side.context.ledger.dead_letters
    [letter] = [one async for one in dead.read(await dead.ids())]
    assert letter is not None
    done = await Replay(side.context.ledger, side.context.configuration).one(letter)
    assert done.done
    await callbacks.read_callback(side.context, done.name)
    assert (await side.entry(ref)).state == "delivered"
    assert await letters(side) == []


async def test_an_id_is_known_for_as_long_as_a_final_update_is_waited_for(side: FarSide) -> None:
    await one_that_was_sent(side)
    kept = await side.redis.pttl("dcb:id:asked:SM1") / 1000
    assert 4 * 3600 < kept <= side.context.configuration.channels[SMS].confirm_within
    await one_that_was_sent(side, "SM2", "asked")  # its confirm_within is shorter than a list of messages is searched
    assert 4 * 3600 - 60 < await side.redis.pttl("dcb:id:asked:SM2") / 1000 <= 4 * 3600


# ---------------------------------------------------------------- email


async def email(side: FarSide, *to: str, message_id: str = "m-1", channel: str = EMAIL) -> list[str]:
    address = {
        "id": channel,
        "type": "email",
        "from": {"id": "care@company.com"},
        "to": [{"id": one} for one in to],
        "messageId": message_id,
    }
    said = {"channel": address, "type": "Email", "subject": "Hi", "content": [{"type": "text", "text": "Hello"}]}
    copies = intake.read(side.context.configuration, "main", orjson.dumps(said), "trace").copies
    assert all(await side.context.ledger.messages.accept(copies))
    return [copy.ref for copy in copies]


def as_sent(side: FarSide, *to: str, index: int = 0, message_id: str = "m-1") -> MailRequest:
    """What the mail server was handed of a copy."""
    people = tuple(map(Address, to))
    message = AgentMessage(
        EMAIL, message_id, Address("care@company.com"), people[index], people, "Email", contents=(Content("text", "x"),)
    )
    post = side.context.providers["post"]
    request = post.build_request(Turn(message, post.parts(message)[0], 0.0))
    assert isinstance(request, MailRequest)
    return replace(request, provider_id=request.provider_id)


async def taken(side: FarSide, ref: str, request: MailRequest) -> None:
    claim = side.context.ledger.leases.token()
    assert (await side.context.ledger.messages.claim(ref, claim, 10.0)).ours
    ledger = side.context.ledger
    await ledger.messages.submitted(ref, claim, 0, 1, request.provider_id, delivered=False, confirm_within=86400.0)


def report(request: MailRequest, recipient: str, action: str = "failed", **more: Any) -> bytes:
    """A report whose server has lost the envelope id, and returned the headers."""
    head = request.content.partition(b"\r\n\r\n")[0].decode()
    original = more.get("original", "")
    body = (
        "From: MAILER-DAEMON@mx.example.net\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n"
        f"{more.get('envelope_id', '')}\r\n"
        f"{f'Original-Recipient: rfc822;{original}' + chr(13) + chr(10) if original else ''}"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: 5.1.1\r\n"
        f"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{head}\r\n--b--\r\n"
    )
    return pack(more.get("provider", "post"), Callback("status", "POST", "u", b"", {}, body.encode()))


async def states(side: FarSide, refs: list[str]) -> list[str]:
    return [(await side.entry(ref)).state for ref in refs]


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_a_report_without_an_envelope_id_finds_its_copy(side: FarSide, index: int) -> None:
    to = ("ana@example.com", "bob@example.com", "eve@bücher.example")
    refs = await email(side, *to)
    for number, ref in enumerate(refs):
        await taken(side, ref, as_sent(side, *to, index=number))
    request = as_sent(side, *to, index=index)
    await read_one(side, report(request, request.rcpt_to))
    assert await states(side, refs) == ["failed" if number == index else "sent" for number in range(3)]
    assert await letters(side) == []


@pytest.mark.parametrize(
    ("final", "more"),
    [
        ("box17@mx.example.net", {"original": "Bob@Example.com"}),
        ("box17@mx.example.net", {"original": "b+6Fb@example.com"}),
        ("bob@example.com", {"original": "unknown"}),
        ("bob@example.com", {"envelope_id": "Original-Envelope-Id: 0NFC009FLKOUVMA0@mx.example.net\r\n"}),
    ],
)
async def test_the_recipient_is_found_as_it_was_addressed(side: FarSide, final: str, more: dict[str, str]) -> None:
    refs = await email(side, "ana@example.com", "bob@example.com")
    request = as_sent(side, "ana@example.com", "bob@example.com", index=1)
    await read_one(side, report(request, final, **more))  # and before the answer to the request was written
    assert (await states(side, refs))[1] == "failed"
    assert (await states(side, refs))[0] != "failed"
    assert await letters(side) == []


async def test_the_only_copy_is_meant_wherever_it_was_told_on_to(side: FarSide) -> None:
    [ref] = await email(side, "ana@example.com")
    request = as_sent(side, "ana@example.com")
    await taken(side, ref, request)
    await read_one(side, report(request, "box17@mx.example.net"))
    assert await states(side, [ref]) == ["failed"]


@pytest.mark.parametrize(
    ("final", "more", "why"),
    [
        ("box17@mx.example.net", {}, "no copy of the email fits"),
        ("ana@example.com", {"provider": "other-post"}, "no copy of the email fits"),
    ],
)
async def test_what_fits_no_copy_is_kept(side: FarSide, final: str, more: dict[str, str], why: str) -> None:
    to = ("ana@example.com", "bob@example.com")
    refs = await email(side, *to)
    for number, ref in enumerate(refs):
        await taken(side, ref, as_sent(side, *to, index=number))
    await read_one(side, report(as_sent(side, *to), final, **more))
    assert await states(side, refs) == ["sent", "sent"]
    [(_, reason)] = await letters(side)
    assert why in reason


async def test_a_report_about_a_message_that_nobody_knows_is_kept_at_once(side: FarSide) -> None:
    assert (await read_one(side, report(as_sent(side, "ana@example.com"), "ana@example.com"))).state == "done"
    [(_, reason)] = await letters(side)
    assert reason.startswith("512 unknown message: ")


async def test_a_copy_beyond_the_first_hundred_is_found(side: FarSide) -> None:
    to = [f"p{number}@example.com" for number in range(150)]
    refs = await email(side, *to)
    await read_one(side, report(as_sent(side, *to, index=149), to[149]))
    assert (await states(side, refs[148:])) == ["accepted", "failed"]
