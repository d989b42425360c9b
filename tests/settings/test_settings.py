"""Process settings: what a process is told when its environment makes no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import Settings, read_settings

CANARY = "canary-8f1e6a"
KEY = "a key of sixteen characters or more"


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({f"DCBRIDGE_{name.upper()}": value for name, value in environ.items()})
    return [str(problem) for problem in caught.value.problems]


def accepted(**environ: str) -> Settings:
    return read_settings({f"DCBRIDGE_{name.upper()}": value for name, value in environ.items()})[0]


# One broken value, what is said of it, and the twin that is accepted.
REFUSED = [
    ("lease", "39.9", "should be at least 40 seconds: the four timeouts of a provider add up to 35, and 5 are needed"
     " to write down the answer", "40"),
    ("redis_timeout", "8", "should be less than answer_within (8 seconds)", "7.9"),
    ("reconcile_every", "2.6", "should be at most a quarter of worker_silence (10 seconds)", "2.5"),
    ("operator_port", "8080", "should differ from public_port, or listen on another address", "8081"),
    ("answer_within", "10", "should be less than 10 seconds", "9.9"),
    ("public_port", "65536", "should be at most 65535", "65535"),
    ("public_port", CANARY, "should be the number of a port, 1 to 65535, and is a text", "0"),
    ("concurrency", "0", "should be at least 1 message", "1"),
    ("drain_seconds", "inf", "should be a finite number of seconds, such as 30", "600"),
    ("drain_seconds", "0", "should be more than 0 seconds", "0.1"),
    ("log_format", "jsno", 'should be auto, json or console, and is something else; did you mean "json"?',
     "JSON"),
    ("log_level", "verbose", "should be debug, info, warning or error, and is something else", "Warning"),
    ("token_key", "fifteen letters", "should have at least 16 characters", "sixteen letters!"),
    ("redis_url", f"http://:{CANARY}@redis",
     "should begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://", f"redis://:{CANARY}@redis"),
    ("redis_url", "redis:///0", "should name a host: redis://host:6379/0", "rediss://host/0"),
    ("redis_url", "redis://host:port", "is not a URL", "redis://host:1"),
    ("redis_url", "unix://", "should name a socket: unix:///path/to/redis.sock", "unix:///run/redis.sock"),
    ("redis_url", "redis://one,two", "should name a host: redis://host:6379/0", "redis+sentinel://one,two/service"),
    ("redis_url", "redis+sentinel://one,two",
     "should name sentinels and a service: redis+sentinel://one:26379,two:26379/service/0",
     f"rediss+sentinel://user:{CANARY}@one:26379,[::1]:5/service/2"),
    ("redis_url", "redis://host/first", "should end with the number of a database, as in /0", "redis://host/1"),
    ("redis_ca_file", __file__, "needs a redis_url with TLS: rediss:// or rediss+sentinel://", ""),
    ("durability", "never", "should be always or waitaof, and is something else", "WAITAOF"),
    ("replicas", "-1", "should be at least 0 replicas", "2"),
    ("journal_limit", "256MiB", "should be a whole number of bytes, such as 1048576, and is a text; write 268435456,"
     " the number of bytes without its unit", "268435456"),
    ("body_limit", "1 mb", "should be a whole number of bytes, such as 1048576, and is a text; write 1048576,"
     " the number of bytes without its unit", "1048576"),
    ("retention_days", "1w", "should be a number of days, such as 7, and is a text; write 7, the number of days"
     " without its unit", "7"),
    ("lease", "1m", "should be a number of seconds, such as 30, and is a text; write 60, the number of seconds"
     " without its unit", "60"),
    ("lease", "1:30", "should be a number of seconds, such as 30, and is a text; write the number of seconds alone,"
     " with no unit and no colon", "90"),
    ("lease", "", "should be a number of seconds, such as 30, and is an empty text; unset it to have the default",
     "45"),
    ("concurrency", "1e3", "should be a whole number of messages, such as 100, and is a text; write it in decimal"
     " digits", "1000"),
    ("concurrency", "1.5", "should be a whole number of messages, such as 100, and is not one", "1"),
    ("concurrency", "ten", "should be a whole number of messages, such as 100, and is a text; write it in digits",
     "10"),
    ("operator_port", "8081/tcp", "should be the number of a port, 1 to 65535, and is a text; write the number alone",
     "8081"),
    ("connections", "1,000", "should be a whole number of connections, such as 1000, and is a text; write the digits"
     " alone, with nothing between them", "1_000"),
    ("receipt_batch", "1001", "should be at most 1000 receipts", "1000"),
    ("journal_limit", "65535", "should be at least 65536 bytes", "65536"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "broken", "said", "right"), REFUSED)
def test_a_broken_setting_is_explained_and_its_twin_accepted(name: str, broken: str, said: str, right: str) -> None:
    assert problems(**{name: broken}) == [f"DCBRIDGE_{name.upper()}: {said}"]
    accepted(**{name: right})


def test_the_defaults_make_sense_and_nothing_is_read_behind_the_callers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCBRIDGE_CONCURRENCY", "7")
    assert Settings().concurrency == 200
    assert accepted().concurrency == 200
    assert accepted(concurrency="7").concurrency == 7


def test_every_problem_is_told_at_once() -> None:
    assert len(problems(lease="x", concurrency="0", redis_url="x://", leese="1")) == 4
    assert len(problems(lease="1", redis_timeout="9", reconcile_every="8")) == 3


def test_a_slip_of_the_pen_is_a_problem_and_a_stranger_is_a_warning() -> None:
    assert problems(conccurency="5") == ['DCBRIDGE_CONCCURENCY: is not a setting; did you mean "DCBRIDGE_CONCURRENCY"?']
    _, warnings = read_settings({"DCBRIDGE_TWILIO_AUTH": "x", "DCBRIDGE_TOKEN_KEY": KEY, "PATH": "/bin"})
    assert [str(warning) for warning in warnings] == ["DCBRIDGE_TWILIO_AUTH: is not a setting"]


def test_variables_that_kubernetes_sets_for_a_service_are_recognised() -> None:
    links = {
        "DCBRIDGE_PORT": "tcp://10.0.0.1:8080",
        "DCBRIDGE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "DCBRIDGE_SERVICE_HOST": "10.0.0.1",
        "DCBRIDGE_SERVICE_PORT_HTTP": "8080",
        "DCBRIDGE_TOKEN_KEY": KEY,
    }
    assert read_settings(links)[1] == ()
    assert problems(public_port="tcp://10.0.0.1:8080") == [
        "DCBRIDGE_PUBLIC_PORT: should be the number of a port, 1 to 65535, and is a text; Kubernetes sets it for a"
        " Service of that name: set enableServiceLinks: false in the pod"
    ]


def test_a_random_token_key_is_warned_of_and_differs() -> None:
    settings, warnings = read_settings({})
    assert settings.token_key_is_random
    assert settings.token_key != Settings().token_key
    assert [warning.path for warning in warnings] == ["DCBRIDGE_TOKEN_KEY"]
    given, none = read_settings({"DCBRIDGE_TOKEN_KEY": KEY})
    assert (given.token_key_is_random, none) == (False, ())


def test_secrets_do_not_print() -> None:
    settings = accepted(
        token_key=f"{CANARY} and more", redis_url=f"rediss://user:{CANARY}@redis:6380/1?password={CANARY}"
    )
    assert CANARY not in repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.model_dump())
    assert settings.redis_place == "rediss://redis:6380/1"
    with pytest.raises(ValidationError) as caught:
        Settings(token_key=CANARY)
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigurationError) as told:
        read_settings({"DCBRIDGE_REDIS_URL": f"{CANARY}://", "DCBRIDGE_PUBLIC_PORT": CANARY, "DCBRIDGE_LEASE": CANARY})
    assert CANARY not in str(told.value) + repr(told.value) + repr(told.value.problems)


def test_files_for_tls_are_there_and_belong_together() -> None:
    tls = {"redis_url": "rediss://redis"}
    assert problems(**tls, redis_ca_file="/nowhere/ca.pem") == [
        "DCBRIDGE_REDIS_CA_FILE: should name a file that can be read"
    ]
    assert problems(**tls, redis_client_key=__file__) == ["DCBRIDGE_REDIS_CLIENT_KEY: needs redis_client_certificate"]
    accepted(**tls, redis_ca_file=__file__, redis_client_certificate=__file__, redis_client_key=__file__)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().lease = 1  # type: ignore[misc]
