"""Sick installations, of real processes: `dcbridge status` names what each suffers from, and nothing of a healthy one.

python -m tests.faults.sick_installations [name ...]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from dcbridge.genesys import signature
from dcbridge.ledger import NewTask
from service.journal.segments import encode
from tests.stack import EMAIL, SMS, Stack, sms_body, until

WITHIN = 60.0  # seconds until it is named; a service that was killed is missed after 35
NUMBER = "16504661149"


@dataclass(frozen=True, slots=True)
class Sickness:
    """`key`: the finding that names it, `words` part of its sentence, `also` what may be found beside it."""

    key: str
    words: str
    code: int
    begin: Callable[[Stack], None]
    also: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Named:
    """What came of one. `seconds` from the moment when it fell ill."""

    name: str
    key: str
    severity: str
    code: int
    seconds: float
    says: str
    faults: tuple[str, ...]


def status(stack: Stack) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of the command as an operator types it."""
    done = stack.command("status", "--json")
    return done.returncode, json.loads(done.stdout)


def play(name: str, sick: Sickness) -> Named:
    """One installation: it carries a message, falls ill, and is looked at."""
    with Stack(settings=dict(sick.settings)) as stack:
        stack.receipt(stack.agent_writes(to=NUMBER))
        stack.settled()
        if sick.key != "journal.none":
            until(lambda: status(stack)[0] == 0, "it is well before")
        sick.begin(stack)
        began = time.monotonic()
        found = until(lambda: _named(stack, sick), f"{name} is named", WITHIN, pause=0.2)
        seconds = time.monotonic() - began
        code, told = status(stack)
        faults = []
        if code != sick.code:
            faults.append(f"the exit code is {code}")
        if sick.words not in found["says"]:
            faults.append(f"{sick.words!r} is not in {found['says']!r}")
        if not found["command"] or not found["page"]:
            faults.append("it has no command or no page")
        others = {one["key"] for one in told["findings"]} - {sick.key} - sick.also
        if others:
            faults.append(f"found beside it: {', '.join(sorted(others))}")
        shown = stack.command("status").stdout
        if f"({found['page']})" not in shown:
            faults.append("the screen does not show it")
        return Named(name, sick.key, found["severity"], code, seconds, found["says"], tuple(faults))


def _named(stack: Stack, sick: Sickness) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = status(stack)[1]["findings"]
    return next((one for one in found if one["key"] == sick.key and sick.words in one["says"]), None)


def healthy(seconds: float = 12.0) -> list[str]:
    """What is wrong with the answer about one that is healthy: nothing, for longer than a heartbeat."""
    with Stack() as stack:
        for _ in range(5):
            stack.agent_writes(to=stack.new_number())
        stack.agent_mails("recipient-1@mail.com")
        stack.settled()
        deadline, faults = time.monotonic() + seconds, list[str]()
        while time.monotonic() < deadline and not faults:
            code, told = status(stack)
            faults += [f"the exit code is {code}"] * bool(code)
            faults += [one["says"] for one in told["findings"]]
            time.sleep(1.0)
        shown = stack.command("status").stdout
        if any(line.startswith(("!", "warning:", "note:")) for line in shown.splitlines()):
            faults.append("the screen shows a finding")
        if "all is well" not in shown:
            faults.append("the screen does not say that all is well")
        return faults


# ---------------------------------------------------------------- how each falls ill


def no_service(stack: Stack) -> None:
    stack.kill("service")


def no_worker(stack: Stack) -> None:
    stack.kill("worker")


def wrong_secret(stack: Stack) -> None:
    """Somebody changed the app secret at Genesys alone."""
    raw = json.dumps(sms_body(stack.new_id(), NUMBER)).encode()
    for _ in range(3):
        answer = stack.webhook(raw, {signature.HEADER: signature.sign(b"another app secret", raw)})
        assert answer.status_code == 401


def receipts_refused(stack: Stack) -> None:
    """Somebody changed the app secret here alone: the first one signs our requests."""
    _change(stack, lambda told: told["endpoints"]["main"]["secrets"].insert(0, "the-new-app-secret-of-today"))
    stack.restart("worker")
    stack.agent_writes(to=stack.new_number())


def provider_refuses_us(stack: Stack) -> None:
    """Somebody changed the password at the provider."""
    stack.control(sms={"off": ["twilio"]})
    stack.agent_writes(to=stack.new_number())


def breaker_opened(stack: Stack) -> None:
    """For a moment, and it is well again."""
    provider_refuses_us(stack)
    with stack.ledger() as redis:
        until(lambda: redis.exists("dcb:breaker:twilio"), "the breaker opens")
        stack.control(sms={"off": []})
        until(lambda: not redis.exists("dcb:breaker:twilio"), "the breaker closes", WITHIN)


def dead_letters(stack: Stack) -> None:
    """A webhook that cannot be read."""
    assert stack.webhook(b"<xml/>").status_code == 200


def unknown_channel(stack: Stack) -> None:
    """A channel was taken out of bridge.yaml while messages wait for a worker."""
    stack.kill("worker")
    stack.agent_writes(to=stack.new_number())
    _change(stack, lambda told: told["channels"].pop(SMS))
    stack.start("worker")


def redis_fills(stack: Stack) -> None:
    with stack.ledger() as redis:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] / 0.9))


def redis_cannot_write(stack: Stack) -> None:
    """A snapshot finds something else in its place."""
    (stack.folder / "redis" / "dump.rdb").mkdir()
    with stack.ledger() as redis:
        redis.bgsave()


def damaged_journal(stack: Stack) -> None:
    """A record that was whole once: the disk, or somebody's hand."""
    stack.terminate("service")
    record = encode(NewTask("b-0", "callback", "lane", b"payload"))[:-1] + b"D"
    [folder] = [path for path in stack.folder.rglob("journal") if path.is_dir()]
    path = folder / "000000000001.journal"
    path.write_bytes(record + record)
    path.chmod(0o600)
    stack.start("service")


def no_journal(stack: Stack) -> None:
    """Its service was started without one: see `settings`."""


def no_reports(stack: Stack) -> None:
    """The address of the callbacks was changed at the provider; a quarter of an hour later."""
    stack.control(sms={"callbacks": False})
    messages = [stack.agent_writes(to=stack.new_number()) for _ in range(6)]
    until(lambda: all(stack.entry(one).state == "sent" for one in messages), "they are sent")
    earlier = int((time.time() - 1200) * 1000)
    with stack.ledger() as redis:
        for one in messages:
            redis.hset(f"dcb:m:{stack.ref(one)}", "sent", earlier)
            redis.zadd(f"dcb:open:{SMS}", {stack.ref(one): earlier - 1000})
        redis.hset("dcb:heard", "twilio", earlier - 5000)


def half_an_update(stack: Stack) -> None:
    """A rolling update that stopped half-way, two hours ago."""
    with stack.ledger() as redis:
        said = json.dumps({"version": "0.0.9", "started": time.time() - 7200, "signatures": {}})
        name, words = next(iter(redis.hgetall("dcb:services").items()))
        own = json.loads(words.partition(b" ")[2]) | {"started": time.time() - 7200}
        redis.hset("dcb:services", mapping={"old-1": f"{int(time.time() * 1000)} {said}"})
        redis.hset("dcb:services", name + b"-2", f"{int(time.time() * 1000)} {json.dumps(own)}")


def night_differs(stack: Stack) -> None:
    """The comparison of last night."""
    counts = {"both": 100, "only_ours": 1, "only_theirs": 2, "ambiguous": 0}
    with stack.ledger() as redis:
        redis.hset("dcb:reconciled", "2026-11-25", json.dumps({"differs": True, "counts": counts}))


def retired_secret(stack: Stack) -> None:
    """Genesys still signs with what was retired here."""
    _change(stack, lambda told: told["endpoints"]["main"].update(retired_secrets=["the-app-secret-of-yesterday"]))
    stack.restart("service")
    raw = json.dumps(sms_body(stack.new_id(), NUMBER)).encode()
    assert (
        stack.webhook(raw, {signature.HEADER: signature.sign(b"the-app-secret-of-yesterday", raw)}).status_code == 401
    )
    assert stack.webhook(raw).status_code == 200  # and with the live one


def paused_channel(stack: Stack) -> None:
    assert stack.command("pause", "channel", EMAIL, "--by", "ann", "--why", "review").returncode == 0


def _change(stack: Stack, how: Callable[[dict[str, Any]], object]) -> None:
    path = stack.folder / "bridge.yaml"
    told = yaml.safe_load(path.read_text())
    how(told)
    path.write_text(yaml.safe_dump(told))


SICK: Mapping[str, Sickness] = {
    "the service was killed": Sickness(
        "service.none", "no service is running", 1, no_service, frozenset({"service.silent"})
    ),
    "the worker was killed": Sickness(
        "worker.none",
        "no worker is running",
        1,
        no_worker,
        frozenset({"worker.silent"}),
        {"DCBRIDGE_WORKER_SILENCE": "4"},
    ),
    "webhooks are refused": Sickness("signatures.refused", "3 webhooks refused", 1, wrong_secret),
    "receipts are refused": Sickness(
        "platform.refuses-receipts",
        "receipts are refused (http 401)",
        1,
        receipts_refused,
        frozenset({"receipts.late"}),
    ),
    "the provider refuses us": Sickness("provider.breaker-open", "nothing has been sent", 1, provider_refuses_us),
    "the provider refused us before": Sickness("provider.breaker-opened", "opened", 0, breaker_opened),
    "no delivery update comes": Sickness("provider.reports-late", "6 messages sent since then", 1, no_reports),
    "a webhook cannot be read": Sickness("dead-letters.new", "1 dead letter", 1, dead_letters),
    "a channel is not configured": Sickness(
        "channel.unconfigured", SMS, 1, unknown_channel, frozenset({"worker.silent"})
    ),
    "a channel is paused": Sickness("control.in-force", "is paused by ann", 1, paused_channel),
    "Redis is nearly full": Sickness("redis.unsafe", "of maxmemory is used", 1, redis_fills),
    "Redis cannot write to its disk": Sickness("redis.unsafe", "snapshot (RDB) failed", 1, redis_cannot_write),
    "the journal is damaged": Sickness("journal.set-aside", "damaged file", 1, damaged_journal),
    "there is no journal": Sickness("journal.none", "has no journal", 0, no_journal, settings={"DCBRIDGE_JOURNAL": ""}),
    "an update stopped half-way": Sickness("versions.several", "0.0.9", 1, half_an_update, frozenset({"journal.none"})),
    "last night differs": Sickness("reconcile.differs", "1 only ours, 2 only theirs", 1, night_differs),
    "a retired secret is used": Sickness("secret.retired-used", "signed a request", 0, retired_secret),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"only these: {', '.join(SICK)}")
    names = parser.parse_args().names
    failed = 0
    for name in names or SICK:
        try:
            told = play(name, SICK[name])
        except AssertionError as error:
            failed += 1
            say(f"| {name} | {error} |")
            continue
        failed += bool(told.faults)
        say(f"| {name} | `{told.key}` | {told.severity} | {told.code} | {told.seconds:.1f} s |")
        for fault in told.faults:
            say(f"    {fault}")
    if not names:
        faults = healthy()
        failed += bool(faults)
        say(f"| healthy | {'; '.join(faults) or 'no finding'} | | {1 if faults else 0} | |")
    return 1 if failed else 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
