"""The Digital Channels client: messages, receipts, media (contract/third-party-messaging.txt).

It builds requests that carry X-Hub-Signature over exactly the bytes that are sent, x-ccid and, where
they are known, X-B3-TraceId and x-api-key; and it reads answers in layers: the HTTP status, then
`status.code`, then whatever else an answer may hold. `Sender` carries both.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from dcbridge import retry_after
from dcbridge.config.models import Configuration
from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, Throttled, Undecodable, Unreadable
from dcbridge.genesys import answers, payloads, signature
from dcbridge.genesys.paths import segment
from dcbridge.ledger.uploads import Uploaded
from dcbridge.messages import Receipt
from dcbridge.platform import UNKNOWN_ORIGIN, Origin
from dcbridge.platform import Media as Media
from dcbridge.tracing.ids import split
from dcbridge.transport.scanning import pieces
from dcbridge.transport.sender import Sender, Streamed

_SAID = 65536  # bytes of an answer that says why there is no file


@dataclass(frozen=True, slots=True)
class Party:
    """What a request about a channel is signed and named with. Unknown channels get their endpoint's."""

    channel_id: str
    secret: bytes
    contact_center_id: str


class DigitalChannels:
    """Calls to /nexus/v3 of one installation. Every call raises a SendError when it was not taken."""

    name: Final = "digital-channels"
    receipts_at_once: Final = 1_000_000  # `DCBRIDGE_RECEIPT_BATCH` says how many are posted together

    def __init__(self, configuration: Configuration, sender: Sender) -> None:
        self._configuration = configuration
        self._settings = configuration.digital_channels
        self._sender = sender

    @property
    def longest_pause(self) -> float:
        """Seconds for which a Retry-After is kept at most."""
        return self._settings.longest_pause

    def party(self, channel_id: str, endpoint: str = "") -> Party:
        """How to speak about a channel; for one that is not configured, as the endpoint it came to does."""
        configuration = self._configuration
        if configuration.channel(channel_id) is not None:
            return Party(channel_id, configuration.signing_secret(channel_id), configuration.ccid(channel_id))
        name = endpoint if endpoint in configuration.endpoints else next(iter(configuration.endpoints))
        return Party(channel_id, configuration.secrets_for(name)[0], self._settings.contact_center_id)

    async def post_consumer_message(
        self, channel_id: str, consumer_id: str, text: str, trace_id: str = "",
        others: Sequence[Mapping[str, Any]] = (), origin: Origin = UNKNOWN_ORIGIN,
    ) -> list[str]:  # fmt: skip
        """Hand a consumer's text to the agent, and other messages beside it; the ids that Digital Channels gave."""
        body = payloads.write_consumer_message(consumer_id, channel_id, text, others)
        return _accepted(await self._post_messages(self.party(channel_id), body, trace_id))

    async def post_consumer_email(
        self, channel_id: str, consumer_id: str, email: Mapping[str, str], text: str, trace_id: str = "",
        others: Sequence[Mapping[str, Any]] = (), origin: Origin = UNKNOWN_ORIGIN,
    ) -> list[str]:  # fmt: skip
        """The same of a mail, as an email. `email`: its subject, html, the name of who wrote, and the mailbox `to`."""
        body = payloads.write_consumer_email(
            consumer_id, email["name"], email["to"], email["subject"], text, email["html"], others
        )
        return _accepted(await self._post_messages(self.party(channel_id), body, trace_id))

    async def post_receipts(
        self, channel_id: str, receipts: Sequence[Receipt], trace_id: str = "", endpoint: str = ""
    ) -> None:
        """All receipts in one request: taken together or refused together."""
        _accepted(
            await self._post_messages(self.party(channel_id, endpoint), payloads.write_receipts(receipts), trace_id)
        )

    async def upload(self, channel_id: str, filename: str, mimetype: str, data: bytes, trace_id: str = "") -> Media:
        """Keep a file at Digital Channels, to be named in a message by its url."""
        boundary = secrets.token_hex(16)
        shown = filename.replace("\\", "_").replace('"', "%22").replace("\r", "").replace("\n", "")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n'
            f"Content-Type: {mimetype}\r\n\r\n"
        )
        body = (head.encode(), data, f"\r\n--{boundary}--\r\n".encode())  # never put together: it may be large
        covered = {"raw_body": body, "file_bytes": (data,), "empty": ()}[self._settings.media_signature]
        party = self.party(channel_id)
        request = self._request(
            "POST", party, "media", signature.sign_pieces(party.secret, *covered), trace_id,
            f"multipart/form-data; boundary={boundary}",
        )  # fmt: skip
        request.headers["Content-Length"] = str(sum(map(len, body)))
        _accepted(response := await self._sender.http(request, pieces(*body)))
        try:
            told = json.loads(response.content)["data"]
            return Media(
                str(told["mediaId"]), str(told["url"]), str(told.get("filename", filename)),
                str(told.get("mimetype", mimetype)), int(told.get("length", len(data))),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreadable("no media id") from None

    def carrying(self, files: Sequence[Uploaded]) -> Sequence[Mapping[str, Any]] | None:
        """A message for each file, as `rich_media` says; without it, the text has links."""
        template = self._settings.rich_media
        return None if template is None else [filled(template, file) for file in files]

    async def download(self, channel_id: str, media_id: str, trace_id: str = "") -> bytes:
        """The bytes of a file, up to the sender's limit."""
        async with self.file(channel_id, media_id, self._sender.answer_limit, trace_id) as answer:
            return await answer.whole()

    @asynccontextmanager
    async def file(self, channel_id: str, media_id: str, most: int, trace_id: str = "") -> AsyncIterator[Streamed]:
        """A file of at most `most` bytes, piece by piece. Raises a SendError where there is none."""
        request = self._request(*self._about(channel_id, "GET", media_id), trace_id)
        async with self._sender.stream(request, most) as answer:
            if answer.status != 200:
                body = await answer.whole() if not 200 <= answer.status < 300 else b""
                _accepted(httpx.Response(answer.status, headers=answer.headers, content=body[:_SAID]))
                raise Unreadable(f"http {answer.status}")
            yield answer

    async def delete(self, channel_id: str, media_id: str, trace_id: str = "") -> None:
        """Forget a file. Any 2xx is done: the answer may be empty, or nothing that can be read."""
        try:
            response = await self._sender.http(self._request(*self._about(channel_id, "DELETE", media_id), trace_id))
        except Undecodable:
            return
        if not 200 <= response.status_code < 300:
            _accepted(response)

    async def _post_messages(self, party: Party, body: bytes, trace_id: str) -> httpx.Response:
        signed = signature.sign(party.secret, body)
        return await self._sender.http(
            self._request("POST", party, "messages", signed, trace_id, "application/json", body)
        )

    def _about(self, channel_id: str, method: str, media_id: str) -> tuple[str, Party, str, str]:
        """A request without a body about one file: its method, party, path and signature."""
        party, what = self.party(channel_id), f"media/{segment(media_id)}"
        if self._settings.empty_signature == "omit":
            return method, party, what, ""
        covered = urlsplit(self._url(party, what)).path.encode() if self._settings.empty_signature == "path" else b""
        return method, party, what, signature.sign(party.secret, covered)

    def _url(self, party: Party, what: str) -> str:
        return f"{self._settings.base_url}/channels/{segment(party.channel_id)}/{what}"

    def _request(
        self, method: str, party: Party, what: str, signed: str, trace_id: str, content_type: str = "",
        body: bytes = b"",
    ) -> httpx.Request:  # fmt: skip
        headers = {"x-ccid": party.contact_center_id, "Accept": "application/json"}
        if signed:
            headers[signature.HEADER] = signed
        if content_type:
            headers["Content-Type"] = content_type
        if trace_id:
            headers["X-B3-TraceId"] = split(trace_id)[0]
        if self._settings.api_key is not None:
            headers["x-api-key"] = self._settings.api_key.get_secret_value()
        return httpx.Request(method, self._url(party, what), headers=headers, content=body)


def _accepted(response: httpx.Response) -> list[str]:
    """The ids of a taken call. Raises what follows from any other answer.

    Which cause gives which status is not documented, so: 3xx, 401 and 403 are a fault of the configuration
    and wait for an operator, other 4xx are about this request, 429 and 5xx pass.
    """
    http = response.status_code
    code, ids, said = answers.read_answer(response.content)
    if 200 <= http < 300:
        if code in (0, 1) or (code is None and not said.strip()):
            return ids
        if code is None:  # a page of something in between says 200 as well
            raise Unreadable(f"http {http} without a status")
        raise Refused(f"status {code}")  # 2: some of it was taken; nothing of it is sent again blindly
    if http in (429, 503):
        raise Throttled(f"http {http}", retry_after=retry_after.longest(response.headers.get_list("retry-after")))
    if http >= 500 or http == 408:
        raise OutcomeUnknown(f"http {http}")
    if http in (401, 403) or 300 <= http < 400:  # a redirect: base_url is not Digital Channels' own
        raise AccountFault(f"http {http}")
    raise Refused(f"http {http}" + (f" status {code}" if code is not None else ""))


def filled(template: Any, file: Uploaded) -> Any:
    """The same value, with a file's values in its texts."""
    if isinstance(template, str) and template.startswith("="):
        return orjson.loads(template[1:])
    if isinstance(template, str):
        values = {"url": file.url, "name": file.name, "mimetype": file.mimetype, "size": str(file.size)}
        for name, value in values.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    if isinstance(template, Mapping):
        return {name: filled(one, file) for name, one in template.items()}
    return [filled(one, file) for one in template] if isinstance(template, list) else template
