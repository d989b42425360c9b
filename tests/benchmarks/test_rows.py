"""Each row of the benchmarks, so small that only one thing can be said of it: it counts what happened.

No test looks at a time. That every message went its whole way once is checked by the rows themselves,
and that they do check it is shown by runs that are spoilt here.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import door, drain, mails, media, profile, relay, smpp, updates, whole
from benchmarks.stage import Process, Sample, Stage, Wrong, cold
from benchmarks.table import Line
from tests import warm
from tests.stack import until

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")


def warmly(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Process:
    """No figure is looked at here, so no process has to pay for its imports."""
    return warm.Warm(command, environ, log, log, ROOT) if warm.can(command) else cold(command, environ, log)


RELAY = replace(relay.SMALL, launch=warmly)


def all_told(lines: list[Line], runs: int = 1) -> None:
    """Every figure is there, is more than nothing, and stands on the page."""
    for line in lines:
        assert len(line.values) == runs, line
        assert all(value > 0 for value in (*line.values, *line.beside)), line
        assert not line.beside or (len(line.beside) == runs and line.baseline), line
        assert f"| {re.sub('[0-9,]+ wait,', '200,000 wait,', line.what)} |" in PAGE, line.what


# ---------------------------------------------------------------- the rows


def test_updates_in_batches_beside_one_in_a_callback(tmp_path: Path) -> None:
    lines = updates.measure(tmp_path, 1, replace(updates.SMALL, launch=warmly))
    all_told([replace(line, what=line.what.replace("20 in", "100 in")) for line in lines])


def test_the_door_beside_two_servers_with_less_to_do_by_the_command(tmp_path: Path) -> None:
    """It prints the table and writes every figure."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--row", "door", "--runs", "1", "--small", "--markdown"]
    done = subprocess.run([*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text())
    *once, loop, sync = [Line(**{k: v for k, v in line.items() if k != "ratios"}) for line in written["lines"]]
    all_told(once)
    all_told([loop, sync], runs=2)  # before and after
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [line.what for line in (*once, loop, sync)]
    assert [line["ratios"] for line in written["lines"]] == [
        line.ratios if line.beside else [] for line in (*once, loop, sync)
    ]
    assert written["machine"] in done.stdout


def test_mails_of_consumers_beside_a_bare_mail_server(tmp_path: Path) -> None:
    all_told(mails.measure(tmp_path, 1, replace(mails.SMALL, launch=warmly)))


def test_pictures_of_consumers(tmp_path: Path) -> None:
    all_told(media.measure(tmp_path, 1, media.SMALL))


@pytest.mark.parametrize("kind", door.KINDS)
def test_only_the_whole_service_writes_and_each_of_its_answers_is_a_message_in_the_ledger(
    tmp_path: Path, kind: str
) -> None:
    with Stage(tmp_path, launch=warmly) as stage:
        assert door.once(stage, kind, 40)["answered"] == 40
        with stage.look() as connection:
            written = connection.hget("dcb:books:0123456789", "accepted")
    assert written == (b"44" if kind == "full" else None)  # a tenth as many to warm up


@pytest.mark.parametrize("kind", door.KINDS)
def test_every_kind_of_server_verifies_what_it_is_sent(tmp_path: Path, kind: str) -> None:
    with Stage(tmp_path, launch=warmly) as stage:
        stage.environ["DCBRIDGE_CONFIG"] = str(_with_another_secret(stage))
        with pytest.raises(Wrong, match=r"not every answer was 200: \{401: "):
            door.once(stage, kind, 10)


def _with_another_secret(stage: Stage) -> Path:
    other = stage.folder / "other.yaml"
    told = (stage.folder / "bridge.yaml").read_text()
    other.write_text(told.replace("secrets: [benchmark-benchmark]", "secrets: [another-secret-altogether]"))
    assert other.read_text() != told
    return other


def test_one_worker_beside_the_stock_one(tmp_path: Path) -> None:
    all_told(relay.measure(tmp_path, 1, RELAY))


def test_a_slower_provider(tmp_path: Path) -> None:
    all_told(relay.measure_slow(tmp_path, 1, replace(RELAY, count=50, slow=50)))


def test_two_workers_beside_one(tmp_path: Path) -> None:
    all_told(relay.measure_two(tmp_path, 1, replace(RELAY, count=50)))


def test_a_run_counts_what_the_provider_took_and_both_workers_carry(tmp_path: Path) -> None:
    run = relay.once(tmp_path / "two", 300, 50, workers=2, in_flight=8, launch=warmly)
    end = run.whole.last
    assert (end.worlds["taken"], end.worlds["delivered"], run.whole.messages) == (300, 300, 300)
    assert 1 <= end.worlds["most_in_flight"] <= 16
    sent = [(tmp_path / "two" / f"{name}.log").read_text().count('"message_sent"') for name in run.workers]
    assert sum(sent) == 300
    assert all(sent)
    assert run.figures()["memory"] > 1


def test_the_whole_path_beside_the_stock_worker(tmp_path: Path) -> None:
    all_told(whole.measure(tmp_path, 1, replace(whole.SMALL, launch=warmly)))


def test_a_wide_window_beside_a_window_of_one(tmp_path: Path) -> None:
    lines = smpp.measure(tmp_path, 1, replace(smpp.SMALL, launch=warmly))
    all_told(lines)
    in_window = lines[1]
    assert (in_window.beside, in_window.values[0] <= smpp.WINDOW, in_window.values[0] > 1) == ((1,), True, True)


@pytest.mark.parametrize("spoil", ["taken", "sent", "accepted"])
def test_a_run_is_refused_when_the_smsc_and_the_ledger_differ(tmp_path: Path, spoil: str) -> None:
    """On the side of the SMSC, the log is made up."""
    with Stage(tmp_path / "smsc") as stage:
        asyncio.run(stage.fill("smpp", 0, 3))
        with stage.look() as connection:
            for key in connection.scan_iter("dcb:m:*"):
                connection.hset(key, "s", "sent")

            def told(taken: int) -> None:
                (stage.folder / "smsc.log").write_text(f'{{"delivered": {taken}, "most_in_flight": 1}}\n')

            told(3)
            smpp.check(stage, 3)
            if spoil == "taken":
                told(4)
            elif spoil == "sent":
                connection.hset(next(connection.scan_iter("dcb:m:*")), "s", "accepted")
            else:
                asyncio.run(stage.fill("nobody-knows", 0, 1))
            with pytest.raises(Wrong):
                smpp.check(stage, 3)


def test_a_long_queue_beside_a_short_one(tmp_path: Path) -> None:
    all_told(drain.measure(tmp_path, 2, replace(drain.SMALL, launch=warmly))[:-1], runs=2)


def test_as_many_wait_after_a_turn_as_before_it(tmp_path: Path) -> None:
    with Stage(tmp_path / "turn", launch=warmly) as stage:
        backlog = drain.Backlog(stage, "turn", 150)
        assert 500 < backlog.bytes < 5_000
        asyncio.run(backlog.turn(0.5, 0.0))
        books, told = asyncio.run(stage.books()), stage.sample().worlds
        assert books.accepted == backlog.filled > 150
        assert books.delivered == told["taken"] > 0


# ---------------------------------------------------------------- runs that are spoilt

GOOD = {"requests": 10.0, "asked": 10.0, "taken": 10.0, "receipts": 10.0, "delivered": 10.0}


def test_a_run_in_which_each_message_went_once_is_taken() -> None:
    relay.check(Sample(GOOD, {}, {}), 10)


@pytest.mark.parametrize(("what", "count"), [(name, count) for name in GOOD for count in (9.0, 11.0)])
def test_a_run_in_which_one_was_lost_or_doubled_is_refused(what: str, count: float) -> None:
    with pytest.raises(Wrong):
        relay.check(Sample(GOOD | {what: count}, {}, {}), 10)


@pytest.mark.parametrize("spoil", ["accepted", "taken"])
def test_a_turn_is_refused_when_the_books_and_the_worlds_differ(tmp_path: Path, spoil: str) -> None:
    with Stage(tmp_path / "spoilt", launch=warmly) as stage:
        backlog = drain.Backlog(stage, "spoilt", 100)
        if spoil == "accepted":
            asyncio.run(stage.fill("nobody-knows", 0, 1))
        else:
            with stage.look() as connection:
                connection.hincrby("dcb:books:0123456789", "delivered", 1)
        with pytest.raises(Wrong):
            asyncio.run(backlog.turn(0.2, 0.0))


def test_the_whole_path_is_refused_when_a_step_is_missing_or_repeated(tmp_path: Path) -> None:
    """On one side alone: what the worlds saw is made up."""
    with Stage(tmp_path / "steps") as stage:

        def outside() -> whole.Outside:
            made = whole.Outside(stage, "steps")
            made.next(0.0)
            made.answers.note(200, 0.1)
            made.told.note(200, 0.1)
            made.world.sms(b"To=1&Body=steps-0+Your+parcel")
            made.world.in_flight, made.world.taken = 0, 1
            made.world.post(b'{"messages":[{"channel":{"messageId":"steps-0"},"status":"Delivered"}]}')
            return made

        outside().check()
        steps: list[Callable[[whole.Outside], object]] = [
            lambda o: o.next(0.0),
            lambda o: o.answers.note(503, 0.1),
            lambda o: o.answers.statuses.clear(),
            lambda o: o.told.note(200, 0.1),
            lambda o: o.world.sms(b"To=1&Body=steps-0+Your+parcel"),
            lambda o: o.world.post(b'{"messages":[{"channel":{"messageId":"steps-0"},"status":"Delivered"}]}'),
            lambda o: o.world.delivered.clear(),
        ]
        for spoil in steps:
            spoilt = outside()
            spoil(spoilt)
            with pytest.raises(Wrong):
                spoilt.check()


def test_a_worker_that_ends_by_itself_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="worker-0 ended by itself"):
        relay.once(tmp_path / "ends", 5, command=("-m", "dcbridge", "worker", "no-such-queue"), launch=warmly)


# ---------------------------------------------------------------- the rest


def test_a_benchmark_that_is_stopped_leaves_nothing_running() -> None:
    command = [sys.executable, "-m", "benchmarks", "--row", "door", "--runs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    own = psutil.Process(process.pid)
    started = until(lambda: found if len(found := own.children(recursive=True)) > 1 else None, "its processes")
    process.terminate()
    assert process.wait(90) == 143
    assert [child for child in started if child.is_running()] == []


@pytest.mark.parametrize(
    ("measure", "inside"), [(profile.worker, "dcbridge/transport/sender.py"), (profile.service, "service/endpoint.py")]
)
def test_a_profile_finds_our_own_functions(
    tmp_path: Path, measure: Callable[[Path, int], dict[str, Any]], inside: str
) -> None:
    told = profile.told(measure(tmp_path, 400), most=1000)
    assert int(told.split()[0]) > 10
    assert inside in told
    assert "the ledger and Redis" in told
    assert "benchmarks/" not in told


def test_two_profiles_are_one_table() -> None:
    workers = {"samples": 200, "topics": [["log lines", 20], ["the job", 180]]}
    services = {"samples": 100, "topics": [["log lines", 100]]}
    assert profile.both(workers, services).splitlines()[2:] == ["| log lines | 10% | 100% |", "| the job | 90% |  |"]


def test_the_command_line_and_the_page_know_the_same_rows() -> None:
    known = set(re.findall(r'^    "([a-z]+)": \(', (ROOT / "benchmarks/__main__.py").read_text(), re.MULTILINE))
    rows = {"door", "relay", "slow", "two", "whole", "drain", "updates", "events", "mails", "media", "smpp", "bullmq"}
    assert known == rows
    assert {row for row in known if f"`{row}`" in PAGE} == known
