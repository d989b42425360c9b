"""Subscribers in bridge.yaml: who wants which event, how patiently, and what is wrong where, with its fix."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import yaml

from dcbridge.config.loader import parse
from dcbridge.config.reference import EXAMPLE
from dcbridge.events.sinks import KINDS, Event, MissingClient, Schedule, Subscriber, open_sink
from dcbridge.settings.problems import ConfigurationError
from tests.events.receivers import PUBLIC_URL, SECRET, an_event

# What the reference page shows of each kind: enough for a sink of it.
WHOLE: dict[str, dict[str, Any]] = {
    name: json.loads(re.sub(r"\$\{\w+\}", SECRET, json.dumps(kind.fields.example))) for name, kind in KINDS.items()
}
CLIENTS = {name: kind.client for name, kind in KINDS.items() if kind.client}


def subscriber(kind: str = "http", **more: Any) -> Subscriber:
    return Subscriber.model_validate({"sink": {"kind": kind, **WHOLE[kind]}, **more})


LETTER = an_event(name="dead_letter.written", own=True, interaction="", media="", subtype="", endpoint="")
GAP = an_event(name="interaction.gap", own=True)
DISABLED = an_event(name="subscriber.disabled", own=True, interaction="", media="", subtype="", endpoint="")


@pytest.mark.parametrize(
    ("filters", "event", "wanted"),
    [
        ({}, an_event(), True),
        ({}, an_event(name="WRAPPED"), True),  # a name that nobody knew passes through
        ({}, an_event(name="", media="", subtype=""), True),
        ({}, GAP, False),  # ours only where they are named
        ({}, DISABLED, False),
        ({}, an_event(name="interaction.gap"), True),  # said by the webhook, so it is not ours
        ({"events": ["STARTED"]}, an_event(), True),
        ({"events": ["started"]}, an_event(), True),
        ({"events": ["STARTED"]}, an_event(name="FINISHED"), False),
        ({"events": ["STARTED"]}, GAP, False),
        ({"events": ["*"]}, an_event(name="FINISHED"), True),
        ({"events": ["*"]}, GAP, False),
        ({"events": ["*", "interaction.gap"]}, GAP, True),
        ({"events": ["*", "interaction.gap"]}, an_event(), True),
        ({"events": ["interaction.gap"]}, an_event(), False),
        ({"events": ["subscriber.disabled"]}, DISABLED, True),
        ({"events": ["subscriber.disabled"], "media": ["chat"]}, DISABLED, True),  # it has no medium
        ({"events": ["interaction.gap"], "media": ["email"]}, GAP, False),
        ({"events": ["interaction.gap"], "media": ["chat"]}, GAP, True),
        ({"media": ["chat"]}, an_event(), True),
        ({"media": ["Chat", "email"]}, an_event(), True),
        ({"media": ["email"]}, an_event(), False),
        ({"media": ["email"]}, an_event(media=""), False),
        ({"subtypes": ["inboundnew"]}, an_event(), True),
        ({"subtypes": ["Outbound"]}, an_event(), False),
        ({"events": ["STARTED"], "media": ["chat"], "subtypes": ["SMS"]}, an_event(), False),
        ({"kind": "openmedia"}, LETTER, True),
        ({"kind": "openmedia"}, an_event(name="dead_letter.written"), False),  # a webhook may call its event anything
        ({"kind": "openmedia"}, GAP, False),
        ({"kind": "openmedia", "events": ["dead_letter.dropped"]}, LETTER, False),
        ({"on": "no"}, an_event(), True),  # `on` is asked by whoever makes the deliveries
    ],
)
def test_who_wants_what(filters: dict[str, Any], event: Event, wanted: bool) -> None:
    assert subscriber(**filters).wants(event) is wanted


def test_the_usual_schedule_is_that_of_standard_webhooks() -> None:
    waits = Schedule(jitter=0)
    assert [waits.wait(n) for n in range(1, 11)] == [
        5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600, None,
    ]  # fmt: skip


def test_jitter_shortens_and_a_retry_after_lengthens() -> None:
    waits = Schedule(waits=(100.0,), jitter=0.5)
    some = [waits.wait(1) or 0 for _ in range(200)]
    assert 50 <= min(some) < max(some) <= 100
    assert waits.wait(1, at_least=1000) == 1000
    assert waits.wait(2, at_least=1000) is None


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_has_its_sink_which_connects_nowhere_before_it_delivers(kind: str) -> None:
    found = open_sink(kind, subscriber(kind), PUBLIC_URL)
    assert found.deliver.__qualname__ == f"{KINDS[kind].fields.__name__}Sink.deliver"
    await found.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_each_kind_is_accepted_without_a_warning_and_names_its_place(kind: str) -> None:
    written = yaml.safe_dump({"crm": {"sink": {"kind": kind, **KINDS[kind].fields.example}}})
    environ = ENVIRON | dict.fromkeys(re.findall(r"\$\{(\w+)\}", written), "word") | {"CRM_SIGNING_SECRET": SECRET}
    configuration = parse(text(textwrap.indent(written, "  ")).replace("app_secret", "sixteen characters"), environ)
    assert [one.path for one in configuration.warnings if one.path.startswith("subscribers")] == []
    assert "example.com" in configuration.subscribers["crm"].sink.place


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_knows_its_place_again_and_takes_another_for_another(kind: str) -> None:
    fields = KINDS[kind].fields
    other = json.loads(json.dumps(fields.example).replace("example.com", "example.org"))
    assert fields.same_place(fields.example, dict(fields.example))
    assert not fields.same_place(fields.example, other)


def text(subscribers: str) -> str:
    """The documentation's example with other subscribers."""
    head, _, tail = EXAMPLE.partition("subscribers:")
    return f"{head}subscribers:\n{subscribers}\n{tail[tail.index('retry:') :]}".replace("file:/run/secrets/", "")


ENVIRON = dict.fromkeys(
    ("DIGITAL_CHANNELS_API_KEY", "OLD_APP_SECRET", "INTERACTIONS_SECRET", "TWILIO_AUTH_TOKEN", "SMTP_PASSWORD"),
    "sixteen characters",
)
HTTP = f'{{kind: http, url: "https://crm.example.com/x", secrets: [{SECRET}]}}'


def problems(subscribers: str) -> list[str]:
    with pytest.raises(ConfigurationError) as found:
        parse(text(subscribers).replace("app_secret", "sixteen characters"), ENVIRON)
    return [str(problem).partition(": ")[2] for problem in found.value.problems]


def test_a_good_one() -> None:
    good = f"  crm: {{sink: {HTTP}, on: no, pace: {{per_second: 5, in_flight: 3}}, retry: {{waits: [1, 2]}}}}"
    configuration = parse(text(good).replace("app_secret", "sixteen characters"), ENVIRON)
    found = configuration.subscribers["crm"]
    assert (found.on, found.pace.in_flight, found.retry.waits) == (False, 3, (1.0, 2.0))
    assert [one.path for one in configuration.warnings if one.path.startswith("subscribers.")] == [
        "subscribers.crm.sink.secrets[0]"  # which stands in the file itself
    ]
    assert SECRET not in repr(configuration)
    assert "crm.example.com" not in repr(configuration)  # its path or query may be a secret


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("  crm: {}", ["subscribers.crm.sink: is missing"]),
        (
            "  crm: {sink: https://x}",
            ["subscribers.crm.sink: should be a mapping: lines of `key: value`, indented below it, and is a text"],
        ),
        ("  crm: {sink: {}}", ["subscribers.crm.sink.kind: is missing"]),
        (
            "  crm: {sink: {kind: htpp}}",
            [
                "subscribers.crm.sink.kind: should be one of http, redis-stream, amqp, nats, openmedia, kafka,"
                ' and is something else; did you mean "http"?'
            ],
        ),
        (
            "  crm: {sink: {kind: http}}",
            ["subscribers.crm.sink.url: is missing", "subscribers.crm.sink.secrets: is missing"],
        ),
        (
            f'  crm: {{sink: {{kind: http, ulr: "https://a.example/", secrets: [{SECRET}]}}}}',
            ['subscribers.crm.sink.ulr: is not a known key; did you mean "url"?'],
        ),
        (
            '  crm: {sink: {kind: http, url: "https://a.example/", secrets: [short]}}',
            [
                "subscribers.crm.sink.secrets[0]: should begin with whsec_;"
                " make one with: echo whsec_$(openssl rand -base64 32)"
            ],
        ),
        (f"  CRM: {{sink: {HTTP}}}", ["subscribers.CRM: a name has 1 to 64 small letters, digits and -"]),
        (f"  crm: {{sink: {HTTP}, order: yes}}", ['…order: is not a known key; did you mean "ordered"?']),
        (f"  crm: {{sink: {HTTP}, pace: {{burts: 1}}}}", ['…pace.burts: is not a known key; did you mean "burst"?']),
        (f"  crm: {{sink: {HTTP}, pace: {{in_flight: 0}}}}", ["…pace.in_flight: should be at least 1 event"]),
        (f"  crm: {{sink: {HTTP}, retry: {{wait: [1]}}}}", ['…retry.wait: is not a known key; did you mean "waits"?']),
        (f"  crm: {{sink: {HTTP}, retry: {{waits: [1, 0]}}}}", ["…retry.waits[1]: should be more than 0 seconds"]),
        (
            f"  crm: {{sink: {HTTP}, envelope: cloudevents}}",
            [
                "…envelope: should be standard, cloudevents-structured or cloudevents-binary,"
                ' and is something else; did you mean "cloudevents-binary"?'
            ],
        ),
        (
            '  lake: {sink: {kind: redis-stream, url: "redis://r/0", stream: s}, envelope: cloudevents-binary}',
            [
                "subscribers.lake.envelope: should not be cloudevents-binary for a redis-stream,"
                " whose entries have no headers"
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_is(wrong: str, says: list[str]) -> None:
    assert problems(wrong) == [one.replace("…", "subscribers.crm.") for one in says]


@pytest.mark.parametrize(
    ("url", "more", "warned"),
    [
        ("https://crm.example.com/", "", False),
        ("http://crm.example.com/", "", True),
        ("http://127.0.0.1:9000/", ", allow: [127.0.0.1]", False),
    ],
)
def test_plain_http_deserves_a_look(url: str, more: str, warned: bool) -> None:
    written = f'  crm: {{sink: {{kind: http, url: "{url}", secrets: [{SECRET}]{more}}}}}'
    configuration = parse(text(written).replace("app_secret", "sixteen characters"), ENVIRON)
    told = [one.what for one in configuration.warnings if one.path == "subscribers.crm.sink.url"]
    assert [what.startswith("is http:") for what in told] == ([True] if warned else [])


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_no_client_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys, asyncio, dcbridge.cli.app, workers.worker\n"
        "from tests.events.test_subscriber_configuration import KINDS, subscriber, open_sink\n"
        "async def main():\n"
        "    for kind in KINDS:\n"
        "        await open_sink(kind, subscriber(kind), 'https://bridge.example.com').close()\n"
        "asyncio.run(main())\n"
        f"print([name for name in {list(CLIENTS.values())} if name in sys.modules])\n"
    )
    assert python(program) == "[]"


@pytest.mark.parametrize("kind", sorted(CLIENTS))
def test_a_client_that_is_not_installed_is_named_with_its_extra(kind: str) -> None:
    program = (
        f"import sys; sys.modules[{CLIENTS[kind]!r}] = None  # as if it were not there\n"
        "from tests.events import test_subscriber_configuration as t\n"
        "for other in sorted(t.CLIENTS):\n"
        "    try:\n"
        "        t.open_sink(other, t.subscriber(other), 'https://bridge.example.com')\n"
        "    except t.MissingClient as error:\n"
        "        print(error)\n"
    )
    sentence = f"needs a client that is not installed; pip install 'dcbridge[{kind}]'"
    assert python(program) == f"a sink of kind {kind} {sentence}"
    assert issubclass(MissingClient, Exception)
