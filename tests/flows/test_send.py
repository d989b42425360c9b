"""`dcbridge send` through real processes: what it shows, where it ends, and what is never to be seen of it."""

from __future__ import annotations

import asyncio
import os
import re

import orjson

from tests.cli.session import Said, invoke
from tests.stack import Stack

CONSUMER, UNREACHABLE = "+16504661149", "+15005550001"  # the second one the sandbox' company refuses


async def types(stack: Stack, *arguments: str, stdin: str = "", **settings: str) -> Said:
    gone = {name: None for name in os.environ if name.startswith("DCBRIDGE_")}
    return await asyncio.to_thread(invoke, list(arguments), stdin, gone | stack.environ | settings)


async def test_a_test_message_is_followed_to_its_end(stack: Stack) -> None:
    said = await types(stack, "send", "--channel", "0123456789", "--to", "-", stdin=f"{CONSUMER}\n")
    assert said.code == 0, said.err
    first, *steps = said.out.splitlines()
    found = re.fullmatch(r"(try-[0-9a-f]{12}): accepted by (http://127\.0\.0\.1:\d+)/webhooks/messages/main", first)
    assert found is not None
    assert [words for words in ("accepted", "attempt 1", "delivered") if not any(words in step for step in steps)] == []
    assert len(steps) == len(set(steps))  # each once
    assert CONSUMER[1:] not in said.out + said.err
    again = await types(stack, "trace", "--json", found[1])
    assert again.json["found"][0]["state"] == "delivered"


async def test_how_a_test_message_may_end(stack: Stack) -> None:
    taken = await types(stack, "send", "--channel", "0123456789", "--to", CONSUMER, "--until", "submitted", "--json")
    assert taken.code == 0
    assert orjson.loads(taken.out)["state"] in ("sent", "delivered")
    failed = await types(stack, "send", "--channel", "0123456789", "--to", UNREACHABLE)
    assert (failed.code, failed.err.partition(":")[0]) == (1, "error")
    assert "the message ended as failed: see `dcbridge trace try-" in failed.err
    email = await types(stack, "send", "--channel", "company.com", "--to", "ada@example.com", "--until", "submitted")
    assert email.code == 0, email.err
    assert "ada@" not in email.out
    elsewhere = await types(
        stack, "send", "--channel", "0123456789", "--to", CONSUMER, "--url", f"http://127.0.0.1:{stack.ports.page}"
    )
    assert elsewhere.code == 1
    assert "HTTP 404" in elsewhere.err
    assert CONSUMER[1:] not in elsewhere.err


async def test_another_secret_is_said(stack: Stack) -> None:
    text = (stack.folder / "bridge.yaml").read_text()
    other = stack.folder / "other.yaml"
    other.write_text(text.replace("file:app_secret", "another-secret-than-the-service-has"))
    said = await types(stack, "send", "--channel", "0123456789", "--to", CONSUMER, "--config", str(other))
    assert (said.code, "refused the signature" in said.err) == (1, True)


async def test_it_goes_to_one(stack: Stack) -> None:
    for to in ("+16504661149,+16504661148", "+16504661149;+16504661148", "ada", ""):
        said = await types(stack, "send", "--channel", "0123456789", "--to", to)
        assert said.code == 2, to
        assert not to or to not in said.err
    two = await types(stack, "send", "--channel", "0123456789", "--to", "-", stdin=f"{CONSUMER}\n{CONSUMER}\n")
    assert (two.code, CONSUMER in two.err) == (2, False)
