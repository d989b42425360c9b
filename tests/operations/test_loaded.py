"""The configuration as it is loaded: all of it can be read, and no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from dcbridge.config.models import Channel
from dcbridge.operations.loaded import ENTRIES, LONGEST, MOST, Line, lines
from dcbridge.providers import KINDS
from tests.console.running import configuration_of
from tests.providers.test_every_kind import FIELDS


def shown(part: BaseModel) -> dict[str, str]:
    return {line.name: line.value for line in lines(part)}


def secrets_of(value: object) -> list[str]:
    """All that is of the type of a secret, however deep."""
    match value:
        case SecretStr():
            return [value.get_secret_value()]
        case BaseModel():
            return [one for name in type(value).model_fields for one in secrets_of(getattr(value, name))]
        case Mapping():
            return [one for inner in value.values() for one in secrets_of(inner)]
        case tuple() | list():
            return [one for inner in value for one in secrets_of(inner)]
        case _:
            return []


@pytest.mark.parametrize("name", FIELDS)
def test_no_provider_shows_a_secret(name: str) -> None:
    """Each secret of it is made one that is seen at once."""
    kind = KINDS[name.partition(",")[0]]
    made = kind.fields_model.model_validate(dict(FIELDS[name]))

    def with_canary(value: Any) -> Any:
        match value:
            case SecretStr():
                return SecretStr("CANARY")
            case BaseModel():
                return value.model_copy(
                    update={one: with_canary(getattr(value, one)) for one in type(value).model_fields}
                )
            case Mapping():
                return {key: with_canary(inner) for key, inner in value.items()}
            case tuple() | list():
                return tuple(with_canary(inner) for inner in value)
            case _:
                return value

    hidden = with_canary(made)
    found = lines(hidden)
    assert found
    assert "CANARY" not in "".join(line.name + line.value for line in found)
    if secrets_of(made):
        assert any(line.value.startswith(("set", "1 set", "2 set")) for line in found)


def test_what_bridge_yaml_says_is_told_from_what_it_does_not() -> None:
    channel = configuration_of().channels["0123456789"]
    found = {line.name: line for line in lines(channel)}
    assert found["outcome_unknown"] == Line("outcome_unknown", "fail")
    assert found["attempts"] == Line("attempts", "20", default=True)
    assert found["pace.burst"].default
    assert found["secrets"].value == "not set"
    assert shown(configuration_of().endpoints["main"]) == {"secrets": "1 set", "retired_secrets": "1 set"}


def test_fields_can_be_left_out() -> None:
    channel = configuration_of().channels["0123456789"]
    assert not [line for line in lines(channel, ("pace", "type")) if line.name.startswith(("pace", "type"))]


class Odd(BaseModel):
    url: str = "https://user:CANARY@host.example:8443/path?key=CANARY"
    broken: str = "https://[CANARY"
    query: dict[str, str] = {"key": "CANARY"}
    headers: dict[str, SecretStr] = {"x-key": SecretStr("CANARY")}
    nested: dict[str, Any] = {"password": "CANARY", "name": "x"}
    many: tuple[str, ...] = tuple("x" * 50)
    long: str = "y" * 5000
    control: str = "a\x1b[31mb\u202ec"
    yes: bool = True
    number: float = 0.5
    secret: str = "CANARY"
    token: SecretStr = SecretStr("")


def test_what_may_hold_a_secret_without_its_type_is_hidden_too() -> None:
    found = shown(Odd())
    assert "CANARY" not in repr(found)
    assert found["url"] == "https://host.example:8443/path?…"
    assert (found["broken"], found["secret"], found["token"]) == ("set", "set", "not set")
    assert (found["query"], found["headers"]) == ("1 set: key", "1 set: x-key")
    assert (found["nested.password"], found["nested.name"]) == ("set", "x")
    assert (found["yes"], found["number"]) == ("yes", "0.5")
    assert found["many"].endswith(f" and {50 - ENTRIES} more")
    assert len(found["long"]) == LONGEST + 1
    assert found["control"] == "a?[31mb?c"


def test_however_much_is_configured_the_lines_are_bounded() -> None:
    answers = [{"when": [f"word{n}"], "say": "b"} for n in range(20)]
    numbers = {f"p{n}": "+16504661149" for n in range(500)}
    given = {"type": "sms", "provider": "p", "answers": answers, "numbers": numbers}
    channel = Channel.model_validate(given)
    assert len(channel.numbers) == 500
    assert len(lines(channel)) <= MOST
