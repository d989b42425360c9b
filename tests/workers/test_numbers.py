"""One number in many spellings: what is sent from it and to it, who is answered; and texts without words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from dcbridge.config.loader import parse
from dcbridge.ledger import NewTask
from dcbridge.ledger.dead_letters import NO_CHANNEL, DeadLetter, Selection
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.history import hops_of_task
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import pack
from tests.workers.far_side import CONFIGURATION, SMS, TOKEN, FarSide
from workers import callbacks, consumer_messages, media_in, outbound

CHANNELS = """
  spaced: {type: sms, provider: twilio, number: "+1 (555) 765-0140", delivered_when: taken}
  marked: {type: sms, provider: twilio, number: "\\u202a+1\\u00a0555\\u20117650141\\u202c", delivered_when: taken}
  british: {type: sms, provider: twilio, number: "020 7946 0958", default_region: GB, delivered_when: taken}
  american: {type: sms, provider: twilio, number: "(650) 253-0000", default_region: US, delivered_when: taken}
  code: {type: sms, provider: twilio, number: "12345", delivered_when: taken}
  whatsapp: {type: sms, provider: twilio, number: "whatsapp:+1 555 765 0142", delivered_when: taken}
  mexican: {type: sms, provider: twilio, number: "+52 55 1234 5678", delivered_when: taken}
  "15557650143": {type: sms, provider: twilio, delivered_when: taken}
"""


@pytest.fixture
def spelled(side: FarSide) -> FarSide:
    """The far side, with channels whose numbers are written as people write them."""
    url = side.context.configuration.digital_channels.base_url.removesuffix("/nexus/v3")
    text = CONFIGURATION.format(url=url, nowhere=url, token=TOKEN) + CHANNELS.strip("\n")
    return replace(side, context=replace(side.context, configuration=parse(text, {})))


async def hears(side: FarSide, sender: str, to: str, text: str = "Hello", **more: str) -> dict[str, Any] | None:
    """What Digital Channels gets of one SMS; None when it gets nothing."""
    form = {"MessageSid": "SM9", "From": sender, "To": to, "Body": text, "NumMedia": "0", **more}
    headers = {"content-type": ("application/x-www-form-urlencoded",)}
    callback = Callback("inbound", "POST", "http://127.0.0.1/x", b"", headers, urlencode(form).encode())
    await side.context.ledger.tasks.put([NewTask("b-1", "callback", "", pack("twilio", callback), "trace")])
    await callbacks.read_callback(side.context, "b-1")
    waiting: Any = await side.redis.zrange("dcb:tasks:consumer", 0, -1)
    for task in waiting:
        await consumer_messages.post_consumer_message(side.context, task.decode())
    found: list[dict[str, Any]] = [message for messages in side.agents.messages for message in messages]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("channel", "sent_from", "to", "sent_to"),
    [
        ("spaced", "+15557650140", "16504661149", "+16504661149"),
        ("marked", "+15557650141", "\u200e+16504661149\u200f", "+16504661149"),
        ("british", "+442079460958", "07911123456", "+447911123456"),
        ("british", "+442079460958", "07911 123456", "+447911123456"),
        ("british", "+442079460958", "447911123456", "+447911123456"),
        ("british", "+442079460958", "16504661149", "+16504661149"),
        ("american", "+16502530000", "6504661149", "+16504661149"),
        ("american", "+16502530000", "447911123456", "+447911123456"),
        ("code", "12345", "16504661149", "+16504661149"),
        ("whatsapp", "whatsapp:+15557650142", "whatsapp:+5215512345678", "whatsapp:+5215512345678"),
        ("mexican", "+525512345678", "5215512345678", "+5215512345678"),
        ("15557650143", "+15557650143", "5491123456789", "+5491123456789"),
    ],
)
async def test_a_message_leaves_from_and_for_the_number_that_is_meant(
    spelled: FarSide, channel: str, sent_from: str, to: str, sent_to: str
) -> None:
    ref = await spelled.accept(channel=channel, to=to)
    await outbound.send(spelled.context, ref)
    [form] = spelled.provider.forms
    assert (form["From"], form["To"]) == (sent_from, sent_to)
    assert (await spelled.entry(ref)).state == "delivered"


@pytest.mark.parametrize(
    ("to", "channel"),
    [
        ("+15557650140", "spaced"),
        ("15557650140", "spaced"),
        ("+1 555 765 0140", "spaced"),
        ("+15557650141", "marked"),
        ("+442079460958", "british"),
        ("+16502530000", "american"),
        ("12345", "code"),
        ("whatsapp:+15557650142", "whatsapp"),
        ("+5215512345678", "mexican"),
        ("+525512345678", "mexican"),
        ("+15557650143", "15557650143"),
        ("\u202a+15557650140\u202c", "spaced"),
    ],
)
async def test_a_consumer_is_heard_however_the_number_is_written(spelled: FarSide, to: str, channel: str) -> None:
    heard = await hears(spelled, "+16504661149", to)
    assert heard
    assert heard["channel"] == {"from": {"id": "16504661149"}, "to": {"id": channel}}


@pytest.mark.parametrize("to", ["+15557650142", "+442079460959", "020 7946 0958", "whatsapp:+15557650140"])
async def test_another_number_is_no_channels(spelled: FarSide, to: str) -> None:
    assert await hears(spelled, "+16504661149", to) is None
    assert await spelled.redis.hget("dcb:dead:t-b-1", "reason") == NO_CHANNEL.encode()


@pytest.mark.parametrize(
    ("channel", "number", "consumer", "agent_sees"),
    [
        ("spaced", "+15557650140", "+5215512345678", "5215512345678"),
        ("spaced", "+15557650140", "+5491123456789", "5491123456789"),
        ("spaced", "+15557650140", "12345", "12345"),
        ("spaced", "+15557650140", "Company", "Company"),
        ("spaced", "+15557650140", "\u202a+16504661149\u202c\u200b", "16504661149"),
        ("american", "+16502530000", "+6562636645", "+6562636645"),  # Singapore; 656 is an area code of Florida, too
        ("british", "+442079460958", "+447911123456", "447911123456"),
        ("whatsapp", "whatsapp:+15557650142", "whatsapp:+16504661149", "whatsapp:+16504661149"),
        ("whatsapp", "whatsapp:+15557650142", "whatsapp:+5215512345678", "whatsapp:+5215512345678"),
        ("spaced", "+15557650140", "messenger:1234567890", "messenger:1234567890"),
    ],
)
async def test_who_wrote_is_answered_at_the_address_that_the_provider_gave(
    spelled: FarSide, channel: str, number: str, consumer: str, agent_sees: str
) -> None:
    heard = await hears(spelled, consumer, number)
    assert heard
    assert heard["channel"]["from"]["id"] == agent_sees
    ref = await spelled.accept(channel=channel, to=heard["channel"]["from"]["id"])
    await outbound.send(spelled.context, ref)
    [form] = spelled.provider.forms
    assert form["To"] == consumer.strip("\u202a\u202c\u200b")


def test_letters_of_consumers_are_found_where_no_channel_has_the_number() -> None:
    consumer = Selection(Kind.CONSUMER)
    assert consumer.has(DeadLetter("t-b-1", "callback", "", NO_CHANNEL, 0.0, 1))
    assert consumer.has(DeadLetter("t-c-1", "consumer", SMS, "http 404", 0.0, 1))
    assert not consumer.has(DeadLetter("t-b-1", "callback", "", "no MessageSid", 0.0, 1))
    assert not consumer.has(DeadLetter("u-1", "delivery update", "", NO_CHANNEL, 0.0, 1))
    assert Selection(Kind.CALLBACK).has(DeadLetter("t-b-1", "callback", "", NO_CHANNEL, 0.0, 1))


# ---------------------------------------------------------------- texts without words


@pytest.mark.parametrize("text", ["", " ", "\r\n \t", "\u00a0", "\u200b", "\u2060\ufeff", "\u2800", "\u3164"])
async def test_a_text_without_a_visible_character_does_not_reach_the_agent(side: FarSide, text: str) -> None:
    assert await hears(side, "+16504661149", "+15557650123", text) is None
    [task] = [key.decode() async for key in side.redis.scan_iter("dcb:t:c-*")]
    entry = await side.context.ledger.tasks.entry(task.removeprefix("dcb:t:"))
    assert entry.state == "done"
    assert [(hop.what, hop.facts.get("code")) for hop in hops_of_task(entry)][1] == (
        "attempt 1: nothing to do",
        "blank text, not posted",
    )
    assert side.counted("dcbridge_consumer_messages_total", channel=SMS, outcome="blank") == 1
    assert await side.redis.zcard("dcb:dead") == 0


ONE, TWO = "https://example.com/1.jpg", "https://example.com/2.jpg"


@pytest.mark.parametrize(
    ("text", "media", "said"),
    [
        (".", [], "."),
        (" yes ", [], " yes "),
        ("\u200b\U0001f44d", [], "\u200b\U0001f44d"),
        ("Look", [ONE], f"Look\n{ONE}"),
        ("Look", [ONE, TWO], f"Look\n{ONE}\n{TWO}"),
        ("", [ONE], f"The consumer sent a file: {ONE}"),
        (" \u200b", [ONE], f"The consumer sent a file: {ONE}"),
        ("", [ONE, TWO], f"The consumer sent 2 files:\n{ONE}\n{TWO}"),
        ("Look", [""], "Look"),
        ("", [""], ""),
    ],
)
def test_what_the_agent_reads(text: str, media: list[str], said: str) -> None:
    assert media_in.text_for_the_agent(text, media) == said
