"""Process settings: where to listen, which Redis, how long to wait. From the environment, prefix DCBRIDGE_.

What the bridge carries, and for whom, is in bridge.yaml (`bridge.configuration`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.problems import ConfigurationError, Path, Problem, did_you_mean, explain, refuse

PREFIX = "DCBRIDGE_"

# Time between the last byte of a provider's answer and the ledger's word for it, seconds.
LEASE_MARGIN = 5.0

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """Every process setting. `Settings()` is the defaults; `read_settings` is what a process uses."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    config: str = Field("bridge.yaml", min_length=1, description="Path of bridge.yaml.")
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Address of Redis: redis://, rediss:// (TLS) or unix://."
    )
    redis_timeout: Seconds = Field(3.0, description="Seconds to wait for Redis to connect or to answer.")

    public_host: str = Field("0.0.0.0", description="Address that the public listener binds.")  # noqa: S104 (public)
    public_port: Port = Field(8080, description="Port of the public listener: webhooks and callbacks.")
    operator_host: str = Field("127.0.0.1", description="Address that the door's operator listener binds.")
    operator_port: Port = Field(8081, description="Port of the door's operator listener: health and metrics.")
    worker_host: str = Field("127.0.0.1", description="Address that a worker's operator listener binds.")
    worker_port: Port = Field(8082, description="Port of a worker's operator listener: health and metrics.")

    body_limit: int = Field(1 << 20, ge=1024, description="Bytes that a request's body may have; more is 413.")
    answer_within: Seconds = Field(
        8.0, lt=10, description="Seconds after which the door answers 503; the sender gives up after ten."
    )

    token_key: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_hex(32)),
        description="Key of the tokens that stand for addresses in logs; the same in every process of one bridge.",
        json_schema_extra={"default": "random in each process"},
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        "auto", description="Form of a log line; auto is console on a terminal and json elsewhere."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Least level that is logged."
    )

    concurrency: int = Field(200, ge=1, le=10_000, description="Messages that one worker has in flight.")
    lease: Seconds = Field(45.0, description="Seconds that a worker may hold a message without a word.")
    reconcile_every: Seconds = Field(2.0, description="Seconds between two looks for messages that were left behind.")
    drain_seconds: Seconds = Field(
        20.0, description="Seconds that a worker lets what is in flight finish after SIGTERM."
    )

    retention_days: Seconds = Field(
        7.0, description="Days that a finished message is remembered, and a redelivered messageId recognised."
    )
    dead_letter_days: Seconds = Field(30.0, description="Days that a dead letter is kept.")
    callback_dedupe_days: Seconds = Field(7.0, description="Days that a repeated provider callback is recognised.")

    receipt_batch: int = Field(100, ge=1, le=1000, description="Receipts that travel in one request at most.")
    receipt_linger: float = Field(
        0.05, ge=0, le=10, description="Seconds that a receipt waits for others of its channel."
    )

    connect_timeout: Seconds = Field(5.0, description="Seconds to connect to a provider, TLS included.")
    write_timeout: Seconds = Field(10.0, description="Seconds to write a request to a provider.")
    read_timeout: Seconds = Field(15.0, description="Seconds to wait for a provider's answer.")
    pool_timeout: Seconds = Field(5.0, description="Seconds to wait for a free connection to a provider.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `read_settings` hands the environment in."""
        return (init_settings,)

    @property
    def token_key_is_random(self) -> bool:
        """True when tokens will differ between processes and restarts, which deserves a warning."""
        return "token_key" not in self.model_fields_set

    @property
    def redis_place(self) -> str:
        """Where Redis is, fit for a log line: no user, no password, no query."""
        parts = urlsplit(self.redis_url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            port = parts.port if parts.scheme in {"redis", "rediss"} else None
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme.startswith("redis+sentinel"):
            raise ValueError("Sentinel is not supported yet; use redis://, rediss:// or unix://")
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("should begin with redis://, rediss:// or unix://")
        if parts.scheme == "unix" and not parts.path.strip("/"):
            raise ValueError("should name a socket: unix:///path/to/redis.sock")
        if parts.scheme != "unix" and (not parts.hostname or port == 0):
            raise ValueError("should name a host: redis://host:6379/0")
        return value

    @field_validator("token_key")
    @classmethod
    def _token_key(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 16:
            raise ValueError("should have at least 16 characters")
        return value

    @model_validator(mode="after")
    def _sense(self) -> Settings:
        exchange = self.pool_timeout + self.connect_timeout + self.write_timeout + self.read_timeout
        least = exchange + LEASE_MARGIN
        complaints: list[tuple[Path, str]] = []
        if self.lease < least:
            complaints.append(
                (
                    ("lease",),
                    f"should be at least {least:g} seconds: the four timeouts of a provider add up to {exchange:g},"
                    f" and {LEASE_MARGIN:g} are needed to write down the answer",
                )
            )
        if self.redis_timeout >= self.answer_within:
            complaints.append(
                (("redis_timeout",), f"should be less than answer_within ({self.answer_within:g} seconds)")
            )
        if self.reconcile_every >= self.lease:
            complaints.append((("reconcile_every",), f"should be less than lease ({self.lease:g} seconds)"))
        if self.public_port and self.public_port == self.operator_port and self._hosts_meet():
            complaints.append((("operator_port",), "should differ from public_port, or listen on another address"))
        refuse(*complaints)
        return self

    def _hosts_meet(self) -> bool:
        hosts = {self.public_host, self.operator_host}
        return len(hosts) == 1 or not hosts.isdisjoint({"", "0.0.0.0", "::"})  # noqa: S104 (compared, not bound)


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, tuple[Problem, ...]]:
    """The settings and what deserves a warning. Raises ConfigurationError holding every problem."""
    problems, warnings = _unknown(environ)
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environ.items()}
    try:
        settings = Settings(**source())
    except ValidationError as error:
        problems += [_problem(PREFIX + str(d["loc"][0]).upper(), *explain(d), d["input"]) for d in error.errors()]
    if problems:
        raise ConfigurationError(problems)
    if settings.token_key_is_random:
        warnings.append(
            Problem(f"{PREFIX}TOKEN_KEY", 0, "is not set: tokens in logs differ between processes and restarts")
        )
    return settings, tuple(warnings)


# Kubernetes sets these in every pod of a namespace that has a Service called dcbridge or dcbridge-….
_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def _problem(name: str, what: str, suggestion: str, value: object) -> Problem:
    if isinstance(value, str) and _LINK_VALUE.match(value):
        suggestion = "Kubernetes sets it for a Service of that name: set enableServiceLinks: false in the pod"
    return Problem(name, 0, what, suggestion)


def _unknown(environ: Mapping[str, str]) -> tuple[list[Problem], list[Problem]]:
    """A name one slip away from a setting is a problem; another one may be bridge.yaml's, and is a warning."""
    known = [name.upper() for name in Settings.model_fields]
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for name in sorted(environ):
        word = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX) or word in known:
            continue
        if _SERVICE_LINK.search(name) or _LINK_VALUE.match(environ[name]):
            continue
        near = did_you_mean(word, known, cutoff=0.75, prefix=PREFIX)
        (problems if near else warnings).append(Problem(name, 0, "is not a setting", near))
    return problems, warnings
