"""Buckets in which companies put consumers' mail: each mail is fetched when its notification was believed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from dcbridge.providers.base import MailStore
from dcbridge.runtime.metrics import Metrics
from service.answer import RETRY_AFTER, Refusal

if TYPE_CHECKING:
    from dcbridge.transport.s3 import S3Blobs

log = structlog.get_logger()

# Codes of S3 that do not end by themselves, and what to do.
_MENDS = {
    "AccessDenied": "allow the access key s3:GetObject for its objects and s3:ListBucket for it",
    "InvalidAccessKeyId": "check access_key_id",
    "SignatureDoesNotMatch": "check secret_access_key and region",
    "AuthorizationHeaderMalformed": "check region",
    "NoSuchBucket": "check mail_bucket and mail_bucket_url",
    "PermanentRedirect": "set mail_bucket_url to the bucket's own region",
    "ExpiredToken": "the session token has ended",
    "encrypted by who wrote it": "switch off message encryption in the receipt rule; encrypt the bucket instead",
}


class MailBuckets:
    """Those of one process, each connected when it is first needed."""

    def __init__(self) -> None:
        self._opened: dict[str, S3Blobs] = {}

    def _bucket(self, name: str, store: MailStore) -> S3Blobs:
        from dcbridge.transport.s3 import Bucket, S3Blobs  # aiohttp costs a process that needs no bucket

        if name not in self._opened:
            self._opened[name] = S3Blobs(Bucket(store.url, store.login))
        return self._opened[name]

    async def fetch(
        self, metrics: Metrics, name: str, store: MailStore, key: str, most: int, room: Callable[[int], Awaitable[None]]
    ) -> bytes | None:
        """A mail of the provider `name`; None where it has been deleted since it was stored here. Raises Refusal."""
        from dcbridge.transport.s3 import BucketAway, ObjectTooLarge

        try:
            raw = await self._bucket(name, store).fetch(key, most, room)
        except ObjectTooLarge:
            log.error("mail_in_bucket_too_large", provider=name, most=most)
            raise Refusal(413, "too large", f"a mail may have {most} bytes") from None
        except BucketAway as error:
            why = str(error)
            if why in _MENDS:
                metrics.faults.labels("account_fault", name).inc()
            log.error("mail_not_fetched", provider=name, why=why, mend=_MENDS.get(why))
            raise _not_fetched() from None
        if raw is None and not store.delete:
            log.error("mail_not_fetched", provider=name, why="NoSuchKey", mend="keep objects for longer")
            raise _not_fetched()
        return raw

    async def delete(self, name: str, store: MailStore, key: str) -> None:
        """Of a mail that is stored here. One that stays costs its room in the bucket, and nothing else."""
        from dcbridge.transport.s3 import BucketAway

        try:
            await self._bucket(name, store).delete([key])
        except BucketAway as error:
            mend = "allow the access key s3:DeleteObject" if str(error) == "AccessDenied" else None
            log.warning("mail_not_deleted", provider=name, why=str(error), mend=mend)

    async def close(self) -> None:
        for bucket in self._opened.values():
            await bucket.close()


def _not_fetched() -> Refusal:
    return Refusal(503, "not fetched", "the mail cannot be fetched; send it again", RETRY_AFTER)
