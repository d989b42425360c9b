"""What does not fit where a channel has several numbers, or rules for countries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dcbridge.providers import ANY_SENDERS, KINDS
from dcbridge.providers.phone import Senders, address_key, own_number
from dcbridge.settings.problems import Path

_Providers = Mapping[str, Mapping[str, Any]]


def senders_of(name: str, providers: _Providers) -> Senders:
    """What messages may come from at this provider."""
    kind = providers.get(name, {}).get("kind")
    return KINDS[kind].senders if isinstance(kind, str) and kind in KINDS else ANY_SENDERS


def written(channel: Mapping[str, Any], channel_id: str, name: str) -> list[tuple[Path, str, bool]]:
    """Each number of a channel at one of its providers: where, how it is written, and whether it is written at all."""
    path: Path = ("channels", channel_id)
    pool = _mappings(channel.get("senders"))
    if pool:
        return [
            ((*path, "senders", at, "number"), one["number"], True)
            for at, one in pool
            if isinstance(one.get("number"), str) and one.get("provider") in (None, name)
        ]
    numbers, number = channel.get("numbers"), channel.get("number")
    own = numbers.get(name) if isinstance(numbers, Mapping) else None
    if isinstance(own, str):
        return [((*path, "numbers", name), own, True)]
    if isinstance(number, str) and number:
        return [((*path, "number"), number, True)]
    return [((*path, "number"), channel_id, False)]


def check(
    channel_id: str, channel: Mapping[str, Any], names: Sequence[str], providers: _Providers
) -> Iterator[tuple[Path, str, str]]:
    """(path, what, suggestion) of each; `names` are the channel's providers."""
    path: Path = ("channels", channel_id)
    pool, rules = _mappings(channel.get("senders")), channel.get("by_country")
    rules = {name: one for name, one in rules.items() if isinstance(one, Mapping)} if isinstance(rules, Mapping) else {}
    if not pool and not rules:
        return
    if channel.get("type") == "email":
        yield (*path, "senders" if pool else "by_country"), "is for channels of type sms", "leave it out"
        return
    for name in ("number", "numbers"):
        if pool and channel.get(name):
            yield (*path, name), "stands beside senders", "move it into senders, or leave senders out"
    for name in names:
        if providers.get(name, {}).get("from_number"):
            what = "sends all messages from one number, and channel "
            yield ("providers", name, "from_number"), f'{what}"{channel_id}" has several', "leave it out"
    yield from _pool(path, pool, names)
    for country, rule in rules.items():
        yield from _rule((*path, "by_country", country), rule, channel, names, providers)


def _pool(
    path: Path, pool: Sequence[tuple[int, Mapping[str, Any]]], names: Sequence[str]
) -> Iterator[tuple[Path, str, str]]:
    seen: set[tuple[str, str]] = set()
    for at, one in pool:
        provider, number = one.get("provider"), one.get("number")
        if isinstance(provider, str) and provider not in names:
            yield (
                (*path, "senders", at, "provider"),
                "is none of the channel's providers",
                "choose from " + ", ".join(names),
            )
        if not isinstance(number, str):
            continue
        for name in names if provider is None else (str(provider),):
            if (name, address_key(number)) in seen:
                yield (*path, "senders", at, "number"), "is in the pool twice", "leave one out, and use weight"
                break
            seen.add((name, address_key(number)))
    for name in names if pool else ():
        if not any(one.get("provider") in (None, name) for _, one in pool):
            yield (*path, "senders"), f"has no number of provider {name}", "add one, or take the provider out"


def _rule(
    path: Path, rule: Mapping[str, Any], channel: Mapping[str, Any], names: Sequence[str], providers: _Providers
) -> Iterator[tuple[Path, str, str]]:
    sender, region = rule.get("sender"), channel.get("default_region")
    told = set[str]()
    for name in names:
        if isinstance(sender, str) and sender:
            try:
                own_number(sender, region if isinstance(region, str) else None, senders_of(name, providers))
            except ValueError as error:
                if str(error) not in told:
                    told.add(str(error))
                    yield (*path, "sender"), str(error), ""
        kind = providers.get(name, {}).get("kind")
        if rule.get("templates") and isinstance(kind, str) and kind in KINDS and not KINDS[kind].can.templates:
            yield (*path, "templates"), f"provider {name} cannot be given the ids of templates", _who()


def _who() -> str:
    return "kinds that can: " + ", ".join(sorted(kind for kind, one in KINDS.items() if one.can.templates))


def _mappings(value: object) -> list[tuple[int, Mapping[str, Any]]]:
    return [(at, one) for at, one in enumerate(value) if isinstance(one, Mapping)] if isinstance(value, list) else []
