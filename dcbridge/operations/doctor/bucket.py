"""Can the bucket of large files be written, read and emptied?"""

from __future__ import annotations

import secrets

from dcbridge.settings.process import Settings
from dcbridge.transport.s3 import BucketAway, bucket_of

# Codes of S3, and what to do.
_MENDS = {
    "AccessDenied": "allow this access key s3:PutObject, s3:GetObject and s3:DeleteObject below DCBRIDGE_BLOB_BUCKET",
    "InvalidAccessKeyId": "check DCBRIDGE_BLOB_BUCKET_KEY_ID",
    "SignatureDoesNotMatch": "check DCBRIDGE_BLOB_BUCKET_SECRET and DCBRIDGE_BLOB_BUCKET_REGION",
    "AuthorizationHeaderMalformed": "check DCBRIDGE_BLOB_BUCKET_REGION",
    "NoSuchBucket": "check DCBRIDGE_BLOB_BUCKET",
    "PermanentRedirect": "write the bucket's own region into DCBRIDGE_BLOB_BUCKET and DCBRIDGE_BLOB_BUCKET_REGION",
    "ExpiredToken": "the session token has ended",
}


async def check_bucket(settings: Settings) -> list[str]:
    """Each problem in words, with its mend; nothing where there is no bucket, or all is well."""
    bucket = bucket_of(settings)
    if bucket is None:
        return []
    name, data = f"check-{secrets.token_hex(8)}", secrets.token_bytes(70_000)
    step = "written"
    try:
        await bucket.write(name, data)
        step = "read"
        if await bucket.read(name) != data:
            return ["a test object was written, and is not what is read"]
        step = "deleted"
        await bucket.delete([name])
        if await bucket.read(name) is not None:
            return ["a test object was deleted, and is still there"]
    except BucketAway as error:
        why = str(error)
        mend = _MENDS.get(why, "")
        return [f"a test object cannot be {step} ({why})" + (f": {mend}" if mend else "")]
    finally:
        await bucket.close()
    return []
