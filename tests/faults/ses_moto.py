"""moto plays Amazon SES and S3: what an agent writes is taken by it, and a mail of a consumer lies in its bucket.

    python3 -m venv moto && moto/bin/pip install "moto[server,ses]"
    python -m tests.faults.ses_moto moto/bin/moto_server 50      # emails

moto judges requests and keeps what was sent. It does not check signatures: botocore's own judge those, in the tests.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email import message_from_string
from pathlib import Path

import httpx
import orjson

from dcbridge.cli.dev.companies import accounts
from dcbridge.providers.sigv4 import SigV4Login
from dcbridge.transport.s3 import Bucket, S3Blobs
from sandbox.config import SandboxConfig
from sandbox.wires.sns import Topic
from sandbox.world import World
from tests.sandbox.in_a_browser import PIXELS
from tests.stack import Stack, quiet_port, until

REGION, BUCKET, KEY, LARGE = "eu-west-1", "mails", "inbound/1", 5_000_000
DOMAINS, EVE = ("company.com", "ses.company.com"), "eve@example.com"
_IN_REGION = (
    b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
)


@dataclass(frozen=True)
class Found:
    """What moto has of it."""

    emails: int
    kept: int  # by moto
    twice: int
    with_picture: int
    refused: str  # the reason for a sender that is not verified
    large: int  # bytes of the consumer's mail in the bucket
    notified: int  # the answer to SNS
    agent_sees: int
    left_in_bucket: int
    seconds: float


class Moto:
    """Its server as a process. Used as a context manager."""

    def __init__(self, command: str, login: SigV4Login) -> None:
        self.port, self._command, self._login = quiet_port(), command, login
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Moto:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [self._command, "-H", "127.0.0.1", "-p", str(self.port)], stdin=quiet, stdout=quiet, stderr=quiet
        )
        until(self._answers, "moto answers", 60.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/moto-api/data.json", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, method: str, path: str, service: str, content: bytes = b"") -> httpx.Response:
        login = replace(self._login, service=service)
        request = login.signed(httpx.Request(method, self.url + path, content=content), time.time())
        with httpx.Client(trust_env=False, timeout=20.0) as client:
            return client.send(request)

    def sent(self) -> list[str]:
        """Every email that it took, as MIME."""
        found = httpx.get(f"{self.url}/moto-api/data.json", trust_env=False, timeout=60.0).json()
        return [str(one["raw_data"]) for one in found.get("ses", {}).get("RawMessage", [])]


def play(command: str, emails: int) -> Found:
    """`command`: moto_server."""
    with tempfile.TemporaryDirectory(prefix="dcbridge-test-", ignore_cleanup_errors=True) as data:
        return _play(command, emails, Path(data))


def _play(command: str, emails: int, data: Path) -> Found:
    began = time.monotonic()
    blobs = {"DCBRIDGE_BLOB_FOLDER": str(data / "blobs")}
    stack = Stack(data / "stack", companies=("ses",), parts=("sandbox", "service", "worker"), settings=blobs)
    account = accounts(stack.folder)[0]["ses"]
    kept, channel = account.secrets, account.channel
    login = SigV4Login(kept["access_key_id"], kept["secret_access_key"], "", REGION, "s3")
    with Moto(command, login) as moto:
        _point_at(stack, moto)
        assert moto.ask("PUT", f"/{BUCKET}", "s3", _IN_REGION).status_code == 200
        with stack:
            refused = _reason(stack, _writes(stack, channel, "first@example.com", "too early"), channel)
            for domain in DOMAINS:
                said = moto.ask("POST", "/v2/email/identities", "ses", orjson.dumps({"EmailIdentity": domain}))
                assert said.status_code == 200, said.text
            for number in range(emails):
                _writes(stack, channel, f"ana{number}@example.com", f"number {number}")
            until(lambda: len(moto.sent()) >= emails, "all are taken", 30.0)
            mails = moto.sent()
            asyncio.run(_into_bucket(moto, login, account.number))
            notified = _notified(stack, kept, account.number)
            seen = until(lambda: [one for one in stack.state()["seen"] if one["sender"] == EVE], "the agent sees it")
            left = moto.ask("GET", f"/{BUCKET}/{KEY}", "s3").status_code != 404
    texts = Counter(map(_text, mails))
    pictures = sum("image/png" in one for one in mails)
    seconds = round(time.monotonic() - began, 1)
    twice = sum(texts.values()) - len(texts)
    return Found(emails, len(texts), twice, pictures, refused, LARGE, notified, len(seen), int(left), seconds)


def _point_at(stack: Stack, moto: Moto) -> None:
    path = stack.folder / "bridge.yaml"
    page = f"http://127.0.0.1:{stack.ports.page}/ses"
    told = path.read_text().replace(f"base_url: {page}\n", f"base_url: {moto.url}\n")
    told = told.replace(f"mail_bucket_url: {page}/bucket", f"mail_bucket_url: {moto.url}/{BUCKET}")
    path.write_text(told.replace("mail_bucket: sandbox-mails", f"mail_bucket: {BUCKET}"))


def _writes(stack: Stack, channel: str, to: str, text: str) -> str:
    """An agent's email with a picture; its messageId."""
    told = {
        "channel": channel, "to": [{"id": to}], "subject": "Grüße", "text": text, "wait": True,
        "file": {"type": "image/png", "data": PIXELS},
    }  # fmt: skip
    made = stack.sandbox("agent/email", told)
    assert made["state"] == "accepted", made
    return str(made["messageId"])


def _reason(stack: Stack, message: str, channel: str) -> str:
    receipt = stack.receipt(message, channel=channel)
    return f"{receipt['status']} {receipt['reasons'][0]['code']}"


def _text(raw: str) -> str:
    """The text of an email, which tells it from the others."""
    for one in message_from_string(raw).walk():
        if one.get_content_type() == "text/plain":
            data = one.get_payload(decode=True)
            return data.decode() if isinstance(data, bytes) else ""
    return ""


async def _into_bucket(moto: Moto, login: SigV4Login, to: str) -> None:
    head = f"From: {EVE}\r\nTo: {to}\r\nSubject: A large one\r\nMessage-ID: <{secrets.token_hex(8)}@eve.example>\r\n"
    body = base64.encodebytes(bytes(LARGE * 3 // 4)).replace(b"\n", b"\r\n")
    attached = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nTuesday?\r\n--x\r\n"
        b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename=a.zip\r\n\r\n" + body + b"--x--\r\n"
    )
    bucket = S3Blobs(Bucket(f"{moto.url}/{BUCKET}", login))
    try:
        await bucket.write(KEY, head.encode() + attached)
    finally:
        await bucket.close()


def _notified(stack: Stack, kept: Mapping[str, str], to: str) -> int:
    """What a notification about the object is answered."""
    nothing = SandboxConfig(
        app_secret="", contact_center_id="", twilio_account_sid="", twilio_auth_token="", mail_callback_secret=""
    )
    topic = Topic(World(nothing), kept["private_key"], kept["topic_arn"], "/ses/sns")
    action = {"type": "S3", "bucketName": BUCKET, "objectKey": KEY, "topicArn": kept["topic_arn"]}
    receipt = {"recipients": [to], "action": action}
    call = topic.publish("", {"notificationType": "Received", "mail": {"source": EVE}, "receipt": receipt})
    answer = stack.client.post(f"{stack.public}/callbacks/ses/inbound", content=call.body, headers=dict(call.headers))
    return answer.status_code


def main() -> int:
    if len(sys.argv) < 2:
        sys.stdout.write(f"{__doc__}\n")
        return 2
    found = play(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50)
    sys.stdout.write(f"{found}\n")
    right = found.kept == found.emails == found.with_picture and not found.twice and found.agent_sees == 1
    return 0 if right and found.notified == 200 and not found.left_in_bucket else 1


if __name__ == "__main__":
    sys.exit(main())
