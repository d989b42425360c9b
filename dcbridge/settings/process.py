"""Process settings: where to listen, which Redis, how long to wait. From the environment, prefix DCBRIDGE_.

What the bridge carries, and for whom, is in bridge.yaml (`dcbridge.config.models`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from dcbridge.http.connections import OPERATORS, Limits
from dcbridge.http.known_hosts import read_names
from dcbridge.settings.problems import ConfigurationError, Path, Problem, did_you_mean, explain, refuse
from dcbridge.settings.redis_url import read_address
from dcbridge.tracing import switch

PREFIX = "DCBRIDGE_"
_BUCKET = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?", re.ASCII)
DAY = 86400.0  # seconds

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
    reload_every: Seconds = Field(
        2.0, description="Seconds between two looks whether bridge.yaml has changed; its subscribers need no restart."
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Address of Redis: redis://user:password@host:6379/0, rediss:// (TLS), unix:///path, or"
        " redis+sentinel://user:password@one:26379,two:26379/service/0 (rediss+sentinel:// with TLS); the sentinels'"
        " own password is `?sentinel_password=`.",
    )
    redis_timeout: Seconds = Field(3.0, description="Seconds to wait for Redis to connect or to answer.")
    redis_ca_file: str = Field("", description="Path of the certificates that Redis' own is checked against (TLS).")
    redis_client_certificate: str = Field("", description="Path of the certificate that is shown to Redis (TLS).")
    redis_client_key: str = Field("", description="Path of the key of that certificate.")
    durability: Annotated[Literal["always", "waitaof"], BeforeValidator(_lower)] = Field(
        "always",
        description="What 200 waits for: `always` relies on `appendfsync always`, `waitaof` asks Redis 7.2 or later to"
        " say that the write is on its disk.",
    )
    replicas: int = Field(
        0, ge=0, le=10, description="Replicas that must have a message before it is answered 200; with fewer, 503."
    )

    journal: str = Field(
        "",
        description="Folder for callbacks that arrive while Redis is away, used by one service only; without it"
        " they are answered 503, and most SMS providers do not repeat them. It contains what consumers wrote.",
    )
    journal_limit: int = Field(
        256 << 20, ge=1 << 16, description="Bytes that the journal may take; beyond that, callbacks are answered 503."
    )

    blob_memory: int = Field(
        64 << 20,
        ge=0,
        description="Bytes of files (pictures, mails) that Redis may hold at once; each has 1 MiB at most.",
    )
    blob_folder: str = Field(
        "",
        description="Folder for larger files, and for those that would exceed DCBRIDGE_BLOB_MEMORY: the same one for"
        " the service and all workers. It contains what consumers and agents sent.",
    )
    blob_folder_limit: int = Field(
        10 << 30, ge=1 << 20, description="Bytes that the files in that folder, or in the bucket, may take."
    )
    blob_bucket: str = Field(
        "",
        description="Bucket in place of that folder, of anything that speaks S3: https://bucket.s3.eu-west-1.amazonaws.com"
        " or https://minio.internal:9000/bucket, with a path behind it where others use it as well.",
    )
    blob_bucket_region: str = Field("us-east-1", description="Region of the bucket.")
    blob_bucket_key_id: str = Field("", description="Access key id that may use it.")
    blob_bucket_secret: SecretStr = Field(SecretStr(""), description="Secret access key of that id.")
    blob_bucket_session_token: SecretStr = Field(
        SecretStr(""), description="Session token, of credentials for a while."
    )

    service_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of the service on the public port, as many as it has cores. Above 1, one more process"
        " has the operator port and answers for all.",
    )

    public_host: str = Field("0.0.0.0", description="Address that the public port binds.")  # noqa: S104 (public)
    public_port: Port = Field(8080, description="Port for webhooks and callbacks: the public port.")
    operator_host: str = Field("127.0.0.1", description="Address that the operator port of the service binds.")
    operator_port: Port = Field(8081, description="Port for health and metrics of the service: its operator port.")
    worker_host: str = Field("127.0.0.1", description="Address that the operator port of a worker binds.")
    worker_port: Port = Field(8082, description="Port for health and metrics of a worker: its operator port.")
    operator_hosts: str = Field(
        "",
        description="Host names, separated by commas, that the operator ports accept: metrics.example.com,"
        " *.example.com; `*` is any. IP addresses and localhost need no entry; any other Host is answered 421, so that"
        " no web page can read metrics through a browser.",
    )

    console_host: str = Field("127.0.0.1", description="Address that the console binds.")
    console_port: Port = Field(8090, description="Port of the console: `dcbridge console serve`.")
    console_hosts: str = Field(
        "",
        description="Host names, separated by commas, under which the console is asked, beside that of `public_url` of"
        " `console`, localhost and IP addresses; any other Host is answered 421.",
    )

    connections: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Connections that the public port holds at once; 0 is 1000. Fewer if the process may not"
        " open as many files. Beyond the limit, the connection that has been waiting longest is closed.",
    )
    head_timeout: Seconds = Field(10.0, description="Seconds that the head of a request may take to arrive.")
    body_timeout: Seconds = Field(7.0, description="Seconds that the body of a request may take after its head.")
    idle_timeout: Seconds = Field(30.0, description="Seconds that a connection is kept open between two requests.")
    body_limit: int = Field(
        1 << 20, ge=1024, description="Bytes that a request's body may have; a larger one is answered 413."
    )
    answer_within: Seconds = Field(
        8.0, lt=10, description="Seconds after which the service answers 503; Digital Channels gives up after ten."
    )

    token_key: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_hex(32)),
        description="Key of the tokens that stand for addresses in logs; use the same in every process.",
        json_schema_extra={"default": "random in each process"},
    )
    token_key_before: SecretStr = Field(
        SecretStr(""),
        description="That key before it was changed: answers to emails of that time still find their conversation.",
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        "auto", description="Format of log lines; auto is console on a terminal and json elsewhere."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Lowest level that is logged."
    )

    tracing: bool = Field(
        False,
        description="Whether spans are sent to a collector of OpenTelemetry; where to is what the OTEL_… variables of"
        " the environment say. Needs the extra `otel`.",
    )
    tracing_propagate: bool = Field(
        False,
        description="Whether requests to providers, subscribers and Genesys carry the trace in `traceparent`; by"
        " default only Genesys gets its own trace id back.",
    )

    concurrency: int = Field(200, ge=1, le=10_000, description="Messages that one worker processes at the same time.")
    lease: Seconds = Field(45.0, description="Seconds for which a worker may hold a claim on a message.")
    worker_silence: Seconds = Field(
        10.0,
        description="Seconds without a heartbeat after which a worker counts as dead and its messages are recovered.",
    )
    reconcile_every: Seconds = Field(
        0.25, description="Seconds between two sweeps, which find messages that are due or were left by a dead worker."
    )
    drain_seconds: Seconds = Field(
        20.0,
        description="Seconds after SIGTERM for which a worker lets running jobs finish, and a service with a journal"
        " waits until Redis has taken it.",
    )

    mail_host: str = Field("127.0.0.1", description="Address that `dcbridge mail-in` listens on for mail.")
    mail_port: Port = Field(8024, description="Port that `dcbridge mail-in` listens on for mail.")
    mail_operator_port: Port = Field(
        8083, description="Port for health and metrics of `dcbridge mail-in`, on the address of the operator port."
    )
    mail_protocol: Annotated[Literal["lmtp", "smtp", "none"], BeforeValidator(_lower)] = Field(
        "lmtp",
        description="What your mail system speaks to `dcbridge mail-in`: LMTP, which answers for each recipient,"
        " or SMTP; with none, mail comes from IMAP mailboxes alone.",
    )
    mail_limit: int = Field(
        25 << 20,
        ge=1 << 16,
        description="Bytes that one mail may have; a larger one gets 552, or stays in its mailbox.",
    )
    mail_memory: int = Field(
        200 << 20, ge=1 << 20, description="Bytes of mails that are being received at one time; more are answered 451."
    )
    mail_connections: int = Field(100, ge=1, le=10_000, description="Connections for mail at one time; more get 421.")
    mail_timeout: Seconds = Field(60.0, description="Seconds that the mail system may be silent on a connection.")
    mail_certificate: str = Field(
        "", description="Path of the certificate for STARTTLS, its chain included; without it, there is no STARTTLS."
    )
    mail_key: str = Field("", description="Path of the key of that certificate.")

    retention_days: Seconds = Field(
        7.0, description="Days that a finished message is remembered, and a redelivered messageId recognised."
    )
    search_index: bool = Field(
        True,
        description="Whether messages are indexed by time, channel, provider, state and, with `token_key`, by number: a"
        " search need not look at all of them, for 120 bytes of Redis a message.",
    )
    keep_text: float = Field(
        0.0,
        ge=0,
        le=168,
        description="Hours from its acceptance for which the text of an agent's message is kept, encrypted with"
        " `token_key`, so that `dcbridge send-again` can send it once more after its end; 0 is not at all.",
    )
    dead_letter_days: Seconds = Field(30.0, description="Days that a dead letter is kept.")
    callback_dedupe_days: Seconds = Field(7.0, description="Days that a repeated provider callback is recognised.")

    piece_wait: Seconds = Field(
        120.0,
        le=DAY,
        description="Seconds that a consumer's long SMS waits for a missing piece, and what the consumer writes next"
        " waits behind it; then the agent gets what is there, with a note.",
    )

    event_days: Seconds = Field(
        7.0, description="Days that an interaction event is kept for a replay, and a repeated one recognised."
    )
    event_partner_days: Seconds = Field(
        7.0, description="Days after which a STARTED without its FINISHED, or the other way round, counts as a gap."
    )

    receipt_batch: int = Field(100, ge=1, le=1000, description="Receipts in one request at most.")
    receipt_linger: float = Field(
        0.05, ge=0, le=10, description="Seconds that a receipt waits for others of its channel, to be posted with them."
    )

    connect_timeout: Seconds = Field(5.0, description="Seconds to connect to a provider, TLS included.")
    write_timeout: Seconds = Field(10.0, description="Seconds to write a request to a provider.")
    read_timeout: Seconds = Field(15.0, description="Seconds to wait for a provider's answer.")
    pool_timeout: Seconds = Field(5.0, description="Seconds to wait for a free connection to a provider.")

    name_server: str = Field(
        "",
        pattern=r"^$|^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:]{2,45}\]):[0-9]{1,5}$",
        description="Name server that `dcbridge doctor` asks, such as 192.0.2.53:53.",
        json_schema_extra={"default": "those of the system"},
    )

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

    def limits(self, connections: int = OPERATORS) -> Limits:
        """Of a listener that may hold so many connections; of an operator's, where nothing is said."""
        return Limits(self.head_timeout, self.body_timeout, self.idle_timeout, connections)

    @property
    def reply_keys(self) -> tuple[bytes, ...]:
        """Of the references in addresses: the first makes them, the others are still read."""
        both = (self.token_key.get_secret_value(), self.token_key_before.get_secret_value())
        return tuple(key.encode() for key in both if key)

    @property
    def token_key_is_random(self) -> bool:
        """True when tokens will differ between processes and restarts, which deserves a warning."""
        return "token_key" not in self.model_fields_set

    @property
    def redis_place(self) -> str:
        """Where Redis is, fit for a log line: no user, no password, no query."""
        return read_address(self.redis_url.get_secret_value()).place

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr) -> SecretStr:
        read_address(value.get_secret_value())
        return value

    @property
    def known_hosts(self) -> tuple[str, ...]:
        return read_names(self.operator_hosts)

    @field_validator("operator_hosts", "console_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        read_names(value)
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
        if self.reconcile_every > self.worker_silence / 4:
            complaints.append(
                (
                    ("reconcile_every",),
                    f"should be at most a quarter of worker_silence ({self.worker_silence:g} seconds)",
                )
            )
        if self.public_port and self.public_port == self.operator_port and self._hosts_meet():
            complaints.append((("operator_port",), "should differ from public_port, or listen on another address"))
        if self.tracing and not switch.installed():
            complaints.append((("tracing",), "needs the extra `otel`: pip install 'dcbridge[otel]'"))
        if self.keep_text and self.token_key_is_random:
            complaints.append((("keep_text",), "needs token_key, with which the text is encrypted"))
        complaints += self._about_tls() + self._about_mail() + self._about_blobs()
        refuse(*complaints)
        return self

    def _about_tls(self) -> list[tuple[Path, str]]:
        files = ("redis_ca_file", "redis_client_certificate", "redis_client_key")
        given = [name for name in files if getattr(self, name)]
        complaints: list[tuple[Path, str]] = []
        if given and not read_address(self.redis_url.get_secret_value()).tls:
            complaints += [((name,), "needs a redis_url with TLS: rediss:// or rediss+sentinel://") for name in given]
        if self.redis_client_key and not self.redis_client_certificate:
            complaints.append((("redis_client_key",), "needs redis_client_certificate"))
        for name in given:
            if not os.access(getattr(self, name), os.R_OK):
                complaints.append(((name,), "should name a file that can be read"))
        return complaints

    def _about_mail(self) -> list[tuple[Path, str]]:
        complaints: list[tuple[Path, str]] = []
        if bool(self.mail_certificate) != bool(self.mail_key):
            lacks = "mail_key" if self.mail_certificate else "mail_certificate"
            complaints.append(((lacks,), "is missing: STARTTLS needs a certificate and its key"))
        complaints += [
            ((name,), "should name a file that can be read")
            for name in ("mail_certificate", "mail_key")
            if getattr(self, name) and not os.access(getattr(self, name), os.R_OK)
        ]
        if self.mail_memory < self.mail_limit:
            complaints.append((("mail_memory",), f"should be at least mail_limit ({self.mail_limit} bytes)"))
        return complaints

    def _about_blobs(self) -> list[tuple[Path, str]]:
        if not self.blob_bucket:
            return []
        complaints: list[tuple[Path, str]] = []
        if not _BUCKET.fullmatch(self.blob_bucket):
            complaints.append((("blob_bucket",), "should be https://host/path, without a user, a query or a fragment"))
        if not re.fullmatch(r"[0-9a-z-]{1,40}", self.blob_bucket_region, re.ASCII):
            complaints.append((("blob_bucket_region",), "should be the name of a region, such as eu-west-1"))
        if not re.fullmatch(r"[!-~]{0,128}", self.blob_bucket_key_id, re.ASCII):
            complaints.append((("blob_bucket_key_id",), "should be an access key id, without spaces"))
        if self.blob_folder:
            complaints.append((("blob_folder",), "should be unset where blob_bucket is set: files are in one place"))
        given = {
            "blob_bucket_key_id": self.blob_bucket_key_id,
            "blob_bucket_secret": self.blob_bucket_secret.get_secret_value(),
        }
        complaints += [((name,), "is missing: blob_bucket needs an access key") for name in given if not given[name]]
        return complaints

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
        problems += [
            _problem(PREFIX + name.upper(), *explain(d, description=_description(name)), d["input"])
            for d in error.errors()
            for name in [str(d["loc"][0])]
        ]
    if problems:
        raise ConfigurationError(problems)
    if settings.token_key_is_random:
        warnings.append(
            Problem(
                f"{PREFIX}TOKEN_KEY",
                0,
                "is not set: tokens in logs differ between processes and restarts, and links to files do not open",
            )
        )
    return settings, tuple(warnings)


# Kubernetes sets these in every pod of a namespace that has a Service called dcbridge or dcbridge-….
_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def _description(name: str) -> str:
    field = Settings.model_fields.get(name)
    return (field.description if field else "") or ""


def _problem(name: str, what: str, suggestion: str, value: object) -> Problem:
    if isinstance(value, str) and _LINK_VALUE.match(value):
        suggestion = "Kubernetes sets it for a Service of that name: set enableServiceLinks: false in the pod"
    elif value == "":
        suggestion = suggestion or "unset it to have the default"
    return Problem(name, 0, what, suggestion)


OF_COMMANDS = ("URL", "TOKEN")  # which console a command asks: options of `dcbridge`


def _unknown(environ: Mapping[str, str]) -> tuple[list[Problem], list[Problem]]:
    """A name one slip away from a setting is a problem; another one may be bridge.yaml's, and is a warning."""
    known = [name.upper() for name in Settings.model_fields] + list(OF_COMMANDS)
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
