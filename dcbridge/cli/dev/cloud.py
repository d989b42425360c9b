"""`dcbridge dev --with open-messaging`: an integration of Genesys Cloud's Open Messaging, which the sandbox plays."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dcbridge.cli.dev.companies import add_lines, read_yaml
from dcbridge.cli.dev.private_files import write_private

if TYPE_CHECKING:
    from sandbox.config import Account, CloudAccount

NAME = "open-messaging"  # as `--with` has it
PROVIDER = "cloud-sms"
NUMBER = "+15557650199"

_ORGANIZATION = """
genesys_cloud:
  sandbox:
    base_url: http://127.0.0.1:{page}/cloud
    login_url: http://127.0.0.1:{page}/cloud/login
    client_id: dcbridge
    client_secret: file:cloud_client_secret
"""
_ENDPOINT = """\
  cloud:
    secrets:
      - file:cloud_webhook_secret
"""
_PROVIDER = """\
  cloud-sms:
    kind: twilio
    base_url: http://127.0.0.1:{page}/cloud-sms
    account_sid: {cloud_account_sid}
    auth_token: file:cloud_auth_token
"""
_CHANNEL = """\
  {cloud_integration}:
    platform: open_messaging
    endpoint: cloud
    type: sms
    provider: cloud-sms
    number: "{number}"
    unknown_grace: 3
"""
_VALUES: dict[str, Callable[[], str]] = {
    "cloud_client_secret": lambda: secrets.token_hex(16),
    "cloud_webhook_secret": lambda: secrets.token_hex(16),
    "cloud_auth_token": lambda: secrets.token_hex(16),
    "cloud_account_sid": lambda: "AC" + secrets.token_hex(16),
    "cloud_integration": lambda: str(uuid.uuid4()),
}


def added(path: Path) -> bool:
    """Whether a bridge.yaml has it."""
    return path.exists() and PROVIDER in (read_yaml(path.read_text()).get("providers") or {})


def add(folder: Path, page: int) -> None:
    """Write its secrets, and what it needs in bridge.yaml, where they are missing. Raises CannotAdd."""
    path = folder / "bridge.yaml"
    for name, make in _VALUES.items():
        if not (folder / name).exists():
            write_private(folder / name, make() + "\n")
    if added(path):
        return
    told = {name: _kept(folder, name) for name in _VALUES}
    text = path.read_text()
    for section, lines in (("endpoints", _ENDPOINT), ("providers", _PROVIDER), ("channels", _CHANNEL)):
        text = add_lines(text, section, lines.format(page=page, number=NUMBER, **told))
    write_private(path, text + _ORGANIZATION.format(page=page))


def account(folder: Path) -> CloudAccount | None:
    """As the sandbox plays it; None where it was not added."""
    from sandbox.config import CloudAccount

    if not added(folder / "bridge.yaml"):
        return None
    return CloudAccount(
        integration=_kept(folder, "cloud_integration"),
        client_id="dcbridge",
        client_secret=_kept(folder, "cloud_client_secret"),
        webhook_secret=_kept(folder, "cloud_webhook_secret"),
    )


def carrier(folder: Path) -> Account:
    """The SMS company that carries its messages."""
    from sandbox.config import TWILIO, Account

    sid, token = _kept(folder, "cloud_account_sid"), _kept(folder, "cloud_auth_token")
    told = {"account_sid": sid, "auth_token": token}
    return Account(kind=TWILIO, channel=_kept(folder, "cloud_integration"), number=NUMBER, secrets=told)


def _kept(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()
