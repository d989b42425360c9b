"""A topic of Amazon SNS: what it publishes is signed, and its certificate can be fetched."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.wires.base import Call
from sandbox.world import World


class Topic:
    """`private_key` in PEM; `root`: where the certificate and confirmations are, below the sandbox's own URL."""

    def __init__(self, world: World, private_key: str, arn: str, root: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(private_key.encode(), None)
        assert isinstance(key, RSAPrivateKey)
        self._world, self._key, self._arn, self._root = world, key, arn, root
        self._certificate = f"/SimpleNotificationService-{hashlib.md5(self._pem()).hexdigest()}.pem"  # noqa: S324

    def _pem(self) -> bytes:
        """A certificate of its own, the same each time."""
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding

        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        made = x509.CertificateBuilder(name, name, self._key.public_key(), 1)
        dated = made.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
            datetime(2090, 1, 1, tzinfo=UTC)
        )
        return dated.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def routes(self) -> Sequence[Route]:
        return (
            Route(self._root + self._certificate, self._give, methods=["GET"]),
            Route(f"{self._root}/", self._confirmed),
        )

    async def _give(self, request: Request) -> Response:
        return Response(self._pem(), media_type="application/x-pem-file")

    async def _confirmed(self, request: Request) -> Response:
        right = request.query_params.get("Action") == "ConfirmSubscription" and request.query_params.get("Token")
        self._world.counts["sns.confirmed"] += 1 if right else 0
        return Response(b"<ConfirmSubscriptionResponse/>", 200 if right else 400, media_type="text/xml")

    def publish(self, url: str, message: object) -> Call:
        """A notification of `message`, as JSON, to a subscriber."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        said = {
            "Type": "Notification", "MessageId": str(uuid.uuid4()), "TopicArn": self._arn,
            "Message": orjson.dumps(message).decode(),
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }  # fmt: skip
        text = "".join(f"{name}\n{said[name]}\n" for name in sorted(said))
        signature = base64.b64encode(self._key.sign(text.encode(), PKCS1v15(), SHA256())).decode()
        certificate = f"https://sns.eu-west-1.amazonaws.com{self._certificate}"
        whole = {**said, "SignatureVersion": "2", "Signature": signature, "SigningCertURL": certificate}
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
        return Call(url, orjson.dumps(whole), headers, tries=3)
