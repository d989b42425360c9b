"""`dcbridge status` knows whether a service lives, and what it sees: in its problems, and in its exit code."""

from __future__ import annotations

import time
from typing import Any, cast

from dcbridge.ledger.fields import Kind
from dcbridge.ledger.services import SILENT, Service, Signatures, together
from service.presence import Presence
from tests.cli.session import Session
from tests.cli.test_status import problems, status


async def test_without_a_service_it_says_so(session: Session) -> None:
    await session.hires()
    await session.redis.delete("dcb:services")
    assert await problems(session) == ["no service is running: webhooks and callbacks get no answer"]
    await session.serves()
    shown, told = await status(session)
    assert (shown.code, told["problems"]) == (0, [])
    assert [one["name"] for one in told["services"]] == ["host-1"]
    assert "host-1" in shown.out


async def test_a_service_that_was_killed_is_named_and_forgotten(session: Session) -> None:
    await session.hires()
    stored: dict[bytes, bytes] = await cast(Any, session.redis.hgetall("dcb:services"))
    name, said = next(iter(stored.items()))
    at, _, words = said.partition(b" ")
    await session.redis.hset("dcb:services", b"another", b"%d %s" % (int(at) - int(SILENT + 5) * 1000, words))
    [problem] = await problems(session)
    assert problem.startswith("service another: last heartbeat ")
    await session.redis.hset("dcb:services", b"another", b"%d %s" % (int(at) - 4_000_000, words))
    assert await problems(session) == []
    await session.serves()
    assert list(await session.redis.hkeys("dcb:services")) == [name]


async def test_webhooks_that_are_refused_are_told_until_one_is_accepted(session: Session) -> None:
    await session.hires()
    presence = Presence("host-1")
    presence.signed("main")
    presence.refused("main", "a retired secret")
    presence.refused("main", "no secret matches")
    await session.serves(signatures=presence.seen)
    [problem] = await problems(session)
    assert problem.startswith("main: 2 webhooks refused since 20")
    assert "(no secret matches), and none accepted since then" in problem
    presence.signed("main")
    await session.serves(signatures=presence.seen)
    assert await problems(session) == []


async def test_refusals_of_long_ago_are_not_a_problem(session: Session) -> None:
    await session.hires()
    before = time.time() - 3600
    await session.serves(signatures={"main": Signatures(0.0, 5, before, before, "no header")})
    assert await problems(session) == []


async def test_several_versions_are_told_when_they_stay(session: Session) -> None:
    await session.hires()
    ledger = session.ledger
    for name, since in (("old", 7200.0), ("new", 7200.0), ("newest", 1.0)):
        await ledger.services.here(
            Service(name, {"old": "0.1.0", "new": "0.2.0"}.get(name, "0.3.0"), time.time() - since)
        )
    assert await problems(session) == ["several versions run: 0.1.0, 0.2.0; finish the upgrade"]


async def test_new_dead_letters_are_a_problem_and_old_ones_are_not(session: Session) -> None:
    await session.hires()
    await session.ledger.dead_letters.add("l-1", Kind.CALLBACK, "", "no MessageSid", b"")
    assert await problems(session) == ["1 dead letter written in the last 30 min (callback 1)"]
    await session.redis.zadd("dcb:dead", {"l-1": (time.time() - 7200) * 1000})
    assert await problems(session) == []


def test_what_several_processes_saw_is_put_together() -> None:
    one = Service("a", "", 0.0, signatures={"main": Signatures(100.0, 3, 50.0, 120.0, "first")})
    other = Service("b", "", 0.0, signatures={"main": Signatures(110.0, 2, 115.0, 130.0, "second")})
    quiet = Service("c", "", 0.0, signatures={"main": Signatures(90.0, 9, 80.0, 95.0, "before")})
    assert together([one, other, quiet]) == {"main": Signatures(110.0, 5, 110.0, 130.0, "second")}
    assert together([Service("d", "", 0.0, signatures={"main": Signatures(140.0)}), one])["main"].refused == 0


async def test_what_is_stored_may_be_anything(session: Session) -> None:
    await session.hires()
    for number, words in enumerate((b"", b"x", b"1", b"99999999999999999 {}", b"1 []", b'1 {"signatures":{"m":[1]}}')):
        await session.redis.hset("dcb:services", f"odd-{number}", words)
    assert (await session.types("status")).code in (0, 1)
