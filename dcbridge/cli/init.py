"""`dcbridge init`: ask a few questions, write bridge.yaml and .env, and say what to enter where."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from dcbridge.cli import init_questions as asked
from dcbridge.cli.addresses import NAMED, Address, addresses
from dcbridge.cli.dev.private_files import write_private
from dcbridge.cli.init_questions import BadAnswer, Question
from dcbridge.cli.terminal import NO, out, refused, say_error
from dcbridge.config.loader import parse
from dcbridge.operations.doctor.urls import HIDDEN
from dcbridge.printable import printable
from dcbridge.settings.problems import did_you_mean

CONFIG, ENVIRONMENT = "bridge.yaml", ".env"
MOST = 16 * 1024  # bytes of a file of answers
TRIES = 10  # of one question
_FAST: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # where PyYAML was built with it
# Where a company has the addresses of callbacks; its page says more.
_WHERE = {
    "africastalking": "Africa's Talking, SMS, SMS Callback URLs",
    "aws-sms": "AWS, SNS, the topic, Create subscription, HTTPS",
    "azure-email": "Azure portal, the resource, Events, Event Subscription, Web Hook",
    "azure-sms": "Azure portal, the resource, Events, Event Subscription, Web Hook",
    "bandwidth": "Bandwidth, Applications, Callback URL",
    "clickatell": "Clickatell portal, the API setup, callback URLs",
    "infobip": "Infobip portal, Numbers and Subscriptions",
    "mailgun": "Mailgun, Sending, Webhooks, and Receiving, Routes",
    "messagebird": "Bird, the webhook subscriptions",
    "plivo": "Plivo console, Messaging, Applications, Message URL",
    "postmark": "Postmark, the server, the message stream, Webhooks, and Inbound",
    "sendgrid": "SendGrid, Settings, Mail Settings, Event Webhook, and Inbound Parse",
    "ses": "AWS, SNS, the topic, Create subscription, HTTPS",
    "sinch": "Sinch dashboard, Conversation API, the app, Webhooks",
    "smtp": "the mail server, which posts delivery reports there where callback_secret is set",
    "telnyx": "Telnyx portal, Messaging, the profile, Inbound",
    "twilio": "Twilio console, Phone Numbers, the number, Messaging, A message comes in",
    "vonage": "Vonage dashboard, API settings, SMS settings",
}


def init(
    folder: Annotated[Path, typer.Option(help="Folder for bridge.yaml and .env.")] = Path(),
    answers: Annotated[
        Path | None, typer.Option(help="File of answers, in YAML or JSON: name and answer of each question.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="One answer, as name=answer; may be repeated.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace bridge.yaml and .env if they are there.")] = False,
) -> None:
    """Ask a few questions, write a bridge.yaml that `dcbridge check` accepts, and say what to enter where.

    Secrets stay out of bridge.yaml: the answers are names of environment variables, and .env (readable by you alone)
    has a line for each. Without a terminal all answers come from --answers and --set. Exit code 1: a file is there
    already; 2: an answer is wrong or missing.
    """
    there = [name for name in (CONFIG, ENVIRONMENT) if (folder / name).is_symlink() or (folder / name).exists()]
    if there and not force:
        for name in there:
            say_error(f"{folder / name} is there already: choose another --folder, or replace it with --force")
        raise typer.Exit(NO)
    told = {**_from_file(answers), **_from_options(given or [])}
    whole = _ask(told)
    if left := [printable(str(one)) for one in asked.problems_of(whole)]:
        raise refused(left)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CONFIG).is_symlink():  # it is replaced, and not what it leads to
            (folder / CONFIG).unlink()
        (folder / CONFIG).write_text(_written(whole), encoding="utf-8")
        write_private(folder / ENVIRONMENT, _environment(whole))
    except OSError as error:
        say_error(f"{folder} cannot be written: {error.strerror}")
        raise typer.Exit(NO) from None
    _explain(folder, whole)


def _ask(told: Mapping[str, str]) -> dict[str, str]:
    """All answers: those that were told, then those that are typed, then defaults. Every wrong one is said."""
    terminal = sys.stdin.isatty()
    found: dict[str, str] = {}
    wrong: list[str] = []
    known: list[str] = []
    for question in asked.questions(found):
        known.append(question.name)
        answer = told.get(question.name, "")
        if not answer and terminal:
            found[question.name] = _typed(question, found)
            continue
        answer = answer or question.default
        try:
            if not answer:
                raise BadAnswer(f"is missing: {question.words} Such as {question.example}")
            asked.judge(question, answer, found)
        except BadAnswer as error:
            wrong.append(f"{question.name}: {error}")
            answer = question.default or question.example
            if question.name in ("company", "platform"):
                break  # what else is asked depends on it
        found[question.name] = answer
    else:
        for name in told.keys() - set(known):
            near = did_you_mean(name, known)
            wrong.append(f"{name}: is no question" + (f"; {near}" if near else f"; known: {', '.join(known)}"))
    if wrong:
        if not terminal and not told:
            wrong.append("there is no terminal to ask on: give --answers FILE, or --set name=answer")
        raise refused([printable(one) for one in wrong])
    return found


def _typed(question: Question, found: Mapping[str, str]) -> str:
    """Ask until the answer is right."""
    more = f" ({', '.join(question.choices)})" if question.choices else ""
    if not question.default and not question.choices and not question.secret:
        more = f" (such as {question.example})"
    for _ in range(TRIES):
        answer = str(typer.prompt(question.words + more, default=question.default or None)).strip()
        try:
            asked.judge(question, answer, found)
        except BadAnswer as error:
            say_error(f"{question.name}: {error}")
            continue
        return answer
    raise refused([f"{question.name}: {TRIES} answers were wrong"])


def _from_file(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(MOST + 1)
        if len(text) > MOST:
            raise refused([f"--answers: {path} is larger than {MOST} bytes"])
        found = _flat(text.decode())
    except OSError as error:
        raise refused([f"--answers: {path} cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise refused([f"--answers: {path} is neither YAML nor JSON"]) from None
    if found is None:
        raise refused([f"--answers: {path} should have one line for each answer, such as company: twilio"])
    return {name: answer.strip() for name, answer in found.items()}


def _flat(text: str) -> dict[str, str] | None:
    """A mapping of texts, read piece by piece: None as soon as it is something else, however deep that may go."""
    words: list[str] = []
    mappings = 0
    for event in yaml.parse(text, Loader=_FAST):
        if isinstance(event, yaml.ScalarEvent):
            words.append(event.value)
        elif isinstance(event, yaml.MappingStartEvent):
            mappings += 1
        if (mappings != 1 and words) or mappings > 1 or isinstance(event, yaml.SequenceStartEvent | yaml.AliasEvent):
            return None
    return dict(zip(words[::2], words[1::2], strict=True)) if mappings else None


def _from_options(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if any(not name or not mark for name, mark, _ in pairs):
        raise typer.BadParameter("should be name=answer, such as company=twilio", param_hint="--set")
    return {name: answer.strip() for name, _, answer in pairs}


def _written(answers: Mapping[str, str]) -> str:
    kind = answers["company"]
    about = "described in docs/providers/http.md; adapt it to your company" if kind == "http" else "see"
    page = "" if kind == "http" else f" docs/providers/{kind}.md"
    head = (
        "# Made by `dcbridge init`. Every field is described in docs/configuration.md.\n"
        f"# The account at {kind}: {about}{page}.\n\n"
    )
    text = yaml.safe_dump(asked.tree(answers), allow_unicode=True, sort_keys=False, width=120)
    text = re.sub(
        r"^(?=(?:digital_channels|genesys_cloud|endpoints|providers|channels):)", "\n", text, flags=re.MULTILINE
    )
    return head + re.sub(r"^  ([0-9]+):$", r'  "\1":', text, flags=re.MULTILINE)  # a channel id is no number


def _environment(answers: Mapping[str, str]) -> str:
    lines = [
        "# Secrets of dcbridge: keep this file to yourself, and out of version control.",
        "# Fill in what is empty, in single quotes, then: set -a; . ./.env; set +a",
        "",
    ]
    lines += ["=".join(one) for one in dict.fromkeys(_variables(answers))]
    lines += [
        "",
        "DCBRIDGE_CONFIG=bridge.yaml",
        "DCBRIDGE_REDIS_URL=redis://127.0.0.1:6379/0",
        f"DCBRIDGE_TOKEN_KEY={secrets.token_hex(32)}",
        "# A folder of the service's own: callbacks are kept there while Redis is away.",
        "# DCBRIDGE_JOURNAL=/var/lib/dcbridge/journal",
    ]
    return "\n".join(lines) + "\n"


def _variables(answers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for question in asked.questions(answers):
        if question.secret:
            yield answers[question.name], secrets.token_hex(24) if question.made else ""


def _explain(folder: Path, answers: Mapping[str, str]) -> None:
    """The files, and what to enter at Genesys and at the company."""
    kind = answers["company"]
    values = {answers[one.name]: one.example for one in asked.questions(answers) if one.secret}
    configuration = parse(yaml.safe_dump(asked.tree(answers), allow_unicode=True, sort_keys=False), values)
    said = [f"{folder / CONFIG} and {folder / ENVIRONMENT} are written.", ""]
    for one in addresses(configuration):
        said += _entered(one, kind, answers)
    said += [
        "",
        "Then:",
        "    1. Fill in .env, and load it: set -a; . ./.env; set +a",
        "    2. dcbridge check",
        "    3. dcbridge serve   and, beside it,   dcbridge worker",
        "    4. dcbridge doctor",
        f"    5. dcbridge send --channel {answers['channel']} --to -",
    ]
    for line in said:
        out.print(printable(line), markup=False)


def _entered(one: Address, kind: str, answers: Mapping[str, str]) -> list[str]:
    """What to enter for one address, and where."""
    if one.at == "Genesys Cloud":
        where = "Admin, Message, Platforms, the Open Messaging integration, Outbound Notification Webhook URL"
        signed = f"Its secret token is {answers['app_secret']} of .env; requests carry X-Hub-Signature-256."
        return [f"At {one.at}, for {one.of}:", f"    {one.url}", f"    Where: {where}.", f"    {signed}"]
    if one.at == "Digital Channels":
        signed = f"Give it to Genesys with the app secret, {answers['app_secret']} of .env."
        return [f"At {one.at}, for {one.of}:", f"    {one.url}", f"    {signed} Requests carry X-Hub-Signature."]
    lines = [f"At {kind}, for {one.of}:", f"    {one.url}"]
    if one.note == NAMED:
        return [*lines, "    It is named in each request: nothing has to be entered."]
    if HIDDEN in one.url:
        lines.append(f"    In place of {HIDDEN}: the value of {answers['callback_secret']} in .env.")
    elif one.note:
        lines.append(f"    With {one.note}: the value of {answers['callback_secret']} in .env.")
    where = f"{_WHERE[kind]}. See " if kind in _WHERE else ""
    return [*lines, f"    Where: {where}docs/providers/{kind}.md."]
