"""The table of providers: one line each. Adding one is a file, a line here, a table of test rows and a page."""

from __future__ import annotations

from collections.abc import Callable

from dcbridge.providers.africastalking import AfricasTalking
from dcbridge.providers.aws_sms import AwsSms
from dcbridge.providers.azure_email import AzureEmail
from dcbridge.providers.azure_sms import AzureSms
from dcbridge.providers.bandwidth import Bandwidth
from dcbridge.providers.base import Adapter, Fields, Provider
from dcbridge.providers.clickatell import Clickatell
from dcbridge.providers.http import Http
from dcbridge.providers.infobip import Infobip
from dcbridge.providers.mailgun import Mailgun
from dcbridge.providers.messagebird import MessageBird
from dcbridge.providers.phone import Senders
from dcbridge.providers.plivo import Plivo
from dcbridge.providers.postmark import Postmark
from dcbridge.providers.sendgrid import SendGrid
from dcbridge.providers.ses import Ses
from dcbridge.providers.sinch import Sinch
from dcbridge.providers.smpp import Smpp
from dcbridge.providers.smtp import Smtp
from dcbridge.providers.telnyx import Telnyx
from dcbridge.providers.twilio import Twilio
from dcbridge.providers.vonage import Vonage

KINDS: dict[str, type[Adapter]] = {
    "africastalking": AfricasTalking,
    "aws-sms": AwsSms,
    "azure-email": AzureEmail,
    "azure-sms": AzureSms,
    "bandwidth": Bandwidth,
    "clickatell": Clickatell,
    "http": Http,
    "infobip": Infobip,
    "mailgun": Mailgun,
    "messagebird": MessageBird,
    "plivo": Plivo,
    "postmark": Postmark,
    "sendgrid": SendGrid,
    "ses": Ses,
    "sinch": Sinch,
    "smpp": Smpp,
    "smtp": Smtp,
    "telnyx": Telnyx,
    "twilio": Twilio,
    "vonage": Vonage,
}
# What a channel's number may be as long as nobody knows its provider's kind.
ANY_SENDERS = Senders(True, True, frozenset().union(*(kind.senders.prefixes for kind in KINDS.values())))


def build(name: str, kind: str, fields: Fields, public_url: str) -> Provider:
    """One account, ready to use. `fields` has been read by the kind's own model.

    Raises KeyError for an unknown kind, ValueError for a public URL that the provider cannot call.
    """
    made: Callable[[str, Fields, str], Provider] = KINDS[kind]  # type: ignore[assignment] # each with fields of its own
    return made(name, fields, public_url)
