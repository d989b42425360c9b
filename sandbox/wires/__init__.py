"""The tables of wires: one line for each kind of SMS provider, and of email company."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.config import Account
from sandbox.wires.africastalking import AfricasTalkingWire
from sandbox.wires.aws_sms import AwsSmsWire
from sandbox.wires.azure_email import AzureEmailWire
from sandbox.wires.azure_sms import AzureSmsWire
from sandbox.wires.bandwidth import BandwidthWire
from sandbox.wires.base import Wire
from sandbox.wires.clickatell import ClickatellWire
from sandbox.wires.http import HttpWire
from sandbox.wires.infobip import InfobipWire
from sandbox.wires.mail_base import MailWire
from sandbox.wires.mailgun import MailgunWire
from sandbox.wires.messagebird import MessageBirdWire
from sandbox.wires.plivo import PlivoWire
from sandbox.wires.postmark import PostmarkWire
from sandbox.wires.sendgrid import SendGridWire
from sandbox.wires.ses import SesWire
from sandbox.wires.sinch import SinchWire
from sandbox.wires.smpp import SmppWire
from sandbox.wires.telnyx import TelnyxWire
from sandbox.wires.twilio import TwilioWire
from sandbox.wires.vonage import VonageWire
from sandbox.world import World

KINDS: dict[str, Callable[[World, str, Account], Wire]] = {
    "africastalking": AfricasTalkingWire,
    "aws-sms": AwsSmsWire,
    "azure-sms": AzureSmsWire,
    "bandwidth": BandwidthWire,
    "clickatell": ClickatellWire,
    "http": HttpWire,
    "infobip": InfobipWire,
    "messagebird": MessageBirdWire,
    "plivo": PlivoWire,
    "sinch": SinchWire,
    "smpp": SmppWire,
    "telnyx": TelnyxWire,
    "twilio": TwilioWire,
    "vonage": VonageWire,
}


MAIL_KINDS: dict[str, Callable[[World, str, Account], MailWire]] = {
    "azure-email": AzureEmailWire,
    "mailgun": MailgunWire,
    "postmark": PostmarkWire,
    "sendgrid": SendGridWire,
    "ses": SesWire,
}


def build(world: World, name: str, account: Account) -> Wire:
    """The wire of one account. Raises KeyError for a kind that has none."""
    return KINDS[account.kind](world, name, account)


def build_mail(world: World, name: str, account: Account) -> MailWire:
    """The same of an email company."""
    return MAIL_KINDS[account.kind](world, name, account)
