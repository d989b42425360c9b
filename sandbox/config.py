"""What the two pretended worlds must know of each other and of the bridge between them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.bridge import Bridge

TWILIO = "twilio"  # the kind of the account that is always there


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account at an SMS company. `kind` names its wire, `secrets` holds what bridge.yaml has, by field."""

    kind: str
    channel: str  # the channel that it serves
    number: str  # our number there: where consumers write to
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesysAccount:
    """What Genesys' interfaces beside Digital Channels know of the bridge."""

    api_key: str = field(repr=False)
    client_id: str = "dcbridge"
    client_secret: str = field(default="", repr=False)
    username: str = "bridge"
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    redirect_uri: str = "https://bridge.example.com/signed-in"
    open_media_service: str = "bridge-tasks"
    callback_service: str = "Sales"
    line_username: str = "text-back"  # of Web Services: a login with a phone line
    line_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAccount:
    """An integration of Open Messaging at Genesys Cloud; `provider` names the account that serves it."""

    integration: str  # a UUID: the channel id
    client_id: str
    client_secret: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    endpoint: str = "cloud"
    provider: str = "cloud-sms"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """One sandbox. Times are seconds; the secrets are the same ones that the bridge was given."""

    app_secret: str  # signs webhooks, and must have signed what the bridge posts
    contact_center_id: str  # a UUID; the bridge sends it as x-ccid
    twilio_account_sid: str  # "AC" and 32 hex digits
    twilio_auth_token: str
    mail_callback_secret: str  # bearer token of POST /callbacks/<mail_provider>/status

    subscriber_secret: str = ""  # signs the events that reach POST /subscriber; "" and nobody looks

    bridge_url: str = "http://127.0.0.1:8080"  # the bridge's public listener, no slash at the end
    public_url: str = ""  # what the bridge calls itself, where that is a name which leads nowhere from here
    own_url: str = ""  # where the bridge reaches the companies, which have files of consumers there
    messages_endpoint: str = "main"
    interactions_endpoint: str = "main"
    sms_provider: str = "twilio"  # the provider's name in the bridge's callback URLs
    mail_provider: str = "mail"

    accounts: Mapping[str, Account] = field(default_factory=dict)  # beside Twilio's, by their names in bridge.yaml
    channels: Mapping[str, str] = field(default_factory=dict)  # others that Digital Channels has: id to sms or email

    carriers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # channel id to the accounts that serve it

    genesys: GenesysAccount | None = None  # without one, there is no interface beside Digital Channels
    cloud: CloudAccount | None = None  # without one, there is no Genesys Cloud

    bridge: Bridge | None = None  # a look into the bridge itself, for the page

    hosts: tuple[str, ...] = ()  # names under which it is asked, beside localhost and addresses

    sms_channel: str = "0123456789"
    email_channel: str = "company.com"
    sms_number: str = "+15557650123"  # our number at the SMS provider: where consumers write to
    email_sender: str = "no-reply@company.com"

    mailbox: str = "care@company.com"  # where consumers' mail goes to that answers nothing
    mail_in_port: int = 0  # of `dcbridge mail-in`, by LMTP; 0: nobody takes mail of consumers

    retry_timeout: float = 2.0  # between two deliveries of one webhook
    retry_attempts: int = 5  # redeliveries after the first delivery
    answer_limit: float = 10.0  # how long a webhook's answer may take

    status_delay: float = 0.3  # between two statuses of an SMS, and before a delivery report by mail
    slow_answer: float = 5.0  # what the slow magic number and the slow mailbox take
    callback_tries: int = 1  # Twilio tries a status callback once
    retry_after: int = 2  # what the throttling magic number asks for

    smtp_host: str = "127.0.0.1"
    smtp_port: int = 1025  # 0 takes a free one; `World.smtp_port` says which
    smtp_username: str | None = None  # asked for (AUTH PLAIN or LOGIN) when set
    smtp_password: str | None = None
    smtp_tls: ssl.SSLContext | None = None  # offers STARTTLS when set; AUTH is then refused without it

    def all_accounts(self) -> dict[str, Account]:
        """By name, Twilio's first."""
        twilio = Account(
            kind=TWILIO,
            channel=self.sms_channel,
            number=self.sms_number,
            secrets={"account_sid": self.twilio_account_sid, "auth_token": self.twilio_auth_token},
        )
        return {self.sms_provider: twilio, **self.accounts}

    def all_channels(self) -> dict[str, str]:
        """Channel id to its type."""
        usual = {self.sms_channel: "sms", self.email_channel: "email"}
        return usual | {one.channel: "sms" for one in self.accounts.values()} | dict(self.channels)
