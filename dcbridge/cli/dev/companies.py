"""Companies that `dcbridge dev --with …` adds: each has an account, a channel and secrets that the sandbox knows.

A company is added to bridge.yaml once; what else stands in the file is left as it is. The sandbox plays each provider
of bridge.yaml whose kind is in the table and whose name is that kind.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dcbridge.cli.dev.private_files import write_private

if TYPE_CHECKING:
    from sandbox.config import Account


class CannotAdd(Exception):
    """bridge.yaml has not the form that `dcbridge dev` gave it; says what to do."""


@dataclass(frozen=True, slots=True)
class Company:
    """`fields` are the lines of bridge.yaml below its kind; {page} and {smsc} are the sandbox's ports, {name} one of
    `values`.

    A secret is a file of the folder, named after the company and the field.
    """

    channel: str
    number: str
    fields: str
    secrets: Mapping[str, Callable[[], str]]
    values: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, Callable[[Mapping[str, str]], str]] = field(default_factory=dict)  # files made of the secrets
    email: bool = False  # `number` is a mailbox

    def account(self, kind: str, folder: Path) -> Account:
        """As the sandbox plays it."""
        from sandbox.config import Account

        told = {**self.values, **self.kept(kind, folder)}
        return Account(kind=kind, channel=self.channel, number=self.number, secrets=told)

    def kept(self, kind: str, folder: Path) -> dict[str, str]:
        """Its secrets, from their files."""
        return {name: (folder / f"{kind}_{name}").read_text().strip() for name in self.secrets}


def _secret() -> str:
    return secrets.token_hex(16)


def _rsa_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public_key(kept: Mapping[str, str]) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(kept["private_key"]))
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def _ec_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _ec_public_key(kept: Mapping[str, str]) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(kept["private_key"].encode(), None).public_key()
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _base64_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()


COMPANIES: dict[str, Company] = {
    "africastalking": Company(
        channel="5550200011",
        number="+15557650211",
        fields="""\
    base_url: http://127.0.0.1:{page}
    username: {username}
    api_key: file:africastalking_api_key
    callback_secret: file:africastalking_callback_secret
""",
        secrets={"api_key": _secret, "callback_secret": _secret},
        values={"username": "acme"},
    ),
    "aws-sms": Company(
        channel="5550200008",
        number="+15557650208",
        fields="""\
    base_url: http://127.0.0.1:{page}/aws
    sns_url: http://127.0.0.1:{page}/sns
    region: eu-west-1
    access_key_id: {access_key_id}
    secret_access_key: file:aws-sms_secret_access_key
    configuration_set: dcbridge
    topic_arns: ["{topic_arn}"]
""",
        secrets={"secret_access_key": _secret, "private_key": _rsa_key},
        values={"access_key_id": "AKIASANDBOX0001", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:sms"},
    ),
    "azure-email": Company(
        channel="azure-email.company.com",
        number="care@azure-email.company.com",
        fields="""\
    base_url: http://127.0.0.1:{page}
    access_key: file:azure-email_access_key
    callback_secret: file:azure-email_callback_secret
""",
        secrets={"access_key": _base64_key, "callback_secret": _secret},
        email=True,
    ),
    "azure-sms": Company(
        channel="5550200007",
        number="+15557650207",
        fields="""\
    base_url: http://127.0.0.1:{page}
    access_key: file:azure-sms_access_key
    callback_secret: file:azure-sms_callback_secret
""",
        secrets={
            "access_key": _base64_key,
            "callback_secret": _secret,
        },
    ),
    "bandwidth": Company(
        channel="5550200005",
        number="+15557650205",
        fields="""\
    base_url: http://127.0.0.1:{page}/api/v2
    token_url: http://127.0.0.1:{page}/api/v1/oauth2/token
    account_id: "{account_id}"
    application_id: {application_id}
    client_id: {client_id}
    client_secret: file:bandwidth_client_secret
    callback_secret: file:bandwidth_callback_secret
""",
        secrets={"client_secret": _secret, "callback_secret": _secret},
        values={"account_id": "5500001", "application_id": "93de2206", "client_id": "BWDBID-1"},
    ),
    "clickatell": Company(
        channel="5550200012",
        number="+15557650212",
        fields="""\
    base_url: http://127.0.0.1:{page}
    api_key: file:clickatell_api_key
    callback_secret: file:clickatell_callback_secret
""",
        secrets={"api_key": _secret, "callback_secret": _secret},
    ),
    "http": Company(
        channel="5550200004",
        number="+15557650204",
        fields="""\
    secrets:
      key: file:http_key
    send:
      url: http://127.0.0.1:{page}/company/messages
      json:
        to: "{{to}}"
        from: "{{sender}}"
        text: "{{text}}"
        reference: "{{reference}}"
        key: "{{secret.key}}"
    mms:
      url: http://127.0.0.1:{page}/company/messages
      json:
        to: "{{to}}"
        from: "{{sender}}"
        text: "{{text}}"
        reference: "{{reference}}"
        media: "{{media_url}}"
        key: "{{secret.key}}"
    taken:
      status: [202]
      id: json:/id
    code: json:/error
    errors:
      - {{code: [opted_out, filtered], is: refused, reason: 350}}
      - {{code: [no_such_number], is: refused, reason: 530}}
      - {{status: 401, is: account}}
    status:
      each: json:/reports
      reference: json:/reference
      id: json:/id
      word: json:/status
      words: {{delivered: delivered, failed: failed}}
      code: json:/error
      reasons: {{no_such_number: 530, filtered: 350}}
    inbound:
      each: json:/messages
      id: json:/id
      from: json:/from
      to: json:/to
      text: json:/text
      media: json:/media
    signature:
      header: X-Company-Signature
      secret: file:http_signature
      prefix: sha256=
""",
        secrets={"key": _secret, "signature": _secret},
    ),
    "infobip": Company(
        channel="5550200003",
        number="+15557650203",
        fields="""\
    base_url: http://127.0.0.1:{page}
    api_key: file:infobip_api_key
    callback_secret: file:infobip_callback_secret
""",
        secrets={"api_key": _secret, "callback_secret": _secret},
    ),
    "mailgun": Company(
        channel="mailgun.company.com",
        number="care@mailgun.company.com",
        fields="""\
    base_url: http://127.0.0.1:{page}
    domain: {domain}
    api_key: file:mailgun_api_key
    signing_keys: file:mailgun_signing_keys
""",
        secrets={"api_key": _secret, "signing_keys": _secret},
        values={"domain": "mailgun.company.com"},
        email=True,
    ),
    "messagebird": Company(
        channel="5550200010",
        number="+15557650210",
        fields="""\
    base_url: http://127.0.0.1:{page}
    api_key: file:messagebird_api_key
    signature_secret: file:messagebird_signature_secret
""",
        secrets={
            "api_key": lambda: f"bk_eu1_{_secret()}",
            "signature_secret": lambda: f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        },
    ),
    "plivo": Company(
        channel="5550200009",
        number="+15557650209",
        fields="""\
    base_url: http://127.0.0.1:{page}
    auth_id: {auth_id}
    auth_token: file:plivo_auth_token
""",
        secrets={"auth_token": _secret},
        values={"auth_id": "MASANDBOX00000000001"},
    ),
    "postmark": Company(
        channel="postmark.company.com",
        number="care@postmark.company.com",
        fields="""\
    base_url: http://127.0.0.1:{page}
    server_token: file:postmark_server_token
    callback_secret: file:postmark_callback_secret
""",
        secrets={"server_token": _secret, "callback_secret": _secret},
        email=True,
    ),
    "sendgrid": Company(
        channel="sendgrid.company.com",
        number="care@sendgrid.company.com",
        fields="""\
    base_url: http://127.0.0.1:{page}
    api_key: file:sendgrid_api_key
    public_key: file:sendgrid_public_key
""",
        secrets={"api_key": _secret, "private_key": _ec_key},
        derived={"public_key": _ec_public_key},
        email=True,
    ),
    "ses": Company(
        channel="ses.company.com",
        number="care@ses.company.com",
        fields="""\
    base_url: http://127.0.0.1:{page}/ses
    sns_url: http://127.0.0.1:{page}/ses/sns
    region: eu-west-1
    access_key_id: {access_key_id}
    secret_access_key: file:ses_secret_access_key
    configuration_set: dcbridge
    topic_arns: ["{topic_arn}"]
    mail_bucket: sandbox-mails
    mail_bucket_url: http://127.0.0.1:{page}/ses/bucket
    mail_delete: true
""",
        secrets={"secret_access_key": _secret, "private_key": _rsa_key},
        values={"access_key_id": "AKIASANDBOX0002", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:mail"},
        email=True,
    ),
    "sinch": Company(
        channel="5550200006",
        number="+15557650206",
        fields="""\
    base_url: http://127.0.0.1:{page}
    token_url: http://127.0.0.1:{page}/oauth2/token
    project_id: {project_id}
    key_id: {key_id}
    key_secret: file:sinch_key_secret
    mms: true
    signature_secret: file:sinch_signature_secret
""",
        secrets={"key_secret": _secret, "signature_secret": _secret},
        values={"project_id": "b0a5b3c1-0000-4000-8000-5d1c5a2e3f40", "key_id": "c1d2e3f4-0000-4000-8000-000000000001"},
    ),
    "smpp": Company(
        channel="5550200013",
        number="+15557650213",
        fields="""\
    host: 127.0.0.1
    port: {smsc}
    system_id: {system_id}
    password: file:smpp_password
    receipt_ids: hex
    enquire_every: 300
    reasons:
      "005": 530
      "007": 350
      "0x0411": 350
""",
        secrets={"password": lambda: secrets.token_hex(4)},
        values={"system_id": "dcbridge"},
    ),
    "telnyx": Company(
        channel="5550200002",
        number="+15557650202",
        fields="""\
    base_url: http://127.0.0.1:{page}
    api_key: file:telnyx_api_key
    public_key: file:telnyx_public_key
""",
        secrets={"api_key": _secret, "private_key": lambda: base64.b64encode(secrets.token_bytes(32)).decode()},
        derived={"public_key": _public_key},
    ),
    "vonage": Company(
        channel="5550200001",
        number="+15557650201",
        fields="""\
    base_url: http://127.0.0.1:{page}
    api_key: {api_key}
    api_secret: file:vonage_api_secret
    signature_secret: file:vonage_signature_secret
    messages_url: http://127.0.0.1:{page}
    application_id: {application_id}
    private_key: file:vonage_private_key
""",
        secrets={"api_secret": _secret, "signature_secret": _secret, "private_key": _rsa_key},
        values={"api_key": "5a9b0c1d", "application_id": "d1a2b3c4-0000-4000-8000-00000000000a"},
    ),
}

_CHANNEL = """\
  "{channel}":
    type: sms
    provider: {kind}
    number: "{number}"
    unknown_grace: 3
"""
_EMAIL_CHANNEL = """\
  {channel}:
    type: email
    provider: {kind}
    number: {number}
    delivered_when: confirmed
    unknown_grace: 3
    inbound:
      addresses: [{number}]
"""


def add(folder: Path, kinds: list[str], page: int, smsc: int) -> None:
    """Write the secrets of these companies, and their providers and channels into bridge.yaml where they are missing.

    Raises CannotAdd.
    """
    path = folder / "bridge.yaml"
    for kind in kinds:
        company = COMPANIES[kind]
        for name, make in company.secrets.items():
            file = folder / f"{kind}_{name}"
            if not file.exists():
                write_private(file, make() + "\n")
        kept = company.kept(kind, folder)
        for name, derive in company.derived.items():
            write_private(folder / f"{kind}_{name}", derive(kept) + "\n")
        text = path.read_text()
        if kind in (read_yaml(text).get("providers") or {}):
            continue
        provider = f"  {kind}:\n    kind: {kind}\n" + company.fields.format(page=page, smsc=smsc, **company.values)
        lines = _EMAIL_CHANNEL if company.email else _CHANNEL
        channel = lines.format(channel=company.channel, kind=kind, number=company.number)
        write_private(path, add_lines(add_lines(text, "providers", provider), "channels", channel))


def set_spare(folder: Path, kind: str) -> None:
    """Give Twilio's channel this company as its second provider. It must be in bridge.yaml. Raises CannotAdd."""
    path = folder / "bridge.yaml"
    text = path.read_text()
    if spare(path) == kind:
        return
    one, many = "\n    provider: twilio\n", f"\n    providers: [twilio, {kind}]\n"
    if text.count(one) != 1:
        raise CannotAdd(
            f'bridge.yaml has not one line "provider: twilio"; write providers: [twilio, {kind}] by hand,'
            " or use a new folder"
        )
    write_private(path, text.replace(one, many))


def spare(path: Path) -> str:
    """The company that stands second to Twilio in a bridge.yaml; "" for none."""
    channels = (read_yaml(path.read_text()).get("channels") or {}) if path.exists() else {}
    lists = [one.get("providers") for one in channels.values() if isinstance(one, dict)]
    return next((str(one[1]) for one in lists if isinstance(one, list) and len(one) == 2 and one[0] == "twilio"), "")


def added(path: Path) -> list[str]:
    """The companies of a bridge.yaml."""
    told = read_yaml(path.read_text()) if path.exists() else {}
    return [kind for kind in COMPANIES if kind in (told.get("providers") or {})]


def takes_mail(folder: Path) -> bool:
    """Whether an email channel of bridge.yaml has `inbound`; without one, mail-in refuses to start."""
    path = folder / "bridge.yaml"
    channels = (read_yaml(path.read_text()) if path.exists() else {}).get("channels") or {}
    return any(isinstance(one, dict) and one.get("inbound") for one in channels.values())


def accounts(folder: Path) -> tuple[dict[str, Account], dict[str, str]]:
    """What the sandbox has to know of bridge.yaml: the companies in it, and the type of each of its channels."""
    path = folder / "bridge.yaml"
    told = read_yaml(path.read_text()) if path.exists() else {}
    providers, channels = told.get("providers") or {}, told.get("channels") or {}
    found = {name: COMPANIES[name].account(name, folder) for name in COMPANIES if name in providers}
    for name, account in found.items():
        if port := providers[name].get("port"):  # where the sandbox has to listen
            found[name] = replace(account, secrets={**account.secrets, "port": str(port)})
    return found, {str(name): str(one.get("type")) for name, one in channels.items() if isinstance(one, dict)}


def carriers(folder: Path) -> dict[str, tuple[str, ...]]:
    """The providers of each channel of bridge.yaml, the first one first."""
    path = folder / "bridge.yaml"
    channels = (read_yaml(path.read_text()) if path.exists() else {}).get("channels") or {}
    told = {str(name): one for name, one in channels.items() if isinstance(one, dict)}
    return {name: tuple(map(str, one.get("providers") or [one.get("provider", "")])) for name, one in told.items()}


def read_yaml(text: str) -> dict[str, Any]:
    told = yaml.safe_load(text)
    return told if isinstance(told, dict) else {}


def add_lines(text: str, section: str, lines: str) -> str:
    """`lines` as the first entry of a section. Raises CannotAdd where the section does not begin a line by itself."""
    head = f"\n{section}:\n"
    if text.count(head) != 1:
        raise CannotAdd(f'bridge.yaml has no line "{section}:" by itself; add the company by hand, or use a new folder')
    return text.replace(head, head + lines)
