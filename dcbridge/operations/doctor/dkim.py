"""DKIM keys in the DNS (RFC 6376, 3.6.1; RFC 8301 for their sizes; RFC 8463 for Ed25519)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence

from dcbridge.operations.doctor.dns_client import Names
from dcbridge.operations.doctor.finding import About, Finding

LEAST_BITS, USUAL_BITS = 1024, 2048
MOST_BITS = 16_384
# What mail companies call their selectors, where bridge.yaml names the company.
USUAL: dict[str, tuple[str, ...]] = {
    "azure-email": ("selector1-azurecomm-prod-net", "selector2-azurecomm-prod-net"),
    "mailgun": ("mx", "k1", "mailo", "pic", "smtp"),
    "postmark": ("pm",),
    "sendgrid": ("s1", "s2"),
    "smtp": ("selector1", "selector2", "google", "default", "dkim", "mail", "k1", "s1"),
}
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)


class NoTags(ValueError):
    """Says why it is no list of tags."""


def tags_of(record: bytes) -> dict[str, str]:
    """ "v=DKIM1; k=rsa; p=…", as DKIM and DMARC have it. Raises NoTags."""
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError:
        raise NoTags("it is not UTF-8") from None
    found: dict[str, str] = {}
    for piece in text.split(";"):
        name, equals, value = piece.partition("=")
        name = name.strip()
        if not piece.strip():
            continue
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise NoTags("it is no list of tags")
        if name in found:
            raise NoTags(f"the tag {name[:20]} stands in it twice")
        found[name] = value.strip()
    return found


def is_selector(text: str) -> bool:
    return bool(_SELECTOR.fullmatch(text)) and ".." not in text


async def check(names: Names, domain: str, selectors: Sequence[str], about: About, *, named: bool) -> list[Finding]:
    """Of selectors that somebody `named`, each has to be there; of usual ones, one."""
    found: list[Finding] = []
    for selector in selectors:
        answer = await names.ask(f"{selector}._domainkey.{domain}", "TXT")
        if answer.rows:
            found += judged(selector, answer.rows, about)
        elif named and answer.status == "failed":
            found.append(about.error(f"DKIM: the name servers of {domain} did not answer"))
        elif named:
            found.append(
                about.error(
                    f"DKIM: there is no key {selector}._domainkey.{domain}, so signatures with it count for nothing",
                    "publish the key that your mail server signs with",
                    where=f"TXT record {selector}._domainkey.{domain}",
                )
            )
    if not found:
        found.append(
            about.note(
                f"DKIM: no key of {domain} was found under the usual selectors",
                "name yours with --selector; it stands in the DKIM-Signature of a mail, as s=",
            )
        )
    return found


def judged(selector: str, rows: Sequence[bytes], about: About) -> Iterable[Finding]:
    """What the rows of one name say."""
    if len(rows) > 1:
        return [about.error(f"DKIM: {selector} has {len(rows)} records, and receivers may use any", "keep one")]
    try:
        tags = tags_of(rows[0])
    except NoTags as error:
        return [about.error(f"DKIM: the key {selector} cannot be read: {error}")]
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        return [about.error(f"DKIM: the key {selector} is not version DKIM1", "begin the record with v=DKIM1")]
    if "p" not in tags:
        return [about.error(f"DKIM: the record {selector} has no key (p=)")]
    key = re.sub(r"\s+", "", tags["p"])
    if not key:
        return [about.error(f"DKIM: the key {selector} is revoked (p= is empty)", "publish a new one")]
    hashes = [one.strip() for one in tags.get("h", "sha256").split(":")]
    found = [*_key(selector, tags.get("k", "rsa").lower(), key, about)]
    if "sha256" not in hashes:
        found.append(about.error(f"DKIM: the key {selector} does not allow sha256 (h=)", "remove h="))
    if "y" in [one.strip() for one in tags.get("t", "").split(":")]:
        found.append(
            about.warning(f"DKIM: the key {selector} is for tests (t=y), and may count for nothing", "remove t=y")
        )
    return found


def _key(selector: str, kind: str, written: str, about: About) -> Iterable[Finding]:
    try:
        raw = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        return [about.error(f"DKIM: the key {selector} is not base64")]
    if kind == "ed25519":
        right = len(raw) == 32
        return (
            [about.ok(f"DKIM: key {selector}, Ed25519")]
            if right
            else [about.error(f"DKIM: the key {selector} should have 32 bytes, and has {len(raw)}")]
        )
    if kind != "rsa":
        return [about.error(f"DKIM: the key {selector} is of an unknown kind")]
    bits = _rsa_bits(raw)
    if bits is None:
        return [about.error(f"DKIM: the key {selector} is no RSA key")]
    if bits < LEAST_BITS:
        return [
            about.error(
                f"DKIM: the key {selector} has {bits} bits, and receivers take none below {LEAST_BITS} (RFC 8301)",
                f"make one of {USUAL_BITS}",
            )
        ]
    if bits < USUAL_BITS:
        return [about.warning(f"DKIM: the key {selector} has {bits} bits; {USUAL_BITS} are usual", "make a longer one")]
    return [about.ok(f"DKIM: key {selector}, RSA, {bits} bits")]


def _rsa_bits(raw: bytes) -> int | None:
    """None where it is no RSA key, or too large to be one."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if len(raw) > MOST_BITS // 4:
        return None
    try:
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return _small_bits(raw)
    return key.key_size if isinstance(key, RSAPublicKey) else None


def _small_bits(raw: bytes) -> int | None:
    """Of a key that the library refuses for its size: the length of the modulus, the first long integer."""
    found = re.search(rb"\x02(?:\x81(.)|\x82(..)|([\x20-\x7f]))", raw, re.DOTALL)
    if not found or b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" not in raw:  # rsaEncryption
        return None
    length = int.from_bytes(found[1] or found[2] or found[3], "big")
    modulus = raw[found.end() : found.end() + length]
    return int.from_bytes(modulus, "big").bit_length() if len(modulus) == length else None
