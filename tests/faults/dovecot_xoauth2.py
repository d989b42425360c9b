"""Dovecot checks our XOAUTH2, with a token that a server of tokens calls good and with one that it does not.

python -m tests.faults.dovecot_xoauth2
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from service.imap.client import Client, Refused
from tests.faults.dovecot import Dovecot

USER, GOOD = "care", "ya29.good"


class Introspection(BaseHTTPRequestHandler):
    """Says whose a token is (RFC 7662, by GET)."""

    def do_GET(self) -> None:
        good = self.path.partition("&")[0] == f"/{GOOD}"  # Dovecot puts more behind it
        body = json.dumps({"active": good, "email": USER} if good else {"active": False}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


async def log_in(dovecot: Dovecot) -> tuple[str, int]:
    """What a bad token gives, and the mails in the folder after a good one on the same connection."""
    trusted = ssl.create_default_context(cafile=str(dovecot.folder / "cert.pem"))
    found = ""
    for port, implicit in ((dovecot.port, True), (dovecot.plain_port, False)):
        client = await Client.open("127.0.0.1", port, implicit=implicit, silence=10.0, tls=trusted)
        try:
            await client.login_with_token(USER, "ya29.bad")
        except Refused as error:
            found = f"{error.step} {error.code}"
        await client.login_with_token(USER, GOOD)
        exists = (await client.select("INBOX")).exists
        await client.logout()
        client.close()
    return found, exists


def main() -> int:
    server = HTTPServer(("127.0.0.1", 0), Introspection)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Dovecot(USER, introspect=f"http://127.0.0.1:{server.server_port}/") as dovecot:
        dovecot.put(USER, b"Subject: x\r\n\r\nx\r\n")
        found = asyncio.run(log_in(dovecot))
    server.shutdown()
    sys.stdout.write(f"{found}\n")
    return 0 if found == ("login AUTHENTICATIONFAILED", 1) else 1


if __name__ == "__main__":
    sys.exit(main())
