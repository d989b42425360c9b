"""What no single field of bridge.yaml can know: whether names, types and secrets fit together.

Looks at the tree as it was read, so that it has its say also where a field was refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from phonenumbers import SUPPORTED_REGIONS

from dcbridge.config import (
    answer_checks,
    genesys_cloud,
    imap,
    secure_email,
    secure_messages,
    sender_checks,
    text_back,
    triggers,
)
from dcbridge.config.inbound import base_of
from dcbridge.config.statistics import no_watch
from dcbridge.events.sinks import targets
from dcbridge.events.sinks.kinds import missing
from dcbridge.mail.reply_tokens import LONGEST, LONGEST_LOCAL
from dcbridge.providers import KINDS
from dcbridge.providers.mailboxes import own_mailbox
from dcbridge.providers.phone import address_key, own_number
from dcbridge.settings.problems import Path, counted, did_you_mean, shape
from dcbridge.settings.types import is_loopback

EVENTS = (
    "STARTED", "FINISHED", "interaction.gap", "subscriber.failing", "subscriber.recovered", "subscriber.disabled",
    "subscriber.enabled", "delivery.dead", "consent.stopped", "consent.started",
    "dead_letter.written", "dead_letter.replayed", "dead_letter.dropped", "dead_letter.handled",
    "statistic.crossed", "statistics.unavailable", "statistics.available",
)  # fmt: skip
SECRET_LENGTH = 16  # characters; a shorter one is for a bridge on this computer itself


class Finding(NamedTuple):
    """Something that does not fit; a warning when it is not fatal."""

    path: Path
    what: str
    suggestion: str = ""
    fatal: bool = True


def check(tree: Mapping[str, Any], substituted: Collection[Path]) -> Iterator[Finding]:
    """Everything that does not fit; `substituted` are the values that may not be quoted."""
    endpoints, providers, channels = (_section(tree, name) for name in ("endpoints", "providers", "channels"))
    left = genesys_cloud.endpoints_left(endpoints, genesys_cloud.endpoints_named(channels))
    for channel_id, channel in channels.items():
        path: Path = ("channels", channel_id)
        if channel.get("quiet_hours") is not None and channel.get("type") == "email":
            yield Finding((*path, "quiet_hours"), "is for channels of type sms", "leave it out")
        hold = channel.get("hold_while")
        name = hold.get("statistic") if isinstance(hold, Mapping) else None
        if isinstance(name, str) and (problem := no_watch(name, tree)):
            yield Finding((*path, "hold_while", "statistic"), f"is not watched: {problem}")
        for at, name in _providers_of(channel):
            yield from _named((*path, *at), name, providers, "provider", substituted)
        yield from _named((*path, "endpoint"), channel.get("endpoint"), endpoints, "endpoint", substituted)
        names = left.get(str(channel.get("platform", "digital_channels")), [])
        if channel.get("endpoint") is None and len(names) > 1:
            yield Finding(
                (*path, "endpoint"), "is missing, and there are several endpoints", f"choose from {', '.join(names)}"
            )
        yield from _carried(path, channel, providers)
        its = list(dict.fromkeys(name for _, name in _providers_of(channel)))
        yield from (Finding(*one) for one in sender_checks.check(channel_id, channel, its, providers))
    yield from _bookings(tree, channels)
    yield from _numbers(channels, providers)
    yield from _inbound(channels, tree)
    yield from (Finding(*one) for one in imap.shared(channels))
    yield from (Finding(*one) for one in answer_checks.check(tree))
    yield from (Finding(*one) for one in triggers.check(tree))
    yield from (Finding(*one) for one in genesys_cloud.check(tree, channels))
    yield from (Finding(*one) for one in text_back.check(tree))
    yield from (Finding(*one) for one in secure_messages.check(tree))
    yield from _secrets(tree)
    yield from _addresses(tree)
    yield from _sinks(tree)
    for section, entries in (("provider", providers), ("endpoint", endpoints)):
        usual = {one: names[0] for one, names in left.items() if names}
        used = {
            channel.get(section) or usual.get(str(channel.get("platform", "digital_channels")))
            for channel in channels.values()
        }
        if section == "provider":
            used = {name for channel in channels.values() for _, name in _providers_of(channel)}
        if channels and not (section == "endpoint" and len(entries) == 1):
            for name in entries:
                if name not in used:
                    yield Finding((f"{section}s", name), "is used by no channel", fatal=False)


def _section(tree: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """The entries of a section that are mappings; others were refused already, and keep their names."""
    section = tree.get(name)
    if not isinstance(section, Mapping):
        return {}
    return {key: value if isinstance(value, Mapping) else {} for key, value in section.items()}


def _named(
    path: Path, name: object, entries: Mapping[str, object], noun: str, substituted: Collection[Path]
) -> Iterator[Finding]:
    if not isinstance(name, str) or name in entries:
        return
    shown = shape(name) if path in substituted else f'"{name}"'
    near = did_you_mean(name, entries)
    known = f"there is {', '.join(entries)}" if entries else f"there is no {noun} at all"
    yield Finding(path, f"no {noun} is named {shown}", near or known)


def _providers_of(channel: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Each name that stands there, and where."""
    several = channel.get("providers")
    found: list[tuple[Path, object]] = [(("provider",), channel.get("provider"))]
    if isinstance(several, list):
        found += [(("providers", at), name) for at, name in enumerate(several)]
    return [(at, name) for at, name in found if isinstance(name, str)]


def _carried(path: Path, channel: Mapping[str, Any], providers: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    kind_of_channel, named = channel.get("type"), _providers_of(channel)
    if kind_of_channel not in ("sms", "email"):
        return
    for at, name in named:
        kind = providers.get(name, {}).get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            continue
        types = KINDS[kind].can.channel_types
        if kind_of_channel not in types:
            carried = " and ".join(sorted(types))
            yield Finding((*path, *at), f"{kind} carries {carried}, and this channel is {kind_of_channel}")
    if len(named) == 1 and channel.get("outcome_unknown") == "resend_elsewhere":
        what = "has no other provider: a message is sent again through the same one"
        yield Finding((*path, "outcome_unknown"), what, "write resend, or add a provider to providers", fatal=False)
    numbers = channel.get("numbers")
    for name in numbers if isinstance(numbers, Mapping) else ():
        if name not in {one for _, one in named}:
            yield Finding((*path, "numbers", name), "is none of the channel's providers")


def _numbers(
    channels: Mapping[str, Mapping[str, Any]], providers: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    """A number that nothing can be sent from or answered to, and one that two channels have at one provider."""
    first: dict[tuple[str, str], str] = {}
    for channel_id, channel in channels.items():
        given = channel.get("number")
        number = given if isinstance(given, str) and given else channel_id
        if channel.get("type") == "email" and number is given:
            yield from _mailbox(("channels", channel_id, "number"), number)
        if channel.get("type") != "sms":
            continue
        region = channel.get("default_region")
        if region is not None and region not in SUPPORTED_REGIONS:
            continue  # refused by its field
        told = set[str]()
        for _, name in _providers_of(channel) or [((), "None")]:
            for at, written, given in sender_checks.written(channel, channel_id, name):
                try:
                    spelled = own_number(written, region, sender_checks.senders_of(name, providers))
                except ValueError as error:
                    if str(error) in told:
                        continue
                    told.add(str(error))
                    if given:
                        yield Finding(at, str(error))
                    else:  # a provider may have a sender of its own, and nobody need answer
                        why = f"is not given, and the channel id, which stands in for it, {error}"
                        yield Finding(("channels", channel_id), f"number {why}", fatal=False)
                    continue
                if re.search(r"[A-Za-z]", spelled) and ":" not in spelled:  # the name of a sender is answered by nobody
                    continue
                other = first.setdefault((name, address_key(spelled)), channel_id)
                if other != channel_id:
                    why = "at the same provider: what a consumer answers is for either"
                    yield Finding(
                        at, f'has the number of channel "{other}" {why}', "give each channel a number of its own"
                    )


def _bookings(tree: Mapping[str, Any], channels: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Calls that nobody could book, and two rules that ask one consumer about two calls."""
    genesys = tree.get("genesys")
    without = not isinstance(genesys, Mapping) or genesys.get("engagement") is None
    for channel_id, channel in channels.items():
        path: Path = ("channels", channel_id)
        rules, failed = channel.get("answers"), channel.get("on_failed")
        books: list[Path] = [
            (*path, "answers", place, "book")
            for place, rule in enumerate(rules if isinstance(rules, list) else [])
            if isinstance(rule, Mapping) and rule.get("book") is not None
        ]
        if len(books) > 1:
            yield Finding(books[1], "is the second rule here that books calls", "give one rule all the words")
        if failed is not None and channel.get("type") == "email":
            yield Finding((*path, "on_failed"), "is for channels of type sms", "leave it out")
        for one in [*books, *([(*path, "on_failed")] if failed is not None else [])] if without else []:
            yield Finding(one, "needs genesys.engagement", "add `engagement: {}` to `genesys`")


_ROOM = LONGEST_LOCAL - LONGEST - 1  # bytes of a mailbox before a + and a reference


def _inbound(channels: Mapping[str, Mapping[str, Any]], tree: Mapping[str, Any]) -> Iterator[Finding]:
    """Mail for a channel that takes none, and a mailbox that two channels have."""
    first: dict[str, str] = {}
    by_domain: dict[str, str] = {}
    for channel_id, channel in channels.items():
        if channel.get("suppress") is not None and channel.get("type") == "sms":
            what = "is for channels of type email"
            yield Finding(("channels", channel_id, "suppress"), what, "leave it out: of SMS see `consent`")
        inbound = channel.get("inbound")
        if not isinstance(inbound, Mapping):
            continue
        path: Path = ("channels", channel_id, "inbound")
        if channel.get("type") != "email":
            yield Finding(path, "is for channels of type email", "leave it out: SMS come by the provider's callback")
        yield from _way_to_genesys(path, inbound, tree)
        addresses = inbound.get("addresses")
        for place, address in enumerate(addresses if isinstance(addresses, list) else []):
            if not isinstance(address, str):
                continue
            mailbox = base_of(address)
            if "+" in address.partition("@")[0]:
                yield Finding((*path, "addresses", place), "has a +: what stands behind it is ignored", "leave it out")
            elif first.setdefault(mailbox, channel_id) != channel_id:
                what = f'is a mailbox of channel "{first[mailbox]}" as well: its mail would be for either'
                yield Finding((*path, "addresses", place), what, "give each channel mailboxes of its own")
            if inbound.get("reply_reference") == "plus" and len(mailbox.rpartition("@")[0].encode()) > _ROOM:
                what = f"has more than {_ROOM} bytes before the @: there is no room for a reference behind a +"
                yield Finding(
                    (*path, "addresses", place), what, "use a shorter mailbox, or reply_reference: local_part"
                )
            elif inbound.get("reply_reference") == "local_part":
                domain = address.rpartition("@")[2].lower()
                if by_domain.setdefault(domain, channel_id) != channel_id:
                    what = f'is local_part for channel "{by_domain[domain]}" of this domain as well'
                    yield Finding((*path, "reply_reference"), what, "use plus in one of them")


def _way_to_genesys(path: Path, inbound: Mapping[str, Any], tree: Mapping[str, Any]) -> Iterator[Finding]:
    to, genesys = inbound.get("to"), tree.get("genesys")
    if to == "securemail":
        yield from (Finding(*one) for one in secure_email.way((*path, "to"), tree))
    elif to == "openmedia":
        if inbound.get("service") is None:
            yield Finding((*path, "service"), "is missing: to is openmedia", "write the name of the open media service")
        if not isinstance(genesys, Mapping) or genesys.get("api_key") is None:
            what = "is missing: a channel has inbound.to: openmedia, which is sent to Genesys with an API key"
            yield Finding(("genesys", "api_key"), what, "write genesys with base_url and api_key")
    elif inbound.get("service") is not None:
        yield Finding((*path, "service"), "is not used", "leave it out, or set to: openmedia", fatal=False)


def _mailbox(path: Path, written: str) -> Iterator[Finding]:
    try:
        mailbox = own_mailbox(written)
    except ValueError as error:
        yield Finding(path, str(error))
        return
    if not mailbox.isascii():
        what = "is not ASCII before the @: mail systems without SMTPUTF8 refuse what it sends"
        yield Finding(path, what, "choose a mailbox of ASCII letters", fatal=False)


def _secrets(tree: Mapping[str, Any]) -> Iterator[Finding]:
    public_url = tree.get("public_url")
    for path, secret in _each_secret(tree):
        if not secret:
            continue  # refused by its field
        if len(secret) < SECRET_LENGTH:
            what = f"has {counted(len(secret), 'character')}; a secret needs at least {SECRET_LENGTH}"
            yield Finding(path, what, fatal=not (isinstance(public_url, str) and is_loopback(public_url)))
        if secret != secret.strip():
            yield Finding(path, "has white space around it, which is then part of the secret", fatal=False)


def _each_secret(tree: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for section in ("endpoints", "interactions", "channels"):
        for name, entry in _section(tree, section).items():
            for key in ("secrets", "retired_secrets"):
                values = entry.get(key)
                for index, secret in enumerate(values if isinstance(values, list) else []):
                    if isinstance(secret, str):
                        yield (section, name, key, index), secret


def _addresses(tree: Mapping[str, Any]) -> Iterator[Finding]:
    digital_channels = tree.get("digital_channels")
    base_url = digital_channels.get("base_url") if isinstance(digital_channels, Mapping) else None
    if not isinstance(base_url, str):
        return
    path: Path = ("digital_channels", "base_url")
    if not base_url.rstrip("/").endswith("/nexus/v3"):
        yield Finding(path, "does not end in /nexus/v3", fatal=False)
    if base_url.startswith("http://") and not is_loopback(base_url):
        yield Finding(path, "is http: messages and keys travel unencrypted", fatal=False)


def _is_verified(tree: Mapping[str, Any]) -> bool:
    genesys = tree.get("genesys")
    enrichment = genesys.get("enrichment") if isinstance(genesys, Mapping) else None
    return isinstance(enrichment, Mapping) and _is_true(enrichment.get("verified"))


def _is_true(value: object) -> bool:
    """As it stands in the file, before its field has read it."""
    return str(value).lower() == "true"


def _sinks(tree: Mapping[str, Any]) -> Iterator[Finding]:
    subscribers = _section(tree, "subscribers")
    for name, subscriber in subscribers.items():
        path: Path = ("subscribers", name, "sink")
        sink = subscriber.get("sink")
        if not isinstance(sink, Mapping) or not isinstance(kind := sink.get("kind"), str):
            continue
        if absent := missing(kind):
            yield Finding((*path, "kind"), *absent)
        url = sink.get("url")
        if _is_true(subscriber.get("enrich")) and not _is_verified(tree):
            what = "needs genesys.enrichment with `verified: true`"
            yield Finding(("subscribers", name, "enrich"), what, "look at your tenant's answers first, or leave it out")
        if kind == "http" and isinstance(url, str) and url.startswith("http://") and not is_loopback(url):
            yield Finding((*path, "url"), "is http: events travel signed and unencrypted", fatal=False)
        for at, event in enumerate(subscriber.get("events") or ()):
            if isinstance(event, str) and event not in EVENTS and (near := did_you_mean(event, EVENTS)):
                yield Finding(("subscribers", name, "events", at), "is no event that we know", near, fatal=False)
    for name, other in targets.shared(subscribers):
        what = f'is the place of subscriber "{other}" as well: the same events arrive there once for each of them'
        yield Finding(("subscribers", name, "sink"), what, "where that is not meant, part them by their filters", False)
    if subscribers and not _section(tree, "interactions"):
        yield Finding(("subscribers",), "get nothing: there is no interactions webhook", fatal=False)
