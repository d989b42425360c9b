"""Where an answer to an email comes to, and a report of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from dcbridge.config.inbound import Inbound
from dcbridge.config.models import Channel
from dcbridge.mail.reply_tokens import ReplyTokens
from dcbridge.messages import Address, AgentMessage
from workers.context import WorkerContext
from workers.threads import with_reply_to

CARE, SHOP = "care@company.com", "Shop@company.com"
ANA = Address("ana@example.org")
SENT = AgentMessage(
    channel_id="company.com",
    message_id="m-1",
    sender=Address("no-reply@company.com", "Care"),
    to=ANA,
    recipients=(ANA,),
    type="Email",
    text="Hello",
)
TOKENS = ReplyTokens([b"0123456789abcdef"])
AT = 1_800_000_000_000


class _Context:
    reply_tokens = TOKENS


def addressed(message: AgentMessage, **inbound: Any) -> tuple[str | None, str]:
    channel = Channel(type="email", provider="mail", inbound=Inbound(addresses=(CARE, SHOP), **inbound))
    written, return_path = with_reply_to(cast(WorkerContext, _Context()), message, channel, AT)
    return written.reply_to.id if written.reply_to else None, return_path


FROM_SHOP = replace(SENT, sender=Address("shop@Company.com"))
ASKED = replace(SENT, reply_to=Address("other@company.com"))


@pytest.mark.parametrize(("message", "reply_to"), [(SENT, CARE), (FROM_SHOP, None), (ASKED, "other@company.com")])
def test_without_a_reference(message: AgentMessage, reply_to: str | None) -> None:
    assert addressed(message) == (reply_to, "")


@pytest.mark.parametrize(("message", "base"), [(SENT, "care+"), (FROM_SHOP, "Shop+"), (ASKED, "")])
def test_with_one(message: AgentMessage, base: str) -> None:
    reply_to, return_path = addressed(message, reply_reference="plus")
    assert addressed(message, reply_reference="plus") == (reply_to, return_path), "the same at each attempt"
    assert TOKENS.ref_of(return_path, AT / 1000) == message.ref
    if base:
        assert reply_to is not None
        assert reply_to.startswith(f"{base}r")
        assert TOKENS.ref_of(reply_to, AT / 1000) == message.ref
    else:
        assert reply_to == "other@company.com", "what the agent asks for stays"


def test_in_place_of_the_mailbox() -> None:
    reply_to, return_path = addressed(SENT, reply_reference="local_part")
    assert (str(reply_to)[:1], return_path[:1]) == ("r", "b")
    assert {TOKENS.ref_of(one, AT / 1000) for one in (str(reply_to), return_path)} == {SENT.ref}
