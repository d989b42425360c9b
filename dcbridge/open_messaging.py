"""The client of Genesys Cloud's Open Messaging: messages, receipts and files of the integrations of one organization.

Each request carries the token of the organization's OAuth client, which all processes share. A receipt and a message
have a request each; Genesys Cloud documents no lists. A consumer's file is kept here, and Genesys Cloud reads it by a
link of ours; an agent's file is read at Genesys Cloud, from hosts that were allowed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx

from dcbridge.config.genesys_cloud import Organization
from dcbridge.errors import (
    AccountFault,
    OutcomeUnknown,
    Refused,
    SendError,
    Throttled,
    Undecodable,
    Unreadable,
)
from dcbridge.genesys import cloud
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from dcbridge.genesys.paths import segment
from dcbridge.genesys.payloads import CLOUD_MEDIA
from dcbridge.interfaces import Interfaces, SharedToken
from dcbridge.json_values import a_text
from dcbridge.ledger import Ledger
from dcbridge.ledger.blobs import NoRoom
from dcbridge.ledger.uploads import Uploaded
from dcbridge.media.links import Links, cached_as
from dcbridge.messages import Receipt
from dcbridge.platform import UNKNOWN_ORIGIN, Media, Origin
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.sender import Sender, Streamed
from dcbridge.transport.ssrf import Guard

MESSAGE = Operation("open_messaging", "message", bearer=True)
RECEIPT = Operation("open_messaging", "receipt", bearer=True)
INTEGRATION = Operation("open_messaging", "integration", bearer=True)
_MOVED = (301, 302, 303, 307, 308)
_FETCH_SECONDS = 10.0


class OpenMessaging:
    """One organization. Every call raises a SendError when it was not taken."""

    name: Final = "open-messaging"
    receipts_at_once: Final = 1

    def __init__(
        self,
        organization: Organization,
        token: SharedToken,
        sender: Sender,
        ledger: Ledger,
        metrics: Metrics,
        links: Links,
        link_life: float,
    ) -> None:
        """`link_life`: seconds for which a consumer's file is kept, and its link leads to it."""
        self._organization, self._token, self._sender = organization, token, sender
        self._interfaces = Interfaces("", token, sender, ledger, metrics)
        self._ledger, self._links, self._link_life = ledger, links, link_life
        self._quiet_until = 0.0  # by the steady clock: the client was told to wait, whichever request asks next

    @property
    def longest_pause(self) -> float:
        """Seconds for which a Retry-After is kept at most."""
        return self._organization.longest_pause

    # ------------------------------------------------------------ to the agent

    async def post_receipts(
        self, channel_id: str, receipts: Sequence[Receipt], trace_id: str = "", endpoint: str = ""
    ) -> None:
        """One at a time: `receipts_at_once`."""
        for receipt in receipts:
            body = cloud.write_receipt(receipt, time.time())
            await self._post(RECEIPT, channel_id, "receipt", body, trace_id)

    async def post_consumer_message(
        self, channel_id: str, consumer_id: str, text: str, trace_id: str = "",
        others: Sequence[Mapping[str, Any]] = (), origin: Origin = UNKNOWN_ORIGIN,
    ) -> list[str]:  # fmt: skip
        """Hand a consumer's text to the agent, with at most one file; the id that Genesys Cloud gave.

        Our own id goes along as that of the message, and is the same at each attempt. That Genesys Cloud knows a second
        one by it is documented nowhere.
        """
        body = cloud.write_message(consumer_id, text, origin.message_id, origin.at or time.time(), others)
        reading = await self._post(MESSAGE, channel_id, "message", body, trace_id)
        made = a_text(reading.whole.get("id"))
        return [made] if made else []

    async def post_consumer_email(
        self, channel_id: str, consumer_id: str, email: Mapping[str, str], text: str, trace_id: str = "",
        others: Sequence[Mapping[str, Any]] = (), origin: Origin = UNKNOWN_ORIGIN,
    ) -> list[str]:  # fmt: skip
        """There is no email here: what calls this sends it as a text then."""
        raise Refused("no email")

    async def _post(self, operation: Operation, channel_id: str, what: str, body: bytes, trace_id: str) -> Reading:
        if (left := self._quiet_until - time.monotonic()) > 0:
            raise Throttled("http 429", retry_after=left)
        url = f"{self._organization.api}/api/v2/conversations/messages/{segment(channel_id)}/inbound/open/{what}"
        request = httpx.Request("POST", url, headers={"Content-Type": "application/json"}, content=body)
        reading = await self._interfaces.send(operation, request, trace_id)
        if 200 <= reading.http < 300:  # the form of its answer is not what it was taken by
            if not reading.is_json:
                raise Undecodable(f"http {reading.http}, body not readable: no JSON object")
            return reading
        raise self._error(reading)

    def _error(self, reading: Reading) -> SendError:
        error = reading.error()
        if not isinstance(error, Throttled):
            return error
        pause = min(error.retry_after or 0.0, self.longest_pause)
        self._quiet_until = max(self._quiet_until, time.monotonic() + pause)
        return Throttled(error.code, retry_after=error.retry_after)

    async def integration(self, channel_id: str) -> Reading:
        """What Genesys Cloud knows of an integration, whatever it answers."""
        where = f"/api/v2/conversations/messaging/integrations/open/{segment(channel_id)}"
        request = httpx.Request("GET", self._organization.api + where)
        return await self._interfaces.send(INTEGRATION, request)

    # ------------------------------------------------------------ files

    async def upload(self, channel_id: str, filename: str, mimetype: str, data: bytes, trace_id: str = "") -> Media:
        """Keep a consumer's file here, for Genesys Cloud to read by a link."""
        media_id = str(uuid.uuid4())
        try:
            await self._ledger.blobs.put(data, keep=self._link_life, blob_id=cached_as(channel_id, media_id))
        except (NoRoom, OSError):  # an operator has to make space; the text goes without it in the end
            raise AccountFault("no space for the file") from None
        url = self._links.url(channel_id, media_id, time.time() + self._link_life)
        return Media(media_id, url, filename, mimetype, len(data))

    def carrying(self, files: Sequence[Uploaded]) -> Sequence[Mapping[str, Any]] | None:
        """One file, as a message has at most one attachment; of several, the text has links."""
        if len(files) != 1:
            return None
        return [cloud.attachment(files[0].url, files[0].name, files[0].mimetype)]

    async def delete(self, channel_id: str, media_id: str, trace_id: str = "") -> None:
        await self._ledger.blobs.delete(cached_as(channel_id, media_id))

    @asynccontextmanager
    async def file(self, channel_id: str, media_id: str, most: int, trace_id: str = "") -> AsyncIterator[Streamed]:
        """An agent's file, with the token where files are; where it has moved, from any public address, without it."""
        url = self._place(media_id)
        token = await self._token.token() if self._organization.takes_token(url) else ""
        async with AsyncExitStack() as stack:
            asked = httpx.Request("GET", url, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = await stack.enter_async_context(self._sender.stream(asked, most))
            if answer.status in _MOVED:
                answer = await self._moved(stack, url, answer, most)
            if answer.status == 401 and token:
                await self._token.another_soon(token)
            if answer.status != 200:
                raise _no_file(answer.status)
            yield answer

    async def _moved(self, stack: AsyncExitStack, url: httpx.URL, answer: Streamed, most: int) -> Streamed:
        """To a store with a signature in its URL, say. A private address is reached at the same host only."""
        try:
            found = url.join(answer.headers.get("location", ""))
        except httpx.InvalidURL:
            raise Refused("media wrong host") from None
        if found.userinfo or found.scheme not in ("https", url.scheme):
            raise Refused("media wrong host")
        guard = Guard(found.host, [found.host] if found.host == url.host else [])
        if guard.refuses(found.host):
            raise Refused("media wrong host")
        sender = Sender(read_timeout=_FETCH_SECONDS, connections=1, answer_limit=self._sender.answer_limit, guard=guard)
        await stack.enter_async_context(sender)
        try:
            return await stack.enter_async_context(sender.stream(httpx.Request("GET", found), most))
        except AccountFault:  # a name that leads to an address which is not public
            raise Refused("media wrong host") from None

    def _place(self, media_id: str) -> httpx.URL:
        """Where a file is. Raises Refused for what is no file of an agent's, or at a host that is not allowed."""
        if not media_id.startswith(CLOUD_MEDIA):
            raise Refused("http 404")  # a consumer's file that is not kept any more
        try:
            url = httpx.URL(cloud.file_url(media_id))
        except httpx.InvalidURL:
            raise Refused("media wrong host") from None
        place = url.host if url.port is None else f"{url.host}:{url.port}"
        plain_http = url.scheme != "https" and not self._organization.api.startswith("http://")
        if url.userinfo or plain_http or place not in self._organization.file_hosts:
            raise Refused("media wrong host")
        return url

    async def close(self) -> None:
        await self._interfaces.close()


def _no_file(status: int) -> SendError:
    if status in (401, 403):
        return AccountFault(f"http {status}")
    if status == 429:
        return Throttled(f"http {status}")
    if status >= 500 or status == 408:
        return OutcomeUnknown(f"http {status}")
    return Unreadable(f"http {status}") if status < 300 else Refused(f"http {status}")
