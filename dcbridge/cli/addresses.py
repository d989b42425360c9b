"""`dcbridge addresses`: which URL to enter where, at Genesys and at each company. No secret is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dcbridge.cli.terminal import out, print_json
from dcbridge.config.accounts import ProviderAccount
from dcbridge.config.models import Configuration
from dcbridge.printable import printable
from dcbridge.providers import KINDS
from dcbridge.providers.base import callback_url

NAMED = "named in each request"
BEARER = "callback_secret as a Bearer token"
_PLATFORMS = {
    "digital_channels": ("Digital Channels", "messages", "messages"),
    "open_messaging": ("Genesys Cloud", "messages", "open-messaging"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """`at`: who has to know it. `of`: what comes there. `note`: what else belongs to it, or why it is no matter."""

    at: str
    of: str
    url: str
    note: str = ""


def addresses(configuration: Configuration) -> Iterator[Address]:
    """All that anybody outside may call."""
    base = configuration.public_url
    for name, platform in configuration.platform_at.items():
        at, what, path = _PLATFORMS[platform]
        yield Address(at, what, f"{base}/webhooks/{path}/{name}", f"signed with {name}'s secret")
    for name in configuration.interactions:
        url = f"{base}/webhooks/interactions/{name}"
        yield Address("Digital Channels", "interactions", url, f"signed with {name}'s secret")
    for name in configuration.triggers:
        yield Address("trigger", name, f"{base}/triggers/{name}", "signed as Standard Webhooks has it")
    for name, account in configuration.providers.items():
        yield from _callbacks(base, name, account)


def _callbacks(base: str, name: str, account: ProviderAccount) -> Iterator[Address]:
    can, fields = KINDS[account.kind].can, account.fields
    secret = bool(getattr(fields, "callback_secret", ()))
    for kind in can.callbacks:
        if kind == "inbound" and "email" in can.channel_types:
            continue  # what comes there is kept as a dead letter: consumers' mail is not read
        note = NAMED if kind == "status" and getattr(fields, "status_callbacks", False) else ""
        if secret and not can.secret_in_path:
            note = BEARER
        in_path = "<callback_secret>" if secret and can.secret_in_path else ""
        yield Address(name, kind, callback_url(base, name, kind, in_path), note)


def show(configuration: Configuration, as_json: bool) -> None:
    """Print them."""
    for one in addresses(configuration):
        if as_json:
            print_json(asdict(one))
        else:
            note = f"  ({one.note})" if one.note else ""
            out.print(printable(f"{one.at}, {one.of}: {one.url}{note}"), markup=False)
