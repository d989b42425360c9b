"""What values may say: every setting can be reached, no secret can be written, and a mistake is named with its mend."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.events.sinks import KINDS as SINKS
from dcbridge.ledger.jobs import QUEUES
from dcbridge.providers import KINDS
from dcbridge.settings.process import PREFIX, Settings, read_settings
from helm import reference
from tests.helm.charts import CHART, FILES, ROOT, Json, engine, environment, objects, over, pods, render, the, values
from tests.helm.trial import secret

# Settings that the chart gives from values of its own: what to set, and what a process is then told.
ELSEWHERE: dict[str, tuple[Json, object]] = {
    "config": ({}, "/etc/dcbridge/bridge.yaml"),
    "redis_url": ({"redis": {"url": "redis://elsewhere:6379/0"}}, "redis://elsewhere:6379/0"),
    "token_key": (
        {"secrets": {"env": {"DCBRIDGE_TOKEN_KEY": "other"}}},
        {"secretKeyRef": {"name": "dcbridge-secrets", "key": "other"}},
    ),
    "token_key_before": (
        {"secrets": {"env": {"DCBRIDGE_TOKEN_KEY_BEFORE": "earlier"}}},
        {"secretKeyRef": {"name": "dcbridge-secrets", "key": "earlier"}},
    ),
    "blob_bucket_secret": (
        {"secrets": {"env": {"DCBRIDGE_BLOB_BUCKET_SECRET": "bucket"}}},
        {"secretKeyRef": {"name": "dcbridge-secrets", "key": "bucket"}},
    ),
    "blob_bucket_session_token": (
        {"secrets": {"env": {"DCBRIDGE_BLOB_BUCKET_SESSION_TOKEN": "session"}}},
        {"secretKeyRef": {"name": "dcbridge-secrets", "key": "session"}},
    ),
    "journal": ({"service": {"journal": {"storage": "emptyDir"}}}, "/var/lib/dcbridge/journal"),
    "journal_limit": ({"service": {"journal": {"megabytes": 3}}}, "3145728"),
    "redis_ca_file": ({"redis": {"tls": {"secretName": "tls", "ca": "a.crt"}}}, "/run/secrets/redis/a.crt"),
    "redis_client_certificate": (
        {"redis": {"tls": {"secretName": "tls", "certificate": "b.crt"}}},
        "/run/secrets/redis/b.crt",
    ),
    "redis_client_key": (
        {"redis": {"tls": {"secretName": "tls", "certificate": "b.crt", "key": "c.key"}}},
        "/run/secrets/redis/c.key",
    ),
    "concurrency": ({"workers": {"main": {"concurrency": 7}}}, "7"),
}


@functools.cache
def minimal() -> Json:
    return values("minimal")


@functools.cache
def described() -> Json:
    return Settings.model_json_schema()["properties"]  # type: ignore[no-any-return]


def told(given: Json, part: str) -> dict[str, Any]:
    kind, name = ("Deployment", f"dcbridge-{part}")
    [container] = the(kind, name, objects(given))["spec"]["template"]["spec"]["containers"]
    return environment(container)


def another(name: str) -> tuple[Any, str]:
    """A value that no default has, and where there are enough no other setting; as values say it and as the
    environment does.
    """
    field = described()[name]
    at = list(described()).index(name)
    if "enum" in field:
        word = next(word for word in field["enum"] if word != field.get("default"))
        return word, word
    if field["type"] == "boolean":
        return not field["default"], str(not field["default"]).lower()
    if field["type"] == "integer":
        most = field.get("maximum", 10**9)
        number = min(max(field.get("minimum", 0), 3) + at, most) + 1_000_000 * (most > 2 * 10**6)
        return number, str(number)
    if field["type"] == "number":
        return 2 + at / 256, f"{2 + at / 256}"
    word = f"192.0.2.{at}:53" if "pattern" in field else f"words {at}"
    return word, word


def test_every_setting_reaches_the_processes() -> None:
    """All at once: a rendering costs more than to compare a hundred values."""
    others = {name: another(name) for name in Settings.model_fields if name not in ELSEWHERE}
    own = {"settings": {name: value for name, (value, _) in others.items()}}
    for part, given in (
        ("service", own),
        ("worker-main", own),
        ("service", {"service": own}),
        ("worker-main", {"workers": {"main": own}}),
        ("worker-main", {"workerDefaults": own}),
    ):
        found = told(over(minimal(), given), part)
        # The names of the chart's own Service stand before the given ones.
        found |= {"DCBRIDGE_OPERATOR_HOSTS": found["DCBRIDGE_OPERATOR_HOSTS"].rpartition(",")[2]}
        assert {name: found.get(PREFIX + name.upper()) for name in others} == {
            name: text for name, (_, text) in others.items()
        }


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_setting_that_has_a_value_of_its_own_is_told_and_refused_among_the_others(name: str) -> None:
    given, expected = ELSEWHERE[name]
    part = "worker-main" if name == "concurrency" else "service"
    assert told(over(minimal(), given), part)[PREFIX + name.upper()] == expected
    with pytest.raises(engine().HelmError, match=r"use [a-zA-Z.]+"):
        render(over(minimal(), {"settings": {name: another(name)[0]}}))


def test_a_setting_of_a_part_goes_before_that_of_all() -> None:
    given = over(minimal(), {"settings": {"lease": 60}, "workers": {"main": {"settings": {"lease": 90}}}})
    assert told(given, "service")["DCBRIDGE_LEASE"] == "60"
    assert told(given, "worker-main")["DCBRIDGE_LEASE"] == "90"


@pytest.mark.parametrize("name", FILES)
def test_a_process_takes_the_environment_that_it_is_given(name: str) -> None:
    for pod, _, spec in pods(objects(name)):
        [container] = spec["containers"]
        if "DCBRIDGE_CONFIG" not in (given := environment(container)):
            continue
        texts = {key: value if isinstance(value, str) else "0123456789abcdef" for key, value in given.items()}
        if not isinstance(given["DCBRIDGE_REDIS_URL"], str):
            texts["DCBRIDGE_REDIS_URL"] = "rediss://redis.example.com:6379/0"
        for path in ("CA_FILE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):  # they have to be there to be accepted
            texts.pop(f"DCBRIDGE_REDIS_{path}", None)
        for path in ("CERTIFICATE", "KEY"):
            texts.pop(f"DCBRIDGE_MAIL_{path}", None)
        settings, warnings = read_settings(texts)
        assert not [w for w in warnings if "REDIS_PASSWORD" not in str(w)], pod
        assert (settings.operator_host, settings.log_format) == ("0.0.0.0", "json")  # noqa: S104 (compared, not bound)


def test_what_values_say_of_defaults_is_what_the_program_says() -> None:
    chosen = {
        "operator_host",
        "worker_host",
        "mail_host",
        "console_host",
        "log_format",
    }  # in a pod whoever asks comes from outside, and reads JSON
    for name, value in yaml.safe_load((CHART / "values.yaml").read_text())["settings"].items():
        assert (getattr(Settings(), name) == value) != (name in chosen)
    assert (
        yaml.safe_load((CHART / "values.yaml").read_text())["workerDefaults"]["concurrency"] == Settings().concurrency
    )


@pytest.mark.parametrize("name", [name for name in FILES if name != "values-trial"])
def test_bridge_yaml_arrives_as_it_was_written_and_is_accepted(name: str) -> None:
    maps = [o["data"]["bridge.yaml"] for o in objects(name) if o["kind"] == "ConfigMap" and "bridge.yaml" in o["data"]]
    assert maps
    for text in maps:
        assert yaml.safe_load(text) == values(name)["config"]
        variables = re.findall(r"(?<!\$)\$\{([A-Z_]+)\}", text)
        word = "whsec_" + "MDAw" * 8  # of a form that every field for a secret takes
        parsed = parse(re.sub(r"file:[^\s\"\]]+", "${FILE}", text), dict.fromkeys([*variables, "FILE"], word))
        one_word = ("is also among secrets", "is the secret of ")  # all of them are that one word here
        assert [one for one in parsed.warnings if not one.what.startswith(one_word)] == []


def test_the_trials_bridge_yaml_is_accepted() -> None:
    text = the("ConfigMap", "dcbridge", objects("values-trial"))["data"]["bridge.yaml"]
    files = secret()
    text = re.sub(r"file:/run/secrets/dcbridge/(\w+)", lambda match: files[match[1]], text)
    said = [str(warning) for warning in parse(text, {}).warnings]
    in_place = "is a secret in the file itself"  # it was put there a few lines above
    assert [one for one in said if "is http" not in one and in_place not in one] == []


def test_the_first_command_of_the_trial_makes_every_key_that_its_pods_read() -> None:
    """Which those are is known from test_running.py, whose pods get `secret()` and nothing else."""
    page = (CHART / "README.md").read_text(encoding="utf-8")
    command = page.partition("## A trial in three commands")[2].partition("helm install")[0]
    assert sorted(re.findall(r"--from-literal=([\w-]+)=", command)) == sorted(secret())


# ---------------------------------------------------------------- secrets


def secret_fields(model: type[BaseModel]) -> Iterator[str]:
    """Names of all fields that hold a secret, at whatever depth."""
    for name, field in model.model_fields.items():
        inner = list(everything_in(field.annotation))
        if SecretStr in inner:
            yield name
        for one in inner:
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from secret_fields(one)


def everything_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from everything_in(inner)


def test_the_chart_knows_every_field_that_holds_a_secret() -> None:
    models: list[type[BaseModel]] = [
        Configuration,
        *(kind.fields_model for kind in KINDS.values()),
        *(kind.fields for kind in SINKS.values()),
    ]
    known = {name for model in models for name in secret_fields(model)}
    known -= {"url"}  # a sink's may hold a password or a token, and mostly does not; ${NAME} may stand inside it
    assert {"secrets", "auth_token", "password", "signing_keys"} <= known
    text = (CHART / "templates" / "_checks.tpl").read_text()
    assert set(text.partition('define "dcbridge.secretFields" -}}')[2].split("{{")[0].split()) == known


@pytest.mark.parametrize("name", FILES)
def test_nothing_that_is_rendered_holds_a_secret(name: str) -> None:
    """The variables that hold one come from the Secret, and no argument names one."""
    for pod, _, spec in pods(objects(name)):
        [container] = spec["containers"]
        said = " ".join([*container.get("command", []), *container.get("args", [])])
        assert "$(" not in said, pod
        for variable, value in environment(container).items():
            if variable.endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "SECRET", "_AUTH")):
                assert set(value) == {"secretKeyRef"} or value.startswith("/run/secrets/"), (pod, variable)
    assert not [o for o in objects(name) if o["kind"] == "Secret"]


# ---------------------------------------------------------------- mistakes

MISTAKES: dict[str, Json] = yaml.safe_load((ROOT / "tests/helm/mistakes.yaml").read_text())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_in_clear_words(mistake: str) -> None:
    render(minimal())
    with pytest.raises(engine().HelmError) as refused:
        render(over(minimal(), MISTAKES[mistake]["values"]))
    assert MISTAKES[mistake]["words"] in str(refused.value)
    assert "0123456789abcdef" not in str(refused.value)


UNQUOTED = ["01234567", "0123456789", "0o17", "0x1F", "1e3", "12_000", "12345", "0", "-7", "1.5", ".5", ".inf",
    "true", "no", "On", "YES"]  # fmt: skip


@pytest.mark.parametrize("section", ["channels", "endpoints", "providers"])
@pytest.mark.parametrize("key", UNQUOTED)
def test_a_key_that_yaml_may_have_rewritten_is_refused_until_it_is_confirmed(section: str, key: str) -> None:
    """As `-f` reads them. With `--set` a key stays what it was."""
    written = {"channels": "{type: sms, provider: acme-sms, number: '+15557650199'}",
               "endpoints": "{secrets: ['${A}']}", "providers": "{kind: smtp, host: a}"}  # fmt: skip
    given: Json = engine().values_from_yaml(
        f"config: {{{section}: {{{key}: {written[section]}}}}}\nsecrets: {{env: {{A: a}}}}"
    )
    [became] = given["config"][section]
    with pytest.raises(
        engine().HelmError, match=rf"config\.{section}: the (channel id|name) .*; write it in quotes"
    ) as refused:
        render(over(minimal(), given))
    assert became in str(refused.value)
    render(over(minimal(), given | {"quotedKeys": [became]}))


@pytest.mark.parametrize(
    "key", ["'0123456789'", "'01234567'", "15557650123", "'007'", "1:30", "2001-01-01", "a1", "1e3x"]
)
def test_a_key_that_yaml_leaves_alone_is_taken(key: str) -> None:
    channel = f"{{config: {{channels: {{{key}: {{type: sms, provider: acme-sms, number: '+15557650199'}}}}}}}}"
    render(over(minimal(), engine().values_from_yaml(channel)))
    mixed = engine().values_from_yaml("{config: {channels: {'342391': {type: sms, provider: acme-sms}}}}")
    render(over(minimal(), mixed | {"quotedKeys": ["342391"]}))


def test_an_escaped_variable_is_none() -> None:
    render(over(minimal(), {"config": {"channels": {"0123456789": {"endpoint": "$${NAME}"}}}}))


def test_the_queues_are_those_of_the_program() -> None:
    schema = reference.schema()["properties"]["workerDefaults"]["properties"]["queues"]
    text = (CHART / "templates" / "_checks.tpl").read_text()
    assert set(schema["items"]["enum"]) == set(QUEUES)
    assert set(text.partition('define "dcbridge.queues" -}}')[2].split("{{")[0].split()) == set(QUEUES)


# ---------------------------------------------------------------- what is written


def test_the_schema_and_the_table_are_current() -> None:
    """`python -m helm.reference` writes both."""
    assert (CHART / "values.schema.json").read_text(encoding="utf-8") == reference.schema_text()
    assert (CHART / "README.md").read_text(encoding="utf-8") == reference.readme()


def test_every_value_has_its_line_and_every_line_its_value() -> None:
    def leaves(path: str, value: Any) -> Iterator[str]:
        if isinstance(value, dict) and value and path not in listed:
            for name, inner in value.items():
                yield from leaves(f"{path}.{name}" if path else name, inner)
        else:
            yield path

    listed = [path for path, _, _ in reference.rows()]
    assert len(set(listed)) == len(listed)
    assert sorted(listed) == sorted(leaves("", yaml.safe_load((CHART / "values.yaml").read_text())))
    assert not [path for path, _, meaning in reference.rows() if not meaning.endswith((".", "`"))]
