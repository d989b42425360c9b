"""Why something is a dead letter, in a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dcbridge import intake
from dcbridge.ledger.dead_letters import NO_CHANNEL, DeadLetter
from dcbridge.ledger.fields import Kind


@dataclass(frozen=True, slots=True)
class Why:
    """`title`: what it is. `link`: a page of the console that helps, or ""."""

    title: str
    sentence: str
    then: str
    link: str = ""


_CODES = {
    "510": "it contains nothing that the channel can carry",
    "520": "fields are missing, or of the wrong type",
    "530": "the number or mailbox does not exist, or the channel is not configured",
}
_DROP = "Drop it when it is dealt with."


def _agent_message(letter: DeadLetter) -> Why:
    code = letter.reason[:3]
    if letter.id.startswith("m-"):
        means = f": {_CODES[code]}" if code in _CODES else ""
        return Why(
            "Message of an agent",
            f"It could not be carried{means}. The agent saw Failed.",
            f"A message ends once, so only the agent can send it again. Remove the cause first. {_DROP}",
            "/channels" if code == "530" else "",
        )
    if letter.reason.startswith(intake.ELSEWHERE):
        return Why(
            "Webhook of Genesys",
            "It is signed with the secret of an endpoint to which its channel does not belong.",
            "Set endpoint of the channel in bridge.yaml, or correct the webhook's URL at Genesys. Then replay it.",
            "/channels",
        )
    return Why(
        "Webhook of Genesys",
        "Its signature is right, and it cannot be read or names no message that a receipt could refer to.",
        "Genesys was answered 200 and does not send it again. Mend its bytes and replay it, or drop it. If all webhooks"
        " look like this, a gateway may have changed them before they were signed.",
        "/signatures",
    )


def _receipt(_: DeadLetter) -> Why:
    return Why(
        "Receipt",
        "Digital Channels refused it for good. The agent does not see how the message ended.",
        "Compare the contact centre's id and the app secret of the channel with what Genesys gave you. Then replay it.",
        "/channels",
    )


def _callback(letter: DeadLetter) -> Why:
    if NO_CHANNEL in letter.reason:
        return Why(
            "What a consumer wrote",
            "It came to a number that no channel has.",
            "Enter the number in a channel of bridge.yaml (number or senders). Then replay it.",
            "/channels",
        )
    return Why(
        "Callback of a provider",
        "The provider signed it, and it cannot be read.",
        "Keep it until a version reads it, then replay it. If it is only a status, drop it.",
        "/providers",
    )


def _consumer(_: DeadLetter) -> Why:
    return Why(
        "Message of a consumer",
        "Digital Channels refused it for good. No agent has seen it.",
        "Compare the contact centre's id, the app secret and channel id with what Genesys gave you. Then replay it.",
        "/channels",
    )


def _mail(_: DeadLetter) -> Why:
    return Why(
        "Mail of a consumer",
        "It could not be read or posted. No agent has seen it.",
        "Read the reason. After the cause is removed, replay it. Reveal it to answer the consumer in another way.",
        "/channels",
    )


def _book(_: DeadLetter) -> Why:
    return Why(
        "Call that a consumer asked for",
        "Genesys refused the booking, or could not be reached for too long.",
        "Check the interface to Genesys with dcbridge check. Replay it while the time is ahead; else call back.",
    )


def _delivery_update(_: DeadLetter) -> Why:
    return Why(
        "Delivery update",
        "It is about a message that is not known, or not remembered any more.",
        "A few are normal: drop them. Many of one provider mean that another system uses the same account.",
        "/providers",
    )


def _batch(_: DeadLetter) -> Why:
    return Why(
        "Interactions webhook",
        "Its signature is right, and the body is not JSON. No subscriber got its events.",
        "Mend its bytes and replay it, or drop it.",
        "/events",
    )


def _entity(_: DeadLetter) -> Why:
    return Why(
        "Entity of an interactions webhook",
        "It has neither an interaction id nor the name of an event, so no subscriber can be told of it.",
        "It cannot be replayed. Report it to Genesys, and drop it.",
        "/events",
    )


def _delivery(_: DeadLetter) -> Why:
    return Why(
        "Event for a subscriber",
        "The subscriber did not accept it, until its last attempt.",
        "Look at the subscriber's own log, send it a test event, then replay it.",
        "/subscribers",
    )


_BY_KIND: Mapping[Kind, Callable[[DeadLetter], Why]] = {
    Kind.AGENT_MESSAGE: _agent_message,
    Kind.RECEIPT: _receipt,
    Kind.CALLBACK: _callback,
    Kind.CONSUMER: _consumer,
    Kind.MAIL: _mail,
    Kind.BOOK: _book,
    Kind.DELIVERY_UPDATE: _delivery_update,
    Kind.INTERACTION_BATCH: _batch,
    Kind.INTERACTION_ENTITY: _entity,
    Kind.DELIVERY: _delivery,
}


def why(letter: DeadLetter) -> Why:
    """Of one letter, also of one that a newer version has written."""
    for kind, says in _BY_KIND.items():
        if kind == letter.kind:
            return says(letter)
    return Why("Unknown kind", "This version does not know what it is.", "Update dcbridge; then replay it.")
