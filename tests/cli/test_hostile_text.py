"""What others wrote does nothing to the terminal of whoever looks at it, whichever command shows it."""

from __future__ import annotations

from typing import cast

import orjson
import pytest

from dcbridge.ledger.fields import Kind
from tests.cli.session import Session

BAD = {
    "C0": "\x1b]0;x\x07",
    "DEL": "\x7f",
    "C1": "\x9b31m\x9d0;x\x9c",
    "bidi": "\u202egpj.\u2066\u2069\u200f",
    "lines": "\u2028\u2029\x85",
    "no width": "\u200b\ufeff",
}
COMMANDS = [
    "books", "books --json", "status", "status --json", "dead list", "dead list --json", "dead replay --all --dry-run",
    "dead drop --all --dry-run", "events list", "events list --json", "subscribers list", "subscribers list --json",
]  # fmt: skip


def clean(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("kind", BAD)
async def test_no_command_hands_it_on(session: Session, kind: str) -> None:
    bad = f"a{BAD[kind]}b"
    ref = await session.put(bad, channel_id=bad)
    letter = f"w-{bad}"
    await session.ledger.dead_letters.add(letter, cast(Kind, "webhook"), bad, f"520 {bad}", b"{")
    sending = await session.sending("m-2", to_id="2")
    await session.retry(sending)
    await session.redis.hset(f"dcb:m:{sending}", mapping={"e": bad, "cd": bad, "pr": bad})
    await session.redis.sadd("dcb:subscribers", bad)
    await session.redis.hset("rq:worker:odd", mapping={"hostname": bad, "queues": bad, "dcbridge": bad})
    await session.redis.sadd("rq:workers", "rq:worker:odd")
    named = [["dead", "show", letter], ["dead", "show", letter, "--json"], ["dead", "show", f"w-{bad}-none"]]
    named += [["trace", ref], ["trace", ref, "--json"], ["trace", sending], ["trace", bad], ["trace", bad, "--json"]]
    named += [["subscribers", "enable", bad], ["status", "--channel", f"{bad}x"], ["dead", "drop", f"{bad}x"]]
    seen = ""
    for words in [*(command.split() for command in COMMANDS), *named]:
        said = await session.types(*words)
        assert clean(said.out), (words, said.out)
        assert clean(said.err), (words, said.err)
        if "--json" in words:
            seen += "".join(str(orjson.loads(line)) for line in said.out.splitlines())
    assert repr(bad)[1:-1] in seen, "machines get it as it is"
