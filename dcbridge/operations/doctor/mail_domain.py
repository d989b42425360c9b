"""What the DNS says of a domain that mail is sent from: MX, SPF, DKIM, DMARC; MTA-STS and TLS-RPT as notes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dcbridge.operations.doctor import dkim, dmarc, spf
from dcbridge.operations.doctor.dns_client import Names, TooManyQuestions
from dcbridge.operations.doctor.finding import About, Finding

MOST_SERVERS = 10  # of an MX, that are looked at


async def check(
    names: Names, domain: str, envelope: str, selectors: Sequence[str], about: About, *, named: bool = False
) -> Sequence[Finding]:
    """`envelope`: the domain of MAIL FROM, to which bounces go. `named`: whether somebody named the selectors."""
    found: list[Finding] = []
    try:
        found += await _servers(names, envelope or domain, about)
        found += await spf.check(names, envelope or domain, about)
        found += await dkim.check(names, domain, selectors, about, named=named)
        found += await dmarc.check(names, domain, envelope, about)
        found += await _transport(names, domain, about)
    except TooManyQuestions:
        found.append(about.error(f"the records of {domain} lead on and on, and were not read to the end"))
    return found


async def _servers(names: Names, domain: str, about: About) -> list[Finding]:
    answer = await names.ask(domain, "MX")
    fix = "receivers refuse mail from a domain that takes none, and bounces are lost"
    if answer.status == "failed":
        return [about.error(f"MX: the name servers of {domain} did not answer")]
    if answer.status == "no such name":
        return [about.error(f"MX: there is no domain {domain}", fix)]
    targets = [row.decode("utf-8", "replace").partition(" ")[2].rstrip(".") for row in answer.rows]
    if not targets:
        if (await names.ask(domain, "A")).rows or (await names.ask(domain, "AAAA")).rows:
            return [about.warning(f"MX: {domain} has none, and its own address stands in", "publish an MX record")]
        return [about.error(f"MX: {domain} has neither MX nor address", fix)]
    if targets == [""]:
        return [about.error(f"MX: {domain} says that it takes no mail (a null MX)", fix)]
    lost = [one for one in targets[:MOST_SERVERS] if not await _has_address(names, one)]
    if len(lost) == len(targets[:MOST_SERVERS]):
        return [about.error(f"MX: no server of {domain} has an address", fix)]
    if lost:
        return [about.warning(f"MX: {len(lost)} of {len(targets)} servers of {domain} have no address")]
    return [about.ok(f"MX: {len(targets)} server{'s' * (len(targets) != 1)}")]


async def _has_address(names: Names, host: str) -> bool:
    if not re.fullmatch(r"[\x21-\x7e]{1,253}", host):
        return False
    return bool((await names.ask(host, "A")).rows or (await names.ask(host, "AAAA")).rows)


async def _transport(names: Names, domain: str, about: About) -> list[Finding]:
    """RFC 8461 and 8460: they protect the mail that consumers send to you."""
    absent = []
    for what, name, begins in (
        ("MTA-STS", f"_mta-sts.{domain}", b"v=STSv1"),
        ("TLS-RPT", f"_smtp._tls.{domain}", b"v=TLSRPTv1"),
    ):
        rows = [row for row in (await names.ask(name, "TXT")).rows if row.startswith(begins)]
        if len(rows) != 1:
            absent.append(what)
    if not absent:
        return [about.ok("MTA-STS and TLS-RPT are published")]
    return [about.note(f"{' and '.join(absent)} of {domain} {'are' if len(absent) > 1 else 'is'} not published")]
