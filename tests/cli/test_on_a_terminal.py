"""The commands as a person sees them: narrow terminals, pipes, help, questions, Ctrl-C."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from redis import exceptions as redis_errors

from dcbridge.cli.app import app
from dcbridge.cli.dev.processes import Ports, prepare, read, write_env
from dcbridge.ledger.fields import Kind
from dcbridge.operations.session import explain_redis_error
from dcbridge.settings.process import Settings
from tests.cli.letters import all_kinds, unreadable_webhook
from tests.cli.session import DAY, Session
from tests.cli.terminal import OnATerminal, Screen, on_a_terminal
from tests.ledger.ledger_bench import CHANNEL


async def seen(session: Session, *arguments: str, columns: int = 80) -> Screen:
    return await asyncio.to_thread(on_a_terminal, session.environ, *arguments, columns=columns)


async def delivered(session: Session) -> str:
    ref = await session.sending("m-1")
    await session.ledger.messages.submitted(ref, "mine", 0, 1, "SM" + "0" * 32, delivered=False, confirm_within=DAY)
    await session.update(ref, "sent")
    await session.update(ref, "delivered")
    return ref


# ---------------------------------------------------------------- narrow terminals


@pytest.mark.parametrize("columns", [60, 80, 200])
async def test_a_trace_cuts_neither_times_nor_ids(session: Session, columns: int) -> None:
    ref = await delivered(session)
    screen = await seen(session, "trace", ref, columns=columns)
    assert (screen.code, "…" in screen.text) == (0, False)
    assert max(map(len, screen.lines)) <= columns
    for word in (ref, "SM" + "0" * 32, "delivery update: delivered", "due: receipt Delivered"):
        assert word in screen.text
    assert len(re.findall(r"\d\d:\d\d:\d\d\.\d\d\d", screen.text)) == 6


@pytest.mark.parametrize("columns", [80, 200])
async def test_the_books_keep_every_figure(session: Session, columns: int) -> None:
    await delivered(session)
    screen = await seen(session, "books", columns=columns)
    assert (screen.code, "…" in screen.text) == (0, False)
    assert max(map(len, screen.lines[:3])) <= columns
    [line] = [line for line in screen.lines if line.startswith(CHANNEL)]
    assert line.split()[1:] == ["1", "1", "0", "0", "0", "0", "0", "1"]


@pytest.mark.parametrize("columns", [80, 200])
async def test_dead_letters_keep_their_ids(session: Session, columns: int) -> None:
    ids = await all_kinds(session)
    screen = await seen(session, "dead", "list", columns=columns)
    assert (screen.code, "…" in screen.text) == (0, False)
    assert max(map(len, screen.lines)) <= columns
    assert all(one in screen.text for one in ids)
    shown = await seen(session, "dead", "show", ids[0], columns=columns)
    assert max(map(len, shown.lines)) <= columns


@pytest.mark.parametrize("arguments", [["books"], ["trace", "m-1"], ["dead", "list"], ["dead", "show"], ["status"]])
async def test_a_pipe_gets_no_colours_and_no_blanks_at_the_end_of_a_line(
    session: Session, arguments: list[str]
) -> None:
    [letter_id, *_] = await all_kinds(session)
    said = await session.types(*arguments, *([letter_id] if arguments == ["dead", "show"] else []))
    assert said.out
    assert "\x1b" not in said.out
    assert [line for line in said.out.splitlines() if line != line.rstrip()] == []


# ---------------------------------------------------------------- help


def every_command() -> Iterator[tuple[str, click.Command]]:
    def walk(command: object, path: str) -> Iterator[tuple[str, click.Command]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield f"{path}{name}", inner
            yield from walk(inner, f"{path}{name} ")

    yield from walk(typer.main.get_command(app), "")


@pytest.mark.parametrize("group", [[], ["dead"]])
async def test_the_list_of_commands_is_told_in_whole_sentences(session: Session, group: list[str]) -> None:
    screen = await seen(session, *group, "--help")
    listed = screen.text.partition("Commands:")[2].strip().splitlines()
    assert len(listed) >= 4
    assert [line for line in listed if not line.endswith((".", "?"))] == []


def test_no_sentence_of_a_list_of_commands_is_cut_on_eighty_columns() -> None:
    every: list[tuple[str, Any]] = [("dcbridge", typer.main.get_command(app)), *every_command()]
    cut = {
        f"{name}: {line}"
        for name, command in every
        for line in command.get_help(command.context_class(command, info_name=name, terminal_width=80)).splitlines()
        if line.endswith("...") and "Usage:" not in line
    }
    assert cut == set()


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{name} {parameter.name}"
        for name, command in every_command()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]
    assert silent == []


async def test_the_version(session: Session) -> None:
    said = await session.types("--version")
    assert said.code == 0
    assert re.fullmatch(r"dcbridge \d+\.\d+\.\d+\S*\n", said.out)


# ---------------------------------------------------------------- questions and Ctrl-C


@pytest.mark.parametrize(("answer", "left"), [("n", 7), ("y", 0)])
async def test_many_letters_are_dropped_when_a_person_agrees(session: Session, answer: str, left: int) -> None:
    await all_kinds(session)
    with OnATerminal(session.environ, "dead", "drop", "--all") as running:
        await asyncio.to_thread(running.until, "Delete 7 dead letters")
        running.type(f"{answer}\n")
        screen = await asyncio.to_thread(running.end)
    assert screen.code == (1 if left else 0)
    assert await session.redis.zcard("dcb:dead") == left


@pytest.mark.parametrize("how", [["--all", "--yes"], ["--all", "--dry-run"], ["w-id"]])
async def test_nobody_is_asked_where_that_is_no_question(session: Session, how: list[str]) -> None:
    letter_id = await unreadable_webhook(session)
    await all_kinds(session)
    screen = await seen(session, "dead", "drop", *[letter_id if one == "w-id" else one for one in how])
    assert (screen.code, "?" in screen.text) == (0, False)


async def test_a_replay_that_is_interrupted_says_how_far_it_came_and_can_go_on(session: Session) -> None:
    for n in range(40):
        await session.ledger.dead_letters.add(f"u-{n:024d}", Kind.DELIVERY_UPDATE, "", "512", callback_of(n))
    with OnATerminal(session.environ, "dead", "replay", "--all", "--rate", "10") as running:
        await asyncio.to_thread(running.until, re.compile(r" (?:[5-9]|[12][0-9])/40"))  # a bar may skip a figure
        running.interrupt()
        screen = await asyncio.to_thread(running.end)
    assert screen.code == 130
    left = await session.redis.zcard("dcb:dead")
    assert 0 < left < 40
    assert f"interrupted; {40 - left} were replayed" in screen.text
    assert "Traceback" not in screen.text
    assert (await session.types("dead", "replay", "--all")).code == 0
    assert await session.redis.zcard("dcb:dead") == 0


def callback_of(number: int) -> bytes:
    from tests.cli.letters import callback

    return callback("status", f"n={number}".encode())


# ---------------------------------------------------------------- Redis, and the shell beside `dcbridge dev`


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (redis_errors.OutOfMemoryError("its own words"), "is full"),
        (redis_errors.AuthenticationError("its own words"), "refused the login"),
        (redis_errors.BusyLoadingError("its own words"), "still loading"),
        (redis_errors.NoPermissionError("its own words"), "ACL"),
        (redis_errors.TimeoutError("its own words"), "within 3 seconds"),
        (TimeoutError("its own words"), "within 3 seconds"),
        (redis_errors.ConnectionError("its own words"), "cannot be reached"),
        (OSError("its own words"), "cannot be reached"),
        (redis_errors.ResponseError("its own words"), "refused a command: ResponseError"),
    ],
)
def test_why_redis_cannot_be_asked(error: Exception, says: str) -> None:
    words = explain_redis_error(Settings(), error)
    assert words.startswith("redis://127.0.0.1:6379/0 ")
    assert says in words
    assert str(error) not in words


async def test_a_wrong_password_is_said_to_be_one(own_session: Session) -> None:
    await own_session.redis.config_set("requirepass", "right")
    url = own_session.environ["DCBRIDGE_REDIS_URL"].replace("://", "://:wrong-one@")
    said = await own_session.types("status", DCBRIDGE_REDIS_URL=url)
    assert said.code == 3
    assert "refused the login" in said.err
    assert "wrong-one" not in said.err


@pytest.mark.parametrize("arguments", [["books"], ["status"], ["trace", "m-1"], ["dead", "list"]])
async def test_a_look_into_the_ledger_does_not_warn_of_the_configuration(
    session: Session, arguments: list[str]
) -> None:
    said = await session.types(*arguments, DCBRIDGE_SOMETHING_ELSE="1")
    assert "warning" not in said.err
    assert "DCBRIDGE_SOMETHING_ELSE" in (await session.types("check", DCBRIDGE_SOMETHING_ELSE="1")).err


def test_a_shell_beside_dev_is_told_where_everything_is(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    prepare(folder, Ports())
    path = write_env(folder, Ports(), "redis://127.0.0.1:1234/0")
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text().splitlines()
    assert "export DCBRIDGE_REDIS_URL=redis://127.0.0.1:1234/0" in lines
    assert f"export DCBRIDGE_TOKEN_KEY={read(folder, 'token_key')}" in lines
    assert any(line.startswith("export DCBRIDGE_CONFIG='") for line in lines)


_WRITES_ENV = """\
import sys
from pathlib import Path
from dcbridge.cli.dev.processes import Ports, prepare, write_env
if sys.argv[1:]:
    prepare(Path(sys.argv[1]), Ports())
    write_env(Path(sys.argv[1]), Ports(), "redis://127.0.0.1:1234/0")
else:
    print("this one")
"""


def test_a_shell_beside_dev_finds_the_dcbridge_that_runs(tmp_path: Path) -> None:
    command = tmp_path / "it's here" / "dcbridge"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{_WRITES_ENV}")
    command.chmod(0o755)
    subprocess.run([str(command), str(tmp_path / "data")], timeout=60, check=True)
    assert in_a_shell_beside(tmp_path / "data", "dcbridge; cat /dev/null && echo the others too") == [
        "this one",
        "the others too",
    ]


def test_a_shell_beside_a_dev_that_is_no_command_finds_those_of_its_python(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _WRITES_ENV, str(tmp_path)], timeout=60, check=True)
    assert in_a_shell_beside(tmp_path, 'echo "${PATH%%:*}"') == [sysconfig.get_path("scripts")]


def in_a_shell_beside(folder: Path, script: str) -> list[str]:
    """What `script` prints after the env file of this folder was read."""
    shell = ["/bin/sh", "-c", f'. "$1"; {script}', "sh", str(folder / "env")]
    return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def test_what_was_changed_in_bridge_yaml_outlives_a_start_on_the_same_ports(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    for ports in (Ports(), Ports(public=18080)):
        prepare(tmp_path, ports)
        path.write_text(path.read_text() + "# mine\n")
        prepare(tmp_path, ports)
        assert path.read_text().endswith("# mine\n")
    assert "18080" in path.read_text()
