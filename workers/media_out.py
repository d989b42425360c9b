"""An agent's files: as the provider carries them, else as links in the text, else Failed 510; as the channel says.

What is decided for a message is decided for all of its attempts: by the files, which do not change, and the
configuration. A link ends with a time that is counted from the message's acceptance, so it is the same each time.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from dcbridge.config.models import Channel
from dcbridge.errors import Deferred, Refused
from dcbridge.genesys.payloads import MAX_MEDIA
from dcbridge.ledger import MessageClaim
from dcbridge.messages import AgentMessage, Content, Reason
from dcbridge.providers.base import MediaFile, MediaLimits, Provider
from dcbridge.settings.process import DAY
from workers.context import WorkerContext

LARGE = 1 << 18  # bytes of files in a request, above which it keeps its place in memory until it is sent
FOR_PROVIDERS = DAY  # seconds, after a message's time to live, for which its provider may fetch a file


async def with_media(
    ctx: WorkerContext,
    channel: Channel,
    provider: Provider,
    message: AgentMessage,
    claimed: MessageClaim,
    held: AsyncExitStack | None = None,
) -> tuple[AgentMessage, tuple[MediaFile, ...]]:
    """The message as it is sent, and its files where the provider carries them. `held` ends when their bytes are not
    needed any more: those of many messages at once would take all memory.

    Raises Refused (510), or a SendError while a file cannot be read.
    """
    if not message.media:
        return message, ()
    if len(message.media) > MAX_MEDIA:
        raise Refused(f"more than {MAX_MEDIA} files", reason=Reason.UNSUPPORTED)
    accepted_at = (claimed.entry.accepted_at or 0) / 1000
    if provider.can.media is not None:
        files = await _files(ctx, channel, provider.can.media, message, accepted_at, held)
        if files:
            ctx.metrics.media.labels("out", "carried").inc(len(files))
            return message, files
    if channel.media.instead == "refuse":
        ctx.metrics.media.labels("out", "refused").inc(len(message.media))
        raise Refused("files are not carried", reason=Reason.UNSUPPORTED)
    until = accepted_at + ctx.configuration.media.link_life
    links = [_link(ctx, message, media_id, until) for media_id in message.media]
    ctx.metrics.media.labels("out", "link").inc(len(links))
    return _with_links(message, links), ()


async def _files(
    ctx: WorkerContext,
    channel: Channel,
    limits: MediaLimits,
    message: AgentMessage,
    accepted_at: float,
    held: AsyncExitStack | None,
) -> tuple[MediaFile, ...]:
    """All of them, or none where the provider does not carry all. Raises as `with_media`."""
    if len(message.media) > limits.files:
        return ()
    async with AsyncExitStack() as room:
        await room.enter_async_context(ctx.files.room("agents"))
        try:
            async with asyncio.timeout(ctx.settings.lease / 2):
                found = await _read(ctx, channel, limits, message, accepted_at)
        except TimeoutError:  # before the claim ends: nothing was sent, and it is no unknown outcome
            raise Deferred("media timeout") from None
        if held is not None and sum(len(file.data) for file in found) > LARGE:
            held.push_async_callback(room.pop_all().aclose)
        return found


async def _read(
    ctx: WorkerContext, channel: Channel, limits: MediaLimits, message: AgentMessage, accepted_at: float
) -> tuple[MediaFile, ...]:
    until = accepted_at + channel.time_to_live + FOR_PROVIDERS
    found: list[MediaFile] = []
    for place, media_id in enumerate(message.media, 1):
        try:
            facts = await ctx.files.facts(message.channel_id, media_id)
        except Refused as error:  # it is not there, or larger than anything that is carried
            if error.code.endswith("too long"):
                return ()
            raise Refused("no such file", reason=Reason.UNSUPPORTED) from None
        name = f"file{place if len(message.media) > 1 else ''}.{facts.type.extension}"
        url = "" if limits.as_data else _link(ctx, message, media_id, until)
        found.append(MediaFile(name, facts.type.mimetype, facts.size, url))
    if not limits.carry(found):
        return ()
    if limits.as_data:
        for place, media_id in enumerate(message.media):
            found[place] = replace(found[place], data=await ctx.files.of_agent(message.channel_id, media_id))
    return tuple(found)


def _link(ctx: WorkerContext, message: AgentMessage, media_id: str, until: float) -> str:
    return ctx.files.links.url(message.channel_id, media_id, until)


def _with_links(message: AgentMessage, links: Sequence[str]) -> AgentMessage:
    """The message with links in place of its files; of an email, in both of its forms."""
    listed = "\n".join(links)
    if message.type != "Email":
        return replace(message, text="\n".join(filter(str.strip, (message.text, listed))), media=())
    kinds = {content.type for content in message.contents if content.text.strip()} & {"text", "html"}
    more = []
    if "html" in kinds:
        shown = "<br>".join(f'<a href="{html.escape(url)}">{html.escape(url)}</a>' for url in links)
        more.append(Content("html", f"<p>{shown}</p>"))
    if "text" in kinds or not kinds:
        more.append(Content("text", f"\n{listed}" if kinds else listed))
    return replace(message, contents=(*message.contents, *more), media=())
