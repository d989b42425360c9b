"""Events as messages of a NATS JetStream, acknowledged by the stream. The client: nats-py.

https://docs.nats.io/nats-concepts/jetstream
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, Refused, SendError, Unreachable
from dcbridge.events.envelope import header_value, pack
from dcbridge.events.sinks.base import Event, delivery_key
from dcbridge.events.sinks.connections import SharedConnection, leave
from dcbridge.events.sinks.fields import Template, TlsFields, filled, server_url, shown
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.places import any_in_common, meet
from dcbridge.settings.problems import refuse
from dcbridge.settings.types import Secret

if TYPE_CHECKING:  # nats-py is there only where it was asked for
    from nats.aio.client import Client


PING_SECONDS = 10  # a server that answers two of them not is gone

# JetStream is not enabled (for the account); the stream is another one, or none.
_A_PERSON_MUST = frozenset({10039, 10059, 10060, 10076})
_NEVER = frozenset({10054})  # larger than the stream takes


def _nats_url(value: str) -> str:
    server_url(value, ("nats", "tls"), "nats://nats.example.com:4222")
    if "@" in value:
        raise ValueError("should have no user: there are username, password, token and credentials_file")
    return value


class Nats(TlsFields):
    """A subject that a stream of JetStream holds."""

    example: ClassVar[Mapping[str, object]] = {"servers": ["tls://nats.example.com:4222"], "stream": "INTERACTIONS"}

    kind: Literal["nats"] = Field(description="This kind of sink.")
    servers: Annotated[tuple[Annotated[str, AfterValidator(_nats_url)], ...], Field(min_length=1)] = Field(
        description="URLs of the servers: nats://host:4222, or tls:// for TLS."
    )
    subject: Template = Field(
        "interactions.{media}.{event}",
        description="Subject; {endpoint}, {media}, {subtype} and {event} stand for words of the event.",
    )
    stream: str | None = Field(
        None, min_length=1, description="Name of the stream that has to take it; left out, whichever holds the subject."
    )
    username: str | None = Field(None, min_length=1, description="User.")
    password: Secret | None = Field(None, description="Password.")
    token: Secret | None = Field(None, description="Token, where the server asks for one.")
    credentials_file: str | None = Field(None, min_length=1, description="File of credentials (JWT and NKey).")

    @classmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return any_in_common(one["servers"], other["servers"]) and meet(*cls._both("subject", one, other))

    @property
    def place(self) -> str:
        return " ".join(shown(server) for server in self.servers)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.username is None) != (self.password is None):
            refuse((("password" if self.username else "username",), "is missing: a user has both"))
        return self


class NatsSink:
    """One subscriber's subject. A delivery that comes twice within the stream's duplicate window is stored once."""

    def __init__(self, fields: Nats, options: SinkOptions) -> None:
        self._fields = fields
        self._options = options
        self._server = SharedConnection(lambda: _open(fields))

    async def deliver(self, event: Event) -> bool:
        """Returns when a stream has it, and whether it had it before. Raises a SendError."""
        packed = pack(event, self._options.envelope, self._options.public_url)
        headers = {
            "Nats-Msg-Id": delivery_key(self._options.subscriber, event),
            "webhook-id": event.id,
            "Content-Type": packed.content_type,
            **{f"ce-{name}": header_value(value) for name, value in packed.attributes.items()},
        }
        subject = filled(self._fields.subject, event)
        return await self._server.send(
            self._fields.timeout, lambda server: server.publish(subject, packed.body, headers, self._fields)
        )

    async def close(self) -> None:
        await self._server.close()


class _Server:
    """An open connection. nats-py leaves those who wait for an answer waiting when it closes, so they are told here."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self._waiting: set[asyncio.Timeout] = set()
        self._not_permitted = False

    @property
    def alive(self) -> bool:
        return self.client is not None and self.client.is_connected and not self._not_permitted

    async def close(self) -> None:
        if self.client is not None:
            await self.client.close()

    async def closed(self) -> None:
        """Called by the client when the connection is gone."""
        now = asyncio.get_running_loop().time()
        for patience in self._waiting:
            patience.reschedule(now)

    async def failed(self, error: Exception) -> None:
        """Called by the client with what went wrong beside any request; a forbidden subject is told only here."""
        if "permissions violation" in str(error).lower():
            self._not_permitted = True
            await self.closed()

    async def publish(self, subject: str, body: bytes, headers: dict[str, str], fields: Nats) -> bool:
        import nats.errors
        import nats.js.errors

        assert self.client is not None
        stream = self.client.jetstream()
        patience = asyncio.timeout(None)
        try:
            async with patience:
                self._waiting.add(patience)
                said = await stream.publish(
                    subject, body, timeout=fields.timeout, stream=fields.stream, headers=headers
                )
                return bool(said.duplicate)
        except TimeoutError:
            if self._not_permitted:
                raise AccountFault("not permitted") from None
            raise OutcomeUnknown("timeout" if self.alive else "connection lost") from None
        except nats.js.errors.NoStreamResponseError:  # also while a stream looks for its leader
            raise Unreachable("no stream") from None
        except nats.js.errors.APIError as error:
            raise _refused(error.err_code or 0) from None
        except nats.errors.MaxPayloadError:
            raise Refused("too large") from None
        except (nats.errors.Error, OSError):
            raise OutcomeUnknown("connection lost") from None
        except (ValueError, TypeError, KeyError, AttributeError):  # somebody answers on this subject who is no stream
            raise OutcomeUnknown("unreadable answer") from None
        finally:
            self._waiting.discard(patience)


def _refused(code: int) -> SendError:
    """What the stream said; the numbers are those of nats-server's server/errors.json."""
    if code in _A_PERSON_MUST:
        return AccountFault(str(code))
    return Refused(str(code)) if code in _NEVER else Deferred(str(code))


async def _open(fields: Nats) -> _Server:
    """Connect to the first server that answers. Trying again is not the client's to do: it would hide what is lost."""
    import nats.errors
    from nats.aio.client import Client

    encrypted = any(server.startswith("tls:") for server in fields.servers)

    class Careful(Client):
        """nats-py 2.16 speaks TLS where the server says so, and would send a password to one that says no."""

        def _connect_command(self) -> bytes:
            if encrypted and not self._server_info.get("tls_required"):
                raise nats.errors.SecureConnWantedError
            return super()._connect_command()

    server, client = _Server(), Careful()
    server.client = client
    try:
        await client.connect(
            servers=list(fields.servers),
            name="dcbridge",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # of one server before the next, and no end of them without this
            reconnect_time_wait=0,
            connect_timeout=max(1, round(fields.timeout)),
            ping_interval=PING_SECONDS,
            error_cb=server.failed,
            closed_cb=server.closed,
            tls=fields.tls() if encrypted or fields.ca_file or fields.client_certificate else None,
            user=fields.username,
            password=fields.password.get_secret_value() if fields.password else None,
            token=fields.token.get_secret_value() if fields.token else None,
            user_credentials=fields.credentials_file,
        )
    except BaseException as error:
        await leave(client.close)  # which would wait for ever where TLS was refused
        if isinstance(client.last_error, nats.errors.AuthorizationError) or _says_no(error):
            raise AccountFault("login") from None
        if isinstance(error, ssl.SSLError | nats.errors.SecureConnWantedError):
            raise Unreachable("tls") from None
        if isinstance(error, nats.errors.Error | OSError) and not isinstance(error, TimeoutError):
            raise Unreachable("connect") from None
        raise
    return server


def _says_no(error: BaseException) -> bool:
    """nats-py has one class for whatever a server says while one connects."""
    return "authorization" in str(error).lower()
