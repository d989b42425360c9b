"""`dcbridge init`: a bridge.yaml for every kind of provider that `check` accepts, and answers that are refused."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from dcbridge.cli.init_questions import COMPANIES, DIGITAL, OPEN, BadAnswer, judge, problems_of, questions
from dcbridge.config.loader import parse
from dcbridge.providers import KINDS
from tests.cli.session import Said, invoke
from tests.cli.terminal import OnATerminal


def run(folder: Path, *arguments: str) -> Said:
    gone: Mapping[str, str | None] = {name: None for name in os.environ if name.startswith("DCBRIDGE_")}
    return invoke(["init", "--folder", str(folder), *arguments], "", {**gone, "COLUMNS": "200"})


def all_of(kind: str, platform: str = DIGITAL, **others: str) -> dict[str, str]:
    """The example of each question, of a secret its variable."""
    found = {"company": kind, "platform": platform}
    for one in questions(found):
        found.setdefault(one.name, one.default if one.secret else one.example)
    return found | others


def options(answers: Mapping[str, str]) -> list[str]:
    return [word for name, answer in answers.items() for word in ("--set", f"{name}={answer}")]


def test_every_kind_is_asked_for() -> None:
    assert set(COMPANIES) == set(KINDS)


@pytest.mark.parametrize("kind", COMPANIES)
def test_check_accepts_what_is_written(kind: str, tmp_path: Path) -> None:
    answers = all_of(kind)
    said = run(tmp_path, *options(answers))
    assert said.code == 0, said.err
    variables = dict(re.findall(r"^([A-Z_]+)=(.*)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    wanted = {answers[one.name]: one for one in questions(answers) if one.secret}
    assert wanted.keys() <= variables.keys()
    filled = {name: variables[name] or one.example for name, one in wanted.items()}
    assert all(bool(variables[name]) == one.made for name, one in wanted.items())
    text = (tmp_path / "bridge.yaml").read_text()
    configuration = parse(text, filled)
    noticed = [one.path for one in configuration.warnings]
    assert noticed == (["providers.http.status"] if kind == "http" else [])  # its reports are for its owner to describe
    assert configuration.providers[kind].kind == kind
    assert not any(secret in text + said.out for secret in filled.values())
    assert f"{answers['public_url']}/webhooks/messages/main" in said.out
    for callback in KINDS[kind].can.callbacks:
        if callback != "inbound" or "email" not in KINDS[kind].can.channel_types:
            assert f"/callbacks/{kind}/{callback}" in said.out
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", [one for one in COMPANIES if KINDS[one].can.channel_types == {"sms"}])
def test_a_channel_of_open_messaging(kind: str) -> None:
    assert problems_of(all_of(kind, OPEN)) == ()


BAD = [
    ({"company": "twillio"}, "company: should be one of"),
    ({"platform": "x"}, "platform: should be one of digital_channels, open_messaging"),
    ({"public_url": "http://bridge.company.net"}, "public_url:"),
    ({"public_url": "bridge"}, "public_url:"),
    ({"contact_center_id": "1"}, "contact_center_id:"),
    ({"genesys_url": "ftp://x"}, "genesys_url:"),
    ({"number": "12"}, "number:"),
    ({"channel": "a b"}, "channel:"),
    ({"channel": "a/b"}, "channel:"),
    ({"account_sid": "AC 1"}, "account_sid:"),
    ({"auth_token": "not-a-variable"}, "auth_token: should be the name of an environment variable"),
    ({"app_secret": "x" * 200}, "app_secret: should be the name"),
    ({"number": "\x1b[31m"}, "number:"),
    ({"acount_sid": "x"}, 'acount_sid: is no question; did you mean "account_sid"?'),
]  # fmt: skip


def test_every_bad_answer_is_refused_with_its_field_and_nothing_is_written(tmp_path: Path) -> None:
    for others, words in BAD:
        said = run(tmp_path, *options(all_of("twilio") | others))
        assert said.code == 2, others
        assert f"error: {words}" in said.err, (others, said.err)
        assert said.err.rstrip().endswith("1 problem to fix."), (others, said.err)
        assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_each_missing_answer_is_named(tmp_path: Path) -> None:
    said = run(tmp_path)
    assert said.code == 2
    assert "error: company: is missing" in said.err
    assert "there is no terminal to ask on: give --answers FILE" in said.err
    some = run(tmp_path, "--set", "company=telnyx", "--set", "public_url=https://bridge.company.net")
    missing = re.findall(r"error: (\w+): is missing", some.err)
    assert missing == ["genesys_url", "contact_center_id", "channel", "number", "public_key"]


def test_a_file_of_answers_and_what_is_none(tmp_path: Path) -> None:
    file, folder = tmp_path / "answers.yaml", tmp_path / "new"
    file.write_text("\n".join(f'{name}: "{answer}"' for name, answer in all_of("telnyx").items()))
    assert run(folder, "--answers", str(file)).code == 0
    assert (folder / "bridge.yaml").exists()
    for text in (b"[1]", b"a: [1]", b"\xff", b"{", b"a: b\n" * 4_000, b"[" * 2_000):
        file.write_bytes(text)
        said = run(tmp_path / "other", "--answers", str(file))
        assert (said.code, "error: --answers:" in said.err) == (2, True), text[:20]
    assert run(tmp_path / "other", "--answers", str(tmp_path / "none")).code == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "gone")
    said = run(tmp_path, *options(all_of("twilio")))
    assert (said.code, "--force" in said.err) == (1, True)
    (tmp_path / "bridge.yaml").write_text("mine")
    assert run(tmp_path, *options(all_of("twilio"))).code == 1
    assert (tmp_path / "bridge.yaml").read_text() == "mine"
    (tmp_path / "bridge.yaml").rename(tmp_path / "elsewhere")
    (tmp_path / "bridge.yaml").symlink_to(tmp_path / "elsewhere")
    assert run(tmp_path, *options(all_of("twilio")), "--force").code == 0
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / ".env").is_file()
    assert not (tmp_path / "gone").exists()


def test_answers_are_judged_by_the_fields_themselves() -> None:
    known = all_of("smtp")
    for one in questions(known):
        judge(one, known[one.name], known)
        with pytest.raises(BadAnswer):
            judge(one, "", known)


def test_a_person_is_asked_and_asked_again(tmp_path: Path) -> None:
    known = all_of("twilio")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DCBRIDGE_")}
    with OnATerminal(environ, "init", "--folder", str(tmp_path), columns=200) as screen:
        for one in questions(known):
            screen.until(re.compile(re.escape(one.words[:30])))
            if one.name == "number":
                screen.type("12\n")
                screen.until("error: number:")
            screen.type("\n" if one.default else f"{known[one.name]}\n")
        end = screen.end()
    assert end.code == 0, end.text
    assert (tmp_path / "bridge.yaml").exists()
