"""Signatures that are refused, as an operator reads them: what each reason means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger
from dcbridge.ledger.services import together
from dcbridge.ledger.signatures import UNKNOWN, Refusals

OVER = 3600.0  # seconds without a refusal, after which a valid signature says that it is over


@dataclass(frozen=True, slots=True)
class Trouble:
    """One reason at one place. `valid_at`: when a signature was right there last, 0 for unknown."""

    where: str
    kind: str  # webhook, interactions, trigger, callback or address
    name: str  # of the endpoint, the trigger or the provider
    why: str
    means: str
    then: str
    count: int
    first: float
    last: float
    valid_at: float
    channels: tuple[str, ...] = ()  # whose messages come there

    @property
    def is_over(self) -> bool:
        """Whether a signature was right after the last that was refused."""
        return self.valid_at > self.last


@dataclass(frozen=True, slots=True)
class Advice:
    """What a reason means, and what to do; `{name}` is that of the endpoint, trigger or provider."""

    means: str
    then: str


_STRANGER = (
    "A few, without a pattern, are attempts of others and need nothing. Where Genesys' own requests are among them, see"
    " the other reasons of this endpoint."
)
_HEADER = Advice(
    "The request had no signature header that can be right.",
    "Look at the caller, and at a proxy in between that drops or doubles headers. " + _STRANGER,
)
# Of webhooks, and interactions webhooks: the words of dcbridge.genesys.signature and cloud.
_WEBHOOK: Mapping[str, Advice] = {
    "matches a retired secret": Advice(
        "Genesys still signs with a secret that bridge.yaml lists as retired.",
        "Set the new app secret at Genesys. Until then, move the old one from retired_secrets of {name} to secrets,"
        " behind the new one.",
    ),
    "matches a secret of another endpoint": Advice(
        "The signature is right for another endpoint of bridge.yaml.",
        "Compare the webhook's URL at Genesys: its last part has to be the endpoint whose secret signs. Or bridge.yaml"
        " has the secrets of two endpoints the wrong way round.",
    ),
    "another webhook's address": Advice(
        "The endpoint is there, and belongs to another kind of webhook.",
        "Messages of Digital Channels go to /webhooks/messages/{name}, those of Open Messaging to"
        " /webhooks/open-messaging/{name}. Correct the URL at Genesys.",
    ),
    "matches with white space around the secret": Advice(
        "The secret is right but for white space around it.",
        "Remove the line end or the blank from the secret, in bridge.yaml, its file or at Genesys.",
    ),
    "matches an empty body": Advice(
        "The signature is that of an empty body.",
        "A proxy in between drops the body, or the sender signs before it is written. Look at the proxy first.",
    ),
    "matches with other white space around the body": Advice(
        "The body has other white space than the one that was signed.",
        "A gateway changes the body. Let it pass the bytes as they are.",
    ),
    "matches after re-serialising": Advice(
        "The JSON says the same, and is written in another way than the one that was signed.",
        "A gateway or a web application firewall reads the JSON and writes it again. Let it pass the bytes unchanged.",
    ),
    "hex digits instead of base64": Advice(
        "The signature is written as Digital Channels writes it, and this endpoint is one of Open Messaging.",
        "Correct the URL at Genesys: Digital Channels posts to /webhooks/messages/…",
    ),
    "no secret matches": Advice(
        "No secret of this endpoint made the signature.",
        "Compare the app secret at Genesys with the one of {name}, and the channel's own where it has one. "
        + _STRANGER,
    ),
}
_TRIGGER: Mapping[str, Advice] = {
    "too old or too new": Advice(
        "The time in the signature is too far from ours.",
        "Set the caller's clock by NTP, or raise tolerance of the trigger. A repeated old call looks like this too.",
    ),
    "no secret matches": Advice(
        "No secret of this trigger made the signature.",
        "Compare the caller's secret with secrets of {name}; dcbridge trigger {name} posts a call that is right.",
    ),
}
_CALLBACK: Mapping[str, Advice] = {
    "missing": Advice(
        "The callback of the provider has no signature or secret.",
        "Copy the callback's address again from dcbridge addresses, secret included, and switch signing on at the"
        " provider.",
    ),
    "no secret matches": Advice(
        "The provider signs with another secret, or calls another address than the one that it signs.",
        "Compare the secret or token of {name} with the provider's. Compare public_url with the address that the"
        " provider calls: behind an ingress both have to be the same.",
    ),
    "no key matches": Advice(
        "The provider's public key did not make the signature.",
        "Copy the public key of {name} again from the provider.",
    ),
    "too old or too new": Advice(
        "The time in the signature is too far from ours.",
        "Check the clock of this server (NTP). A repeated old callback looks like this too.",
    ),
    "the body is not what was signed": Advice(
        "The body was changed after it was signed.",
        "A proxy in between changes bodies. Let it pass the bytes as they are.",
    ),
    "of another topic": Advice(
        "The message is signed, and is of a topic that bridge.yaml does not name.",
        "Add the topic to topic_arns of {name}, if it is yours.",
    ),
    "no callback secret is configured": Advice(
        "Callbacks come, and the provider has no callback_secret.",
        "Set callback_secret of {name}, and enter the address with it at the provider.",
    ),
    "no such provider or callback": Advice(
        "The provider is there, and has no callback of this kind.",
        "Copy the addresses again from dcbridge addresses.",
    ),
}
_ADDRESS = Advice(
    "Requests came to an address that bridge.yaml does not have.",
    "Compare the URL at Genesys or at the provider with dcbridge addresses: perhaps a name is misspelled there, or"
    " was removed here. Scanners look like this too.",
)


def advice(kind: str, why: str) -> Advice:
    """What a reason means at a place of this kind."""
    if kind == "address":
        return _ADDRESS
    table = {"callback": _CALLBACK, "trigger": _TRIGGER}.get(kind, _WEBHOOK)
    if found := table.get(why):
        return found
    if kind == "callback":
        return Advice(
            f"The callback was refused: {why}.", "Compare the account's secrets and keys with the provider's."
        )
    return _HEADER


def place(where: str) -> tuple[str, str]:
    """Kind and name of a place."""
    if where == UNKNOWN:
        return "address", ""
    kind, _, name = where.partition("/")
    return (kind, name) if kind in ("interactions", "trigger", "callback") and name else ("webhook", where)


def told(found: Iterable[Refusals], configuration: Configuration, valid_at: Mapping[str, float]) -> list[Trouble]:
    """Each with what to do, the newest first; what may be over comes after what is not."""
    rows = []
    for one in found:
        kind, name = place(one.where)
        says = advice(kind, one.why)
        rows.append(
            Trouble(
                where=one.where,
                kind=kind,
                name=name,
                why=one.why,
                means=says.means,
                then=says.then.replace("{name}", name),
                count=one.count,
                first=one.first,
                last=one.last,
                valid_at=valid_at.get(one.where, 0.0),
                channels=_channels(configuration, kind, name),
            )
        )
    return sorted(rows, key=lambda one: (one.is_over, -one.last))


def _channels(configuration: Configuration, kind: str, name: str) -> tuple[str, ...]:
    if kind == "webhook":
        return tuple(one for one in configuration.channels if configuration.endpoint_of(one) == name)
    if kind == "callback":
        return tuple(one for one, channel in configuration.channels.items() if name in channel.providers)
    if kind == "trigger" and name in configuration.triggers:
        return (configuration.triggers[name].channel,)
    return ()


async def trouble(ledger: Ledger, configuration: Configuration) -> list[Trouble]:
    """All of the last 30 days. Three commands."""
    services = await ledger.services.all()
    valid = {name: seen.valid_at for name, seen in together(services).items()}
    return told(await ledger.signatures.refused(), configuration, valid)
