"""Findings: each key has a page and a line in the documentation, and the worst is shown first."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, cast

import pytest

from dcbridge.config.loader import parse
from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.services import Journal, SecretUse, Service, secret_mark
from dcbridge.operations.findings import KINDS, Finding, Severity, found, in_order
from dcbridge.operations.service_checks import of_secrets, secrets_of
from dcbridge.operations.session import Session as Operating
from dcbridge.operations.status import Wanted, look
from dcbridge.settings.process import read_settings
from dcbridge.store.connection import _memory, _on_disk
from service.presence import Presence
from tests.cli.session import Session
from tests.ledger.ledger_bench import CHANNEL

ROOT = Path(__file__).parent.parent.parent
STATUS = (ROOT / "docs" / "operations" / "status.md").read_text(encoding="utf-8")


def test_each_page_is_there() -> None:
    assert {kind.page for kind in KINDS.values() if not (ROOT / kind.page).is_file()} == set()


def test_each_key_stands_in_the_table_with_its_severity_and_page() -> None:
    rows = re.findall(r"^\| `([a-z.-]+)` \| (\w+) \| .+ \| \[.+\]\((.+)\) \|$", STATUS, re.MULTILINE)
    pages = {key: (kind.severity.value, kind.page) for key, kind in KINDS.items()}
    written = {
        key: (severity, str((ROOT / "docs" / "operations" / page).resolve().relative_to(ROOT)))
        for key, severity, page in rows
    }
    assert written == pages
    assert [key for key, _, _ in rows] == [
        one.key for one in in_order(found(key, "", "") for key in reversed(list(KINDS)))
    ]


def test_the_worst_is_first() -> None:
    severities = [one.severity for one in in_order(found(key, "", "") for key in KINDS)]
    assert severities == sorted(severities, key=list(Severity).index)


# ---------------------------------------------------------------- what is found, and what is not


async def findings(session: Session) -> dict[str, Finding]:
    """By key, of one look with a worker and a service that live."""
    settings, _ = read_settings(session.environ)
    status = await look(Operating(settings, session.configuration, session.ledger), Wanted())
    assert len({one.key for one in status.findings}) == len(status.findings)
    return {one.key: one for one in status.findings}


async def test_a_healthy_installation_has_none(session: Session) -> None:
    await session.hires()
    await session.serves(journal=Journal(configured=True, limit=1 << 20))
    assert await findings(session) == {}


async def test_a_platform_that_refuses_receipts_is_named_with_its_code(session: Session) -> None:
    await session.hires()
    ref = await session.sending()
    await session.ledger.messages.fail(ref, "mine", 530, "")
    receipts = session.ledger.receipts
    await receipts.take(CHANNEL, 10, 60.0)
    await receipts.again(CHANNEL, {ref: 1.0}, "http 503")
    assert "platform.refuses-receipts" not in await findings(session)  # it may be away for a moment
    await receipts.again(CHANNEL, {ref: 1.0}, "http 401")
    told = (await findings(session))["platform.refuses-receipts"]
    assert told.says.startswith(f"{CHANNEL}: receipts are refused (http 401) since 20")
    assert "2 requests" in told.says
    assert (told.severity, told.about) == (Severity.PROBLEM, CHANNEL)
    await receipts.done(CHANNEL, [ref])
    assert await session.redis.exists("dcb:refusing") == 0
    assert "platform.refuses-receipts" not in await findings(session)


async def test_a_platform_that_fails_for_half_a_minute_is_named_too(session: Session) -> None:
    await session.hires()
    for at in (0.0, 40.0):
        field = await cast(Any, session.redis.hget("dcb:refusing", f"r/{CHANNEL}"))
        if field:
            since, rest = field.split(b" ", 1)
            await session.redis.hset("dcb:refusing", f"r/{CHANNEL}", b"%d %s" % (int(since) - int(at * 1000), rest))
        await session.ledger.receipts.again(CHANNEL, {}, "connect")
    assert "(connect)" in (await findings(session))["platform.refuses-receipts"].says


async def test_a_platform_that_refuses_consumers_messages(session: Session) -> None:
    await session.hires()
    tasks = session.ledger.tasks
    await tasks.put([NewTask("c-1", "consumer", "lane", b"{}", channel_id=CHANNEL)])
    await tasks.claim("c-1", "t", 60.0)
    await tasks.retry("c-1", "t", 1.0, "http 403")
    assert "consumer messages are refused (http 403)" in (await findings(session))["platform.refuses-messages"].says
    await tasks.done("c-1", "t", 60.0)
    assert "platform.refuses-messages" not in await findings(session)


async def test_refusals_are_bounded_and_what_is_stored_may_be_anything(session: Session) -> None:
    await session.redis.hset("dcb:refusing", mapping={f"r/{n}": "1 1 1 x" for n in range(2000)})
    await session.ledger.receipts.again(CHANNEL, {}, "http 401")
    assert await session.redis.hlen("dcb:refusing") == 2000
    await session.redis.delete("dcb:refusing")
    odd = {"r/a": b"", "r/b": b"x y z w", "x/c": b"1 1 1 c", "d": b"1 1 1 c", "r/e": b"9" * 99, "r/f": b"\xff 1 1 \xff"}
    await session.redis.hset("dcb:refusing", mapping=cast(Any, odd))
    assert await session.ledger.refusals.all() == []
    await session.ledger.receipts.again(CHANNEL, {}, "http 500 " + "x" * 9999)
    [one] = await session.ledger.refusals.all()
    assert len(one.code) == 60


async def test_a_breaker_that_opened_and_closed_again_is_a_warning(session: Session) -> None:
    await session.hires()
    pacing = session.ledger.pacing
    await pacing.record_failure("twilio", "x", "20003", at_once=True, threshold=3, first=50.0, most=80.0)
    assert "provider.breaker-opened" not in await findings(session)  # it is open: a problem says so
    await pacing.record_success("twilio", "x")
    told = (await findings(session))["provider.breaker-opened"]
    assert told.says == "twilio: its breaker opened once within the last hour (code 20003), and is closed now"
    shown = await session.types("status")
    assert (shown.code, "warning: twilio: its breaker" in shown.out) == (0, True)
    assert "all is well" not in shown.out


async def test_a_provider_of_which_no_delivery_update_comes(session: Session) -> None:
    await session.hires()
    heard = session.ledger.heard
    await heard.listen(["twilio"])
    for number in range(5):
        ref = await session.sending(f"m-{number}", to_id=str(number))
        await session.ledger.messages.submitted(
            ref, "mine", 0, 1, f"SM{number}", delivered=False, confirm_within=9999.0, provider="twilio"
        )
    assert "provider.reports-late" not in await findings(session)
    await session.redis.hset("dcb:heard", "twilio", int((time.time() - 7200) * 1000))
    await session.pass_time(1000)
    told = (await findings(session))["provider.reports-late"]
    assert told.says.startswith("twilio: no delivery update has come for 2 h, and 5 messages sent since then wait")
    await heard.listen(["twilio"])  # a worker that starts changes nothing
    assert "provider.reports-late" in await findings(session)
    await heard.note(["twilio"])
    assert "provider.reports-late" not in await findings(session)


@pytest.mark.parametrize(
    ("journal", "key", "words"),
    [
        (Journal(), "journal.none", "has no journal"),
        (Journal(True, 12, 900, 1000), "journal.holds", "holds 12 callbacks that are not in Redis, 90% of its limit"),
        (Journal(True, 12, 1000, 1000, full=True), "journal.full", "takes no more callbacks"),
        (Journal(True, limit=1000, set_aside=2), "journal.set-aside", "has set aside 2 damaged files"),
    ],
)
async def test_the_journal_of_a_service_anywhere(session: Session, journal: Journal, key: str, words: str) -> None:
    await session.hires()
    await session.serves(journal=journal)
    found = await findings(session)
    assert set(found) == {key}
    assert words in found[key].says


async def test_dead_letters_that_nobody_decided_about_are_a_warning(session: Session) -> None:
    await session.hires()
    for number, kind in enumerate([Kind.CALLBACK, Kind.CALLBACK, Kind.RECEIPT]):
        await session.ledger.dead_letters.add(f"l-{number}", kind, "", "why", b"")
    assert "(callback 2, receipt 1)" in (await findings(session))["dead-letters.new"].says
    for number in range(3):
        await session.redis.zadd("dcb:dead", {f"l-{number}": (time.time() - 86400 * 3) * 1000})
        await session.redis.hset(f"dcb:dead:l-{number}", "at", int((time.time() - 86400 * 3) * 1000))
    told = await findings(session)
    assert set(told) == {"dead-letters.kept"}
    assert told["dead-letters.kept"].says == (
        "3 dead letters wait for a decision, the oldest for 3 d (callback 2, receipt 1)"
    )


async def test_a_redis_that_fills_is_a_warning_before_it_is_a_problem(session: Session) -> None:
    await session.hires()
    used = int((await session.redis.info("memory"))["used_memory"])
    try:
        for share, key in ((0.78, "redis.filling"), (0.92, "redis.unsafe")):
            await session.redis.config_set("maxmemory", int(used / share))
            found = await findings(session)
            assert set(found) == {key}
            assert "of maxmemory is used" in found[key].says
    finally:
        await session.redis.config_set("maxmemory", 0)


def test_a_redis_whose_disk_or_memory_is_short() -> None:
    assert _on_disk({"rdb_last_bgsave_status": "ok"}) == []
    [snapshot] = _on_disk({"rdb_last_bgsave_status": "err"})
    assert "snapshot (RDB) failed" in snapshot
    [rewrite] = _on_disk({"aof_enabled": 1, "aof_last_bgrewrite_status": "err"})
    assert "could not be rewritten" in rewrite
    [whole] = _memory({"used_memory": 90, "total_system_memory": 100})
    assert "90% of the memory of Redis' computer (maxmemory is not set)" in whole
    assert _memory({"used_memory": 80, "total_system_memory": 100}) == []


# ---------------------------------------------------------------- secrets


SIGNED = """
public_url: https://bridge.example.com
digital_channels: {base_url: "http://127.0.0.1:1/nexus/v3", contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints:
  main: {secrets: [the-new-app-secret, the-old-app-secret], retired_secrets: [a-retired-app-secret]}
  only: {secrets: [the-only-app-secret]}
providers: {twilio: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: the-auth-token}}
channels:
  a: {type: sms, provider: twilio, endpoint: main}
  b: {type: sms, provider: twilio, endpoint: only}
"""
NEW, OLD, RETIRED = b"the-new-app-secret", b"the-old-app-secret", b"a-retired-app-secret"
DAY = 86400.0


@pytest.mark.parametrize(
    ("used", "known_for", "says"),
    [
        ({NEW: 1.0, OLD: 2.0}, 3 * DAY, []),
        (
            {NEW: 1.0, OLD: 9 * DAY},
            20 * DAY,
            ["secret 2 of main is safe to remove: not used for 9 d", "retired 20 d"],
        ),
        ({NEW: 1.0}, 9 * DAY, ["retired 9 d"]),  # the second may be the one that Genesys has not switched to yet
        ({NEW: 9 * DAY, OLD: 1.0}, 9 * DAY, ["secret 1 of main is safe to remove: not used for 9 d", "retired 9 d"]),
        ({NEW: 1.0, OLD: 1.0, RETIRED: 60.0}, 9 * DAY, ["retired secret 1 of main signed a request 60 s ago"]),
    ],
)
def test_which_secret_may_go(used: dict[bytes, float], known_for: float, says: list[str]) -> None:
    now = 1_800_000_000.0
    uses = {
        ("main", secret_mark(one)): SecretUse(now - known_for, now - used[one] if one in used else 0.0, now)
        for one in (NEW, OLD, RETIRED)
    }
    told = [one.says for one in of_secrets(secrets_of(parse(SIGNED, {}), uses, now))]
    wanted = [
        one.replace("retired ", "retired secret 1 of main is safe to remove: not used for ")
        if re.fullmatch("retired [0-9]+ d", one)
        else one
        for one in says
    ]
    assert [words[: len(want)] for words, want in zip(told, wanted, strict=True)] == wanted


def test_before_a_service_has_looked_nothing_is_safe() -> None:
    found = secrets_of(parse(SIGNED, {}), {}, time.time())
    assert [(one.at, one.place, one.retired, one.safe_to_remove) for one in found] == [
        ("main", 1, False, False),
        ("main", 2, False, False),
        ("main", 1, True, False),
    ]


async def test_uses_of_secrets_are_kept_when_services_go(session: Session) -> None:
    services = session.ledger.services
    presence, other = Presence("host-1", clock=lambda: time.time() - 100), Presence("host-2")
    for one in (presence, other):
        one.knows([("main", NEW), ("main", OLD)])
    presence.signed("main", [OLD])
    for one in (presence, other):
        await services.here(one.service(), one.untold)
        await services.gone(one.name)
    known = await services.secrets()
    assert set(known) == {("main", secret_mark(NEW)), ("main", secret_mark(OLD))}
    assert 90 < time.time() - known["main", secret_mark(OLD)].last_used < 110
    assert known["main", secret_mark(NEW)].last_used == 0
    stored = await session.whole_database()
    assert not any(secret in stored for secret in (NEW, OLD))
    presence.signed("main", [b"a-secret-that-is-not-configured"])
    assert len(presence.used) == 2


async def test_secrets_are_bounded(session: Session) -> None:
    many = {("main", f"{n:04x}"): 1.0 for n in range(1001)}
    await session.ledger.services.here(Service("host-1", "", 0.0), many)
    assert len(await session.ledger.services.secrets()) == 1000
    await session.redis.hset("dcb:secrets", mapping={f"main {n:04x}": "1 1 1" for n in range(1000)})
    await session.ledger.services.here(Service("host-1", "", 0.0), {("main", "0001"): 0.0})
    assert list(await session.ledger.services.secrets()) == [("main", "0001")]
