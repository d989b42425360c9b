"""What `dcbridge init` asks: each question is a field of bridge.yaml, whose own checks judge the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dcbridge.config.loader import parse
from dcbridge.providers import KINDS
from dcbridge.settings.problems import ConfigurationError, Problem

DIGITAL, OPEN = "digital_channels", "open_messaging"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_UUID, _HEX = "73cb7fb7-c2db-4996-88f3-0a83a4fea1da", "0123456789abcdef0123456789abcdef"
_KEY = "DpvG8ZpYz2hW2JDuDbtVHHUeG4vQMdp2kYdqmkY6NN0="  # 32 bytes, as a public key has them


@dataclass(frozen=True, slots=True)
class Question:
    """`example` is an answer that bridge.yaml takes, of a secret its value; `default` is taken where nothing is typed.

    A `secret` is answered with the name of the environment variable that holds it, and one that is `made` is chosen by
    us.
    """

    name: str
    words: str
    example: str
    default: str = ""
    secret: bool = False
    made: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an account is asked for: plain fields with an example each, secrets that the company gave, and ours."""

    plain: Mapping[str, str]
    secrets: Mapping[str, str]
    made: tuple[str, ...] = ()


_AWS = {"region": "eu-west-1", "access_key_id": "AKIAIOSFODNN7ABCDEFG", "configuration_set": "dcbridge",
        "topic_arns": "arn:aws:sns:eu-west-1:123456789012:dcbridge"}  # fmt: skip
_OURS = ("callback_secret",)
# Of each kind, in the order of its page.
_KINDS: Mapping[str, _Kind] = {
    "africastalking": _Kind({"username": "acme"}, {"api_key": _HEX}, _OURS),
    "aws-sms": _Kind(_AWS, {"secret_access_key": _HEX}),
    "azure-email": _Kind({"base_url": "https://acme.communication.azure.com"}, {"access_key": _KEY}, _OURS),
    "azure-sms": _Kind({"base_url": "https://acme.communication.azure.com"}, {"access_key": _KEY}, _OURS),
    "bandwidth": _Kind({"account_id": "5500001", "application_id": "93de2206-9669-4e07-948d-329f4b722ee2",
                        "client_id": "BWDBID-1"}, {"client_secret": _HEX}, _OURS),
    "clickatell": _Kind({}, {"api_key": _HEX}, _OURS),
    "http": _Kind({"send_url": "https://sms.acme.example.net/messages"}, {"authorization": f"Bearer {_HEX}"}),
    "infobip": _Kind({"base_url": "https://acme1.api.infobip.com"}, {"api_key": _HEX}, _OURS),
    "mailgun": _Kind({"domain": "mg.company.net"}, {"api_key": _HEX, "signing_keys": f"s{_HEX}"}),
    "messagebird": _Kind({}, {"api_key": f"bk_eu1_{_HEX}", "signature_secret": "whsec_" + "QUFB" * 10}),
    "plivo": _Kind({"auth_id": "MAXXXXXXXXXXXXXXXXXX".replace("X", "A")}, {"auth_token": _HEX}),
    "postmark": _Kind({}, {"server_token": f"5{_HEX}"}, _OURS),
    "sendgrid": _Kind({}, {"api_key": f"SG.{_HEX}"}, _OURS),
    "ses": _Kind(_AWS, {"secret_access_key": _HEX}),
    "sinch": _Kind({"project_id": _UUID, "key_id": _UUID, "base_url": "https://eu.conversation.api.sinch.com"},
                   {"key_secret": _HEX}, _OURS),
    "smpp": _Kind({"host": "smpp.acme.net", "port": "3550", "security": "tls", "system_id": "acme"},
                  {"password": "pa55word"}),
    "smtp": _Kind({"host": "mail.company.net", "username": "bridge"}, {"password": _HEX}),
    "telnyx": _Kind({"public_key": _KEY}, {"api_key": f"KEY{_HEX}"}),
    "twilio": _Kind({"account_sid": f"AC{_HEX}"}, {"auth_token": f"0{_HEX}"}),
    "vonage": _Kind({"api_key": "5a9b0c1d"}, {"api_secret": _HEX, "signature_secret": f"1{_HEX}"}),
}  # fmt: skip
COMPANIES = tuple(_KINDS)

_COMPANY = Question("company", "Which company or protocol carries the messages?", "twilio", choices=COMPANIES)
_PLATFORM = Question("platform", "Where is the channel at Genesys?", DIGITAL, DIGITAL, choices=(DIGITAL, OPEN))
_PUBLIC = Question("public_url", "Under which URL do Genesys and the company reach you?", "https://bridge.company.net")
_OF_DIGITAL = (
    Question("genesys_url", "What is the base URL of Digital Channels?", "https://digital.company.net/nexus/v3"),
    Question("contact_center_id", "What is the contact-centre id, a UUID?", _UUID),
)
_OF_OPEN = (
    Question("genesys_region", "What is the region of your organization at Genesys Cloud?", "mypurecloud.ie"),
    Question("genesys_client_id", "What is the id of the OAuth client (Client Credentials)?", _UUID),
    Question("genesys_client_secret", "Which environment variable holds that client's secret?", f"2{_HEX}",
             "GENESYS_CLIENT_SECRET", secret=True),
)  # fmt: skip
_APP_SECRET = {
    DIGITAL: Question("app_secret", "Which environment variable holds the app secret?", f"3{_HEX}", "APP_SECRET",
                      secret=True),
    OPEN: Question("app_secret", "Which environment variable holds the webhook's secret token?", f"3{_HEX}",
                   "OPEN_MESSAGING_SECRET", secret=True),
}  # fmt: skip


class BadAnswer(ValueError):
    """Says why, and what to write instead."""


def questions(answers: Mapping[str, str]) -> Iterator[Question]:
    """In their order; which come later depends on the first two. `answers` may grow while this goes on."""
    yield _COMPANY
    yield _PLATFORM
    kind, platform = answers["company"], answers["platform"]
    email = KINDS[kind].can.channel_types == {"email"}
    yield _PUBLIC
    yield from _OF_OPEN if platform == OPEN else _OF_DIGITAL
    yield _APP_SECRET[platform]
    yield _channel(platform, email)
    number = "care@company.net" if email else "+15557650123"
    what = "From which mailbox does it write?" if email else f"What is its number at {kind}?"
    yield Question("number", what, number)
    for name, example in _KINDS[kind].plain.items():
        yield Question(name, f"{kind}: {_described(kind, name)}", example)
    for name, example in _KINDS[kind].secrets.items():
        variable = f"{kind}_{name}".upper().replace("-", "_")
        words = f"{kind}: which environment variable holds {name}? ({_described(kind, name)})"
        yield Question(name, words, example, variable, secret=True)
    for name in _KINDS[kind].made:
        variable = f"{kind}_{name}".upper().replace("-", "_")
        words = f"{kind}: which environment variable is to hold {name}? Its value is made for you."
        yield Question(name, words, f"4{_HEX}", variable, secret=True, made=True)


def _channel(platform: str, email: bool) -> Question:
    if platform == OPEN:
        return Question("channel", "What is the id of the integration, a UUID?", _UUID)
    return Question("channel", "What is the channel id at Digital Channels?", "company.net" if email else "0123456789")


def _described(kind: str, name: str) -> str:
    """As the reference page describes the field, its first sentence."""
    found = KINDS[kind].fields_model.model_fields.get(name)
    own = {
        "send_url": "URL to which messages are posted as JSON.",
        "authorization": "Value of the header Authorization.",
    }
    words = own.get(name) or (found.description if found else "") or name
    return words.partition("; ")[0].rstrip(".") + ("" if words.endswith("?") else ".")


def tree(answers: Mapping[str, str]) -> dict[str, Any]:
    """bridge.yaml of these answers, which are all there."""
    kind, open_messaging = answers["company"], answers["platform"] == OPEN
    endpoint = "cloud" if open_messaging else "main"
    email = KINDS[kind].can.channel_types == {"email"}
    whole: dict[str, Any] = {"public_url": answers["public_url"].rstrip("/")}
    channel: dict[str, Any] = {"type": "email" if email else "sms", "provider": kind, "number": answers["number"]}
    if open_messaging:
        client = {
            "client_id": answers["genesys_client_id"],
            "client_secret": _variable(answers, "genesys_client_secret"),
        }
        whole["genesys_cloud"] = {"main": {"region": answers["genesys_region"], **client}}
        channel = {"platform": OPEN, **channel}
    else:
        there = {"base_url": answers["genesys_url"], "contact_center_id": answers["contact_center_id"]}
        whole["digital_channels"] = there
    whole["endpoints"] = {endpoint: {"secrets": [_variable(answers, "app_secret")]}}
    whole["providers"] = {kind: {"kind": kind, **_account(kind, answers)}}
    if kind == "http":  # its page says how delivery updates are described
        channel["delivered_when"] = "taken"
    whole["channels"] = {answers["channel"]: channel}
    return whole


def _account(kind: str, answers: Mapping[str, str]) -> dict[str, Any]:
    asked = _KINDS[kind]
    if kind == "http":
        return {
            "send": {
                "url": answers["send_url"],
                "headers": {"Authorization": _variable(answers, "authorization")},
                "json": {"to": "{to}", "from": "{sender}", "text": "{text}", "reference": "{reference}"},
            },
        }
    plain: dict[str, Any] = {name: answers[name] for name in asked.plain}
    if "topic_arns" in plain:
        plain["topic_arns"] = [plain["topic_arns"]]
    return plain | {name: _variable(answers, name) for name in (*asked.secrets, *asked.made)}


def _variable(answers: Mapping[str, str], name: str) -> str:
    return f"${{{answers[name]}}}"


_PLACES = {
    "genesys_url": "digital_channels.base_url", "contact_center_id": "digital_channels.contact_center_id",
    "genesys_region": "genesys_cloud.main.region", "genesys_client_id": "genesys_cloud.main.client_id",
    "public_url": "public_url", "send_url": "send.url",
}  # fmt: skip


def judge(question: Question, answer: str, answers: Mapping[str, str]) -> None:
    """Raises BadAnswer. Answers that are not there yet are taken to be good ones."""
    if not answer or not answer.isprintable() or len(answer) > 1000:
        raise BadAnswer(
            f"should not be empty; such as {question.example}" if not question.secret else "should be a name"
        )
    if question.choices:
        if answer not in question.choices:
            raise BadAnswer(f"should be one of {', '.join(question.choices)}")
        return
    if question.secret:
        if not _VARIABLE.fullmatch(answer):
            raise BadAnswer(
                f"should be the name of an environment variable, not the secret; such as {question.default}"
            )
        return
    assumed = {**{one.name: one.default or one.example for one in questions(answers)}, **answers, question.name: answer}
    for problem in problems_of(assumed):
        if _is_about(problem, question.name, assumed):
            raise BadAnswer(problem.what + (f"; {problem.suggestion}" if problem.suggestion else ""))


def problems_of(answers: Mapping[str, str]) -> tuple[Problem, ...]:
    """What the file's own checks say, where each variable has a value of the right form."""
    import yaml

    values = {answers[one.name]: one.example for one in questions(answers) if one.secret}
    try:
        parse(yaml.safe_dump(tree(answers), allow_unicode=True, sort_keys=False), values)
    except ConfigurationError as error:
        return error.problems
    return ()


def _is_about(problem: Problem, name: str, answers: Mapping[str, str]) -> bool:
    place = _PLACES.get(name) or {
        "channel": f"channels.{answers['channel']}", "number": "number",
    }.get(name, f"providers.{answers['company']}.{name}")  # fmt: skip
    if name == "number":
        return problem.path.endswith(".number")
    if name == "channel":
        return problem.path == place or (problem.path.startswith("channels") and not problem.path.endswith(".number"))
    return problem.path == place or problem.path.startswith(f"{place}.") or problem.path.endswith(f".{place}")
