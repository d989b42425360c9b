"""What bridge.yaml may say and still deserves a look: secrets in the file, example values, secrets that are shared."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from dcbridge.config.models import Configuration
from dcbridge.settings.problems import Path, dotted

_IN_THE_FILE = (
    "is a secret in the file itself, so everybody who can read the file has it",
    "write ${NAME} for a variable of the environment, or file:/path for a file of its own",
)
_EXAMPLE = ("looks like an example or a placeholder", "write the value that is meant")
_PLACEHOLDER = re.compile(
    r"<[^<>]*>|\{\{.*\}\}|\$\(\w+\)|%\w+%|\.{3}|…|x{4,}|\*{3,}|\?{2,}|"
    r".*(change|replace)[-_ ]?(me|this)(?![a-z]).*|"
    r".*\byour[-_ ](\w+[-_ ])?(token|secret|password|key|account|sid|domain|host).*|"
    r"(insert|enter|put)[-_ ].*[-_ ]here|.*\bplaceholder\b.*|todo\b.*|fixme\b.*|tbd",
    re.IGNORECASE | re.DOTALL,
)
_WORDS_FOR_SECRETS = re.compile(
    r"(my[-_ ]?)?(secret|password|passwd|token|auth[-_ ]?token|app[-_ ]?secret|test|dummy|example)\d{0,4}", re.I
)
_NOBODY = re.compile(r"[0-]+")


def doubts(
    configuration: Configuration, tree: Mapping[str, Any], substituted: Collection[Path]
) -> Iterator[tuple[Path, str, str]]:
    """(path, what, suggestion) of each; `substituted` are the values that do not stand in the file."""
    secrets = dict(_secrets(configuration, ()))
    for path, secret in secrets.items():
        is_plain_url = path[-1] in ("url", "redis_url") and not re.search(r"//[^/@:]*:[^/@]+@", secret)
        if path not in substituted and path[:-1] not in substituted and not is_plain_url:
            yield path, *_IN_THE_FILE
        if _WORDS_FOR_SECRETS.fullmatch(secret):
            yield path, *_EXAMPLE
    for path, value in _scalars(tree, ()):
        nobody = path[-1] == "contact_center_id" and _NOBODY.fullmatch(value)
        placeholder = len(value) <= 200 and _PLACEHOLDER.fullmatch(value.strip())
        if nobody or placeholder:
            yield path, *_EXAMPLE
    yield from _shared(secrets)
    yield from _nights(configuration)
    for name, account in configuration.providers.items():
        for field, what in account.fields.doubts():
            yield ("providers", name, *field.split(".")), what, ""
    for channel_id, channel in configuration.channels.items():
        for name, mailbox in channel.inbound.imap.items() if channel.inbound is not None else ():
            for field, what in mailbox.doubts():
                yield ("channels", channel_id, "inbound", "imap", name, field), what, ""


def _nights(configuration: Configuration) -> Iterator[tuple[Path, str, str]]:
    """Messages that end before the quiet hours do."""
    for name, channel in configuration.channels.items():
        hours = channel.quiet_hours
        longest = hours.longest().total_seconds() if hours and hours.then == "wait" else 0.0
        if longest > channel.time_to_live:
            what = (
                f"({channel.time_to_live:g} seconds) is less than the longest quiet hours ({longest:g}): messages of"
                " their first hours fail with 305"
            )
            yield ("channels", name, "time_to_live"), what, f"write {longest + 3600:g}, which is an hour more"


def _secrets(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Every secret that is set, at the path at which it stands in the file."""
    if isinstance(value, SecretStr):
        if value.get_secret_value():
            yield path, value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in value.model_fields_set:
            here = path if name == "fields" else (*path, name)  # a provider's fields stand beside its kind
            yield from _secrets(getattr(value, name), here)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets(inner, (*path, name))
    elif isinstance(value, (list, tuple)):
        for at, inner in enumerate(value):
            yield from _secrets(inner, (*path, at))


def _scalars(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _scalars(inner, (*path, name))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _scalars(inner, (*path, at))


def _shared(secrets: Mapping[Path, str]) -> Iterator[tuple[Path, str, str]]:
    """Two endpoints with one secret, and a secret that is live and retired at once."""
    live: dict[tuple[str | int, str], Path] = {}
    for path, secret in secrets.items():
        if path[0] not in ("endpoints", "interactions") or path[2] != "secrets":
            continue
        first = live.setdefault((path[0], secret), path)
        if first[1] != path[1]:
            what = f"is the secret of {dotted(first[:2])}, too: who has it can sign for both"
            yield path, what, "give each endpoint secrets of its own"
    for path, secret in secrets.items():
        if len(path) > 2 and path[2] == "retired_secrets" and any(
            other[:2] == path[:2] and other[2] == "secrets" and secret == one for other, one in secrets.items()
        ):  # fmt: skip
            yield path, "is also among secrets, and so is not retired", "leave it out of one of the two"
