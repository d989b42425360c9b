"""One mailbox as a channel sends from it: an addr-spec of RFC 5322 whose domain can be looked up."""

from __future__ import annotations

import re

import idna

from dcbridge.providers.phone import without_unseen

_ATOM = r"[^\s\x00-\x20\x7f-\x9f\"(),.:;<>@\[\\\]\u2028\u2029\ud800-\udfff]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII | re.IGNORECASE)
_LONGEST_LOCAL, _LONGEST = 64, 254  # octets; RFC 5321, 4.5.3.1
_EXAMPLE = "such as care@company.com"
_QUOTATION_MARKS = re.compile("[\"`´‘’‚‛“”„‟«»‹›]|^'|'$")  # o'neil@company.com has none around it


def own_mailbox(written: str) -> str:
    """The mailbox without invisible marks, its domain in ASCII. Raises ValueError, whose words say what is wrong and
    never the mailbox.
    """
    word = re.sub(r"^mailto:", "", without_unseen(written).strip(), flags=re.IGNORECASE)
    local, at, domain = word.rpartition("@")
    _refuse_what_is_around(word, local)
    lacks = "an @ and a domain" if not at else "something before the @" if not local else "a domain after the @"
    if not (at and local and domain):
        raise ValueError(f"should be a whole mailbox, {_EXAMPLE}: it lacks {lacks}")
    if not _LOCAL.fullmatch(local) or len(local.encode()) > _LONGEST_LOCAL:
        raise ValueError(f"has something before the @ that no mailbox has: write it {_EXAMPLE.removeprefix('such ')}")
    mailbox = f"{local}@{_domain(domain)}"
    if len(mailbox.encode()) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} bytes, and no mailbox is")
    return mailbox


def _refuse_what_is_around(word: str, local: str) -> None:
    if re.search(r"[,;]", word) or "@" in local:
        raise ValueError(f"should be one mailbox, {_EXAMPLE}, and not several")
    if re.search(r"[<>]", word):
        raise ValueError(f"should be the mailbox alone, {_EXAMPLE}: leave out the name and < >")
    if _QUOTATION_MARKS.search(word):
        raise ValueError(f"has a quotation mark in it: write the mailbox alone, {_EXAMPLE}")
    if re.search(r"\s", word):
        raise ValueError(f"has white space in it: write the mailbox alone, {_EXAMPLE}")


def _domain(domain: str) -> str:
    if domain.endswith("."):
        raise ValueError("has a dot at its end: leave it out")
    if domain.startswith("["):
        raise ValueError(f"has an IP address for its domain: write the domain's name, {_EXAMPLE}")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise ValueError("has a domain that does not exist in the DNS' own spelling (IDNA 2008)") from None
    labels = domain.split(".")
    if len(labels) < 2:
        raise ValueError(f"has no whole domain after the @: write it with its dot, {_EXAMPLE}")
    if not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError(
            f"has a domain with something in it that no domain has: write it {_EXAMPLE.removeprefix('such ')}"
        )
    return domain
