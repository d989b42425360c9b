"""The configuration as it is loaded, line by line, and never a secret: of one it says whether it is set."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from dcbridge.printable import printable

MOST = 300  # lines of one part of bridge.yaml
ENTRIES = 20  # of one list
LONGEST = 300  # characters of one value

# Whatever their type: what stands in these may be a secret, also where somebody wrote it down as it is.
_HIDDEN = frozenset(
    {"access_key", "api_key", "api_key_secret", "api_secret", "auth_token", "bearer", "body", "callback_secret"}
    | {"client_secret", "form", "headers", "json", "json_", "key_secret", "password", "previous_auth_tokens"}
    | {"private_key", "query", "refresh_token", "retired_secrets", "secret", "secret_access_key", "secrets"}
    | {"server_token", "session_token", "signature_secret", "signing_keys", "token"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """One field. `default`: bridge.yaml does not say it."""

    name: str
    value: str
    default: bool = False


def lines(part: BaseModel, leave_out: Collection[str] = ()) -> list[Line]:
    """Of one part of the configuration, in the order of the reference, without these fields of it."""
    found = [one for one in _of_model("", part, False) if one.name.partition(".")[0] not in leave_out]
    return found[:MOST]


def _of_model(before: str, part: BaseModel, default: bool) -> Iterator[Line]:
    for name, field in type(part).model_fields.items():
        shown = f"{before}{field.alias or name.removesuffix('_')}"
        if not before and name == "fields":  # of a provider: the file has them beside `kind`
            yield from _of_model("", getattr(part, name), default)
            continue
        is_default = default or name not in part.model_fields_set
        yield from _lines(shown, getattr(part, name), is_default, hidden=name in _HIDDEN)


def _lines(name: str, value: object, default: bool, *, hidden: bool) -> Iterator[Line]:
    match value:
        case BaseModel() if not hidden:
            yield from _of_model(f"{name}.", value, default)
        case Mapping() if value and not hidden and not _is_secret(value):
            for key, inner in list(value.items())[:ENTRIES]:
                yield from _lines(f"{name}.{printable(str(key))}", inner, default, hidden=key in _HIDDEN)
        case tuple() | list() if value and not hidden and any(isinstance(one, BaseModel) for one in value):
            for place, inner in enumerate(value[:ENTRIES], 1):
                yield from _lines(f"{name} {place}", inner, default, hidden=False)
        case _:
            yield Line(name, _hidden(value) if hidden else _text(value), default)


def _is_secret(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(one, SecretStr) for one in value.values())


def _hidden(value: object) -> str:
    """How many there are, and what they are called; nothing else."""
    if isinstance(value, tuple | list):
        return f"{len(value)} set" if value else "not set"
    if isinstance(value, Mapping):
        return _names(value)
    return "set" if (value.get_secret_value() if isinstance(value, SecretStr) else value) else "not set"


def _names(value: Mapping[Any, Any]) -> str:
    return _short(f"{len(value)} set: {', '.join(sorted(map(str, value)))}" if value else "not set")


def _text(value: object) -> str:
    match value:
        case None | "" | ():
            return "not set"
        case SecretStr():
            return _hidden(value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case Mapping():
            return _names(value)
        case tuple() | list() | set() | frozenset():
            every = list(value)
            if any(isinstance(one, SecretStr) for one in every):
                return _hidden(every)
            more = f" and {len(every) - ENTRIES} more" if len(every) > ENTRIES else ""
            return _short((", ".join(map(_text, every[:ENTRIES])) or "not set") + more)
        case _:
            return _short(_address(str(value)))


def _address(written: str) -> str:
    """A URL may have a login before its host, and a key in its query."""
    if "://" not in written:
        return written
    try:
        parts = urlsplit(written)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "set"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}" + ("?…" if parts.query else "")


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
