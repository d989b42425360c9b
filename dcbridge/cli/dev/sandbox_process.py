"""The sandbox as a process of `dcbridge dev`: arguments are the folder and the public, page and mail ports.

A fifth one, JSON, changes other values of its config: the tests ask for shorter waits, and a trial in a cluster
says where it listens (`listen`).
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from dcbridge.cli.dev import cloud, companies
from dcbridge.cli.dev.bridge_view import BridgeView
from dcbridge.cli.dev.extras import missing_for_dev
from dcbridge.cli.dev.processes import NUMBER, read
from dcbridge.http.known_hosts import KnownHosts
from dcbridge.runtime import logs

if TYPE_CHECKING:
    from sandbox.config import GenesysAccount


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    if missing := missing_for_dev():
        sys.exit(f"error: {missing}")
    from sandbox.app import build_app
    from sandbox.config import SandboxConfig

    folder, public, page, mail = Path(arguments[0]), int(arguments[1]), int(arguments[2]), int(arguments[3])
    accounts, channels = companies.accounts(folder)
    genesys_cloud = cloud.account(folder)
    if genesys_cloud is not None:
        accounts[genesys_cloud.provider] = cloud.carrier(folder)
    logs.configure("json", "info")
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd tells every command
    config = SandboxConfig(
        app_secret=read(folder, "app_secret"),
        contact_center_id=read(folder, "contact_center_id"),
        twilio_account_sid=read(folder, "account_sid"),
        twilio_auth_token=read(folder, "twilio_auth_token"),
        mail_callback_secret=read(folder, "mail_callback_secret"),
        subscriber_secret=read(folder, "subscriber_secret"),
        bridge_url=f"http://127.0.0.1:{public}",
        own_url=f"http://127.0.0.1:{page}",
        sms_number=NUMBER,
        smtp_port=mail,
        accounts=accounts,
        channels=channels,
        carriers=companies.carriers(folder),
        genesys=_genesys(folder),
        cloud=genesys_cloud,
    )
    told = json.loads(arguments[4]) if len(arguments) > 4 else {}
    listen = told.pop("listen", "127.0.0.1")
    look = told.pop("look", None)  # where the console is; with it, the page asks the bridge
    config = replace(config, **told, bridge=None if look is None else BridgeView(look))
    uvicorn.run(
        KnownHosts(build_app(config), config.hosts),
        host=listen,
        port=page,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )


def _genesys(folder: Path) -> GenesysAccount | None:
    """Not in a trial whose Secret is of an earlier version."""
    from sandbox.config import GenesysAccount

    if not (folder / "genesys_api_key").exists():
        return None
    key, secret = read(folder, "genesys_api_key"), read(folder, "genesys_client_secret")
    line = read(folder, "genesys_line_password") if (folder / "genesys_line_password").exists() else ""
    return GenesysAccount(api_key=key, client_secret=secret, line_password=line)


if __name__ == "__main__":
    main(sys.argv[1:])
