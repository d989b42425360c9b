"""DMARC (RFC 7489, with the walk up the tree of its successor), and whether what dcbridge sends is aligned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dcbridge.operations.doctor.dkim import NoTags, tags_of
from dcbridge.operations.doctor.dns_client import Names
from dcbridge.operations.doctor.finding import About, Finding

POLICIES = ("none", "quarantine", "reject")
MOST_STEPS = 8  # up the tree


def is_dmarc(record: bytes) -> bool:
    return bool(re.match(rb"v\s*=\s*DMARC1\s*(;|$)", record))


async def check(names: Names, domain: str, envelope: str, about: About) -> Sequence[Finding]:
    """`domain`: of the From address; `envelope`: of MAIL FROM, by which SPF is judged."""
    for place in places(domain):
        answer = await names.ask(f"_dmarc.{place}", "TXT")
        if answer.status == "failed":
            return [about.error(f"DMARC: the name servers of {place} did not answer")]
        records = [row for row in answer.rows if is_dmarc(row)]
        if len(records) > 1:
            return [about.error(f"DMARC: {place} has {len(records)} records, and receivers then use none", "keep one")]
        if records:
            return list(judged(domain, place, records[0], envelope, about))
    return [
        about.error(
            f"DMARC: {domain} has no record, which large receivers ask of whoever sends much",
            "publish one; begin with p=none and read the reports",
            f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}",
            f"TXT record of _dmarc.{domain}",
        )
    ]


def places(domain: str) -> Iterator[str]:
    """The domain, and those above it down to two labels."""
    labels = domain.lower().rstrip(".").split(".")
    yield ".".join(labels)
    rest = labels[1:] if len(labels) <= MOST_STEPS else labels[-(MOST_STEPS - 1) :]
    while len(rest) >= 2:
        yield ".".join(rest)
        rest = rest[1:]


def judged(domain: str, place: str, record: bytes, envelope: str, about: About) -> Iterator[Finding]:
    """What one record says of mail from `domain`."""
    try:
        tags = tags_of(record)
    except NoTags as error:
        yield about.error(f"DMARC: the record of {place} cannot be read: {error}")
        return
    below = domain.lower() != place and "sp" in tags
    policy = tags.get("sp" if below else "p", "").lower()
    if policy not in POLICIES:
        what = "has no policy" if not policy else "has an unknown policy"
        yield about.error(f"DMARC: the record of {place} {what}", "write p=none, p=quarantine or p=reject")
        return
    inherited = f" of {place}" if domain.lower() != place else ""
    if policy == "none":
        yield about.note(f"DMARC: the policy{inherited} is none: forged mail is reported and let through")
    else:
        yield about.ok(f"DMARC: the policy{inherited} is {policy}")
    percent = tags.get("pct", "100")
    if not re.fullmatch(r"[0-9]{1,3}", percent, re.ASCII) or int(percent) > 100:
        yield about.error(f"DMARC: pct in the record of {place} is no number from 0 to 100", "remove pct")
    elif int(percent) < 100 and policy != "none":
        yield about.note(f"DMARC: the policy counts for {int(percent)} % of the mail")
    if "rua" not in tags:
        yield about.note(f"DMARC: the record of {place} names no address for reports (rua)")
    yield from _aligned(domain, envelope, tags, about)


def _aligned(domain: str, envelope: str, tags: dict[str, str], about: About) -> Iterator[Finding]:
    """SPF counts for DMARC only where the envelope's domain is the From address's, or shares its organization."""
    one, other = domain.lower(), envelope.lower()
    if not other or one == other:
        return
    related = one.endswith(f".{other}") or other.endswith(f".{one}") or _last_two(one) == _last_two(other)
    if tags.get("aspf", "r").lower() == "s":
        yield about.warning(
            f"DMARC: aspf=s asks that the envelope sender is of {domain} itself, and it is of {envelope}: only DKIM"
            " makes your mail pass",
            "write aspf=r, or set mail_from to an address of that domain",
        )
    elif not related:
        yield about.warning(
            f"DMARC: the envelope sender is of {envelope}, another organization than {domain}: only DKIM makes your"
            " mail pass",
            "sign with DKIM, or set mail_from to an address of that domain",
        )


def _last_two(domain: str) -> str:
    return ".".join(domain.split(".")[-2:])
