"""What a command's exit code says: one table for all of them, in docs/operations/status.md as well."""

from __future__ import annotations

import re
from collections.abc import Iterator

import typer.main

from dcbridge.cli.app import app
from tests.cli.session import Session
from tests.stack import ROOT

# (command, code): an empty ledger, where nothing is wrong but that no worker runs.
NOTHING = [
    ("books", 0),
    ("books --json", 0),
    ("console token list", 0),
    ("console sessions list", 0),
    ("dead list", 0),
    ("dead list --json", 0),
    ("dead list --what receipt", 0),
    ("dead replay --all", 0),
    ("dead replay --all --dry-run", 0),
    ("dead replay --what receipt", 0),
    ("dead drop --all --yes", 0),
    ("dead drop --what receipt", 0),
    ("events list", 0),
    ("events list --json", 0),
    ("events list --event STARTED", 0),
    ("events replay --subscriber sandbox --since 1h", 0),
    ("events replay --subscriber sandbox --since 1h --dry-run", 0),
    ("subscribers list", 0),
    ("subscribers list --json", 0),
    ("resume twilio", 0),
    ("resume provider twilio", 0),
    ("resume all", 0),
    ("audit", 0),
    ("audit --json", 0),
    ("provider list", 0),
    ("provider list --json", 0),
    ("provider clear twilio", 0),
    ("aside list", 0),
    ("aside list --json", 0),
    ("shapes", 0),
    ("shapes --json", 0),
    ("shapes --forget", 0),
]
NOT_THERE = [
    "dead show w-none", "dead show w-none --json", "dead show w-none --raw", "dead replay w-none", "dead drop w-none",
    "dead replay w-none --dry-run", "dead drop w-none --dry-run",
    "events replay --subscriber nobody --since 1h",
    "subscribers enable nobody", "subscribers disable nobody", "subscribers test nobody",
    "trace m-none", "trace m-none --json", "trace m-none --search", "trace +16504661149",
    "trace m-none --channel nobody", "status --channel nobody", "status --provider nobody",
    "status --channel nobody --json", "resume nobody",
    "fail nobody", "fail nobody --dry-run", "fail 0123456789",
    "provider drain nobody", "provider prefer nobody", "provider clear nobody", "provider drain twilio", "drill nobody",
    "drill twilio", "drill twilio --share 1%",
    "pause provider nobody", "pause channel nobody", "pause subscriber nobody", "pause conversation m-none",
    "hold nobody", "cancel m-none", "cancel --channel nobody", "retry m-none", "release m-none", "reject m-none",
    "send-again m-none",
    "drain worker nobody", "doctor --channel nobody",
    "aside show m:none", "aside show m:none --json", "aside back m:none", "aside drop m:none",
    "trigger nobody --to +16504661149", "send --channel nobody --to +16504661149",
    "send --channel 0123456789 --to +16504661149 --url http://127.0.0.1:1",
]  # fmt: skip
WRONG = [
    "", "nothing", "books extra", "books --limit 0", "books --nothing", "dead", "dead nothing", "dead show",
    "dead list --since yesterday", "dead replay", "dead drop", "dead list --limit 0", "events", "events replay",
    "events replay --subscriber sandbox", "events list --since yesterday", "subscribers", "subscribers test",
    "trace", "status --every 0", "status --heads -1", "check extra",
    "init", "init --set x", "init extra", "doctor extra", "doctor --selector a/b",
    "addresses extra", "serve extra", "worker nothing",
    "mail-in extra", "worker outbound nothing", "worker --nothing", "token", "dev --port x", "demo extra",
    "provider", "provider drain", "provider prefer", "provider clear", "drill",
    "genesys", "genesys login", "genesys check", "genesys nothing", "genesys probe",
    "console", "console serve extra", "console token", "console token create", "console token create ada --role root",
    "console token create ada --expires never", "console token revoke", "console sessions", "console sessions revoke",
    "pause", "pause provider", "pause planet mars", "resume planet mars", "hold", "cancel", "cancel --state sent",
    "cancel m-1 --all", "retry", "release", "reject", "send-again", "drain planet mars", "audit --limit 0",
    "fail", "reconcile", "reconcile none.jsonl", "aside", "aside show", "aside back", "aside drop", "trigger",
    "trigger textback", "send", "send --channel 0123456789",
    "send --channel 0123456789 --to +16504661149 --until sent", "send --channel 0123456789 --to 12,13",
    "send --channel 0123456789 --to +16504661149 --to +16504661148", "send --channel 0123456789 --to 1",
    "consent", "consent show", "consent add", "consent lift", "consent import", "consent show +16504661149",
]  # fmt: skip
AT_REDIS = [
    "console token list", "console token create ada", "console token revoke 0123456789ab", "console sessions list",
    "console sessions revoke all",
    "books", "books --json", "dead list", "dead list --json", "dead show w-1", "dead replay --all",
    "dead drop --all --yes", "events list", "events list --json", "events replay --subscriber sandbox --since 1h",
    "subscribers list", "subscribers list --json", "resume twilio", "subscribers enable sandbox",
    "subscribers disable sandbox",
    "consent show +16504661149", "consent add +16504661149", "consent lift +16504661149", "consent export",
    "consent import -", "consent sync",
    "provider list", "provider list --json", "provider drain twilio", "provider prefer twilio", "provider clear twilio",
    "drill twilio", "drill twilio --json",
    "genesys login", "genesys check", "genesys probe me@example.com", "shapes", "shapes --json",
    "pause provider twilio", "hold 0123456789", "cancel m-1", "cancel --all", "retry m-1", "release m-1", "reject m-1",
    "send-again m-1",
    "send --channel 0123456789 --to +16504661149",
    "drain", "drain worker one", "audit", "audit --json", "reconcile none.jsonl",
    "fail nobody", "aside list", "aside list --json", "aside show m:1", "aside back m:1", "aside drop m:1",
    "trace m-1", "trace m-1 --json", "trace m-1 --search", "status", "status --json",
]  # fmt: skip
CONFIGURED = [
    *AT_REDIS,
    "addresses",
    "addresses --json",
    "check",
    "console serve",
    "doctor",
    "serve",
    "mail-in",
    "worker",
    "worker --burst",
    "subscribers test sandbox",
    "events tail",
    "trigger textback --to +16504661149",
]
ELSEWHERE = {
    "addresses",
    "console serve",
    "dev",
    "demo",
    "token",
    "serve",
    "mail-in",
    "worker",
    "check",
    "doctor",
    "init",
    "events tail",
    "subscribers test",
    "trigger",
}


def commands() -> Iterator[str]:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        yield from [f"{name} {one}" for one in inner] if inner else [name]


def test_every_command_is_in_the_tables() -> None:
    told = [*(words for words, _ in NOTHING), *NOT_THERE, *WRONG, *CONFIGURED]
    missing = {one for one in commands() if not any(f"{words} ".startswith(f"{one} ") for words in told)}
    assert missing == set()
    assert {one for one in commands() if not any(f"{w} ".startswith(f"{one} ") for w in AT_REDIS)} == ELSEWHERE


async def test_nothing_found_is_no_mistake(session: Session) -> None:
    for words, code in NOTHING:
        said = await session.types(*words.split())
        assert (said.code, said.err) == (code, ""), words
        assert said.out or "--json" in words


async def test_what_was_named_and_is_not_there(session: Session) -> None:
    for words in NOT_THERE:
        said = await session.types(*words.split())
        assert said.code == 1, words
        assert said.err or "no such dead letter" in said.out, words


async def test_what_cannot_be_asked_is_told_as_usage_and_not_in_json(session: Session) -> None:
    for words in WRONG:
        said = await session.types(*words.split())
        assert said.code == 2, words
        assert "Traceback" not in said.err
        assert '{"' not in said.err, "a plain line for a person"


async def test_a_configuration_that_is_wrong(session: Session) -> None:
    for words in CONFIGURED:
        said = await session.types(*words.split(), DCBRIDGE_CONFIG="/nowhere/bridge.yaml")
        assert (said.code, said.out) == (2, ""), words
        assert said.err.startswith("error: /nowhere/bridge.yaml"), words


async def test_a_redis_that_is_away(session: Session) -> None:
    for words in AT_REDIS:
        said = await session.types(*words.split(), DCBRIDGE_REDIS_URL="redis://127.0.0.1:1/0")
        assert (said.code, said.out) == (3, ""), words
        assert "redis://127.0.0.1:1/0 cannot be reached" in said.err, words


async def test_something_that_is_wrong(session: Session) -> None:
    assert (await session.types("status")).code == 1  # no worker is running
    await session.put("m-1")
    await session.redis.hincrby("dcb:books:0123456789", "accepted", 1)
    assert (await session.types("books")).code == 1


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "operations" / "status.md").read_text(encoding="utf-8")
    table = page.partition("## Exit codes")[2].partition("\n#")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "3", "130"]
