"""SPF (RFC 7208): one record, what it leads to, and whether receivers may give it up.

Lookups are counted as a receiver counts them that no mechanism matches before the end: the worst case, in which a mail
is judged by the whole record.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dcbridge.operations.doctor.dns_client import Names
from dcbridge.operations.doctor.finding import About, Finding

MOST_LOOKUPS = 10  # RFC 7208, 4.6.4
MOST_VOID = 2
MOST_NAMES = 10  # of one mx
LONG = 450  # bytes; RFC 7208, 3.4: an answer of more may not fit into a packet
MOST_TERMS = 300

_LOOKING = frozenset({"include", "a", "mx", "ptr", "exists"})
_MECHANISM = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?:[:](.*))?", re.IGNORECASE | re.ASCII)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.ASCII)
_PREFIX = re.compile(r"(?:/[0-9]{1,3})?(?://[0-9]{1,3})?$", re.ASCII)
_NAME = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.)+[A-Za-z][A-Za-z0-9-]{0,62}\.?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Term:
    """A mechanism with its qualifier, or a modifier, whose `qualifier` is "="."""

    qualifier: str
    name: str
    value: str


class NoSpf(ValueError):
    """The record breaks the syntax: a receiver stops with permerror. Says why."""


@dataclass(slots=True)
class Walked:
    """What was met on the way."""

    lookups: int = 0
    void: int = 0
    all: str = ""  # the qualifier of the outermost record's, "" without one
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_spf(text: bytes) -> bool:
    """RFC 7208, 4.5: the version ends at a blank or at the end."""
    return bool(re.match(rb"v=spf1(?: |$)", text, re.IGNORECASE))


def terms_of(text: bytes) -> list[Term]:
    """Raises NoSpf."""
    try:
        written = text.decode("ascii")
    except UnicodeDecodeError:
        raise NoSpf("it has characters beyond ASCII") from None
    words = written.split(" ")[1:]
    if len(words) > MOST_TERMS:
        raise NoSpf(f"it has more than {MOST_TERMS} terms")
    found = [_term(word) for word in words if word]
    for name in ("redirect", "exp"):
        if sum(one.qualifier == "=" and one.name == name for one in found) > 1:
            raise NoSpf(f"{name}= stands in it twice")
    return found


def _term(word: str) -> Term:
    head, slash, rest = word.partition("/")
    bare = _MECHANISM.fullmatch(head)
    # a/24 and mx//64 have a prefix and no name
    if bare and bare[3] is None and slash and bare[2].lower() in ("a", "mx"):
        if not _PREFIX.fullmatch(slash + rest):
            raise NoSpf(f"{_shown(word)} is no mechanism")
        return Term(bare[1] or "+", bare[2].lower(), "")
    if found := _MECHANISM.fullmatch(word):
        return _mechanism(word, found[1] or "+", found[2].lower(), found[3])
    if found := _MODIFIER.fullmatch(word):
        return Term("=", found[1].lower(), found[2])
    raise NoSpf(f"{_shown(word)} is neither a mechanism nor a modifier")


def _mechanism(word: str, qualifier: str, name: str, value: str | None) -> Term:
    if name == "all" and value is not None:
        raise NoSpf("all takes no value")
    if name in ("include", "exists", "ip4", "ip6") and not value:
        raise NoSpf(f"{name} names nothing")
    if name in ("ip4", "ip6"):
        try:
            network = ipaddress.ip_network(value or "", strict=False)
        except ValueError:
            raise NoSpf(f"{_shown(word)} is no network") from None
        if network.version != int(name[2]):
            raise NoSpf(f"{_shown(word)} is a network of the other kind")
    value = _PREFIX.sub("", value or "") if name in ("a", "mx") else value or ""
    return Term(qualifier, name, value)


def _shown(word: str) -> str:
    """Of what somebody else wrote, as much as one can read."""
    return f'"{word[:60]}…"' if len(word) > 60 else f'"{word}"'


async def check(names: Names, domain: str, about: About) -> Sequence[Finding]:
    """All there is to say about a domain's record."""
    answer = await names.ask(domain, "TXT")
    if answer.status == "failed":
        return [about.error(f"SPF: the name servers of {domain} did not answer")]
    records = [row for row in answer.rows if is_spf(row)]
    if not records:
        return [
            about.error(
                f"SPF: {domain} has no record, so receivers cannot tell your mail from forged mail",
                "publish one that names the servers you send from",
                "v=spf1 include:<your mail company> -all",
                f"TXT record of {domain}",
            )
        ]
    if len(records) > 1:
        return [
            about.error(
                f"SPF: {domain} has {len(records)} records, and receivers then use none", "join them in one TXT record"
            )
        ]
    walked = Walked()
    try:
        await _walk(names, domain, records[0], walked, (domain.lower(),))
    except NoSpf as error:
        return [about.error(f"SPF: the record of {domain} cannot be read: {error}", "correct it")]
    return list(_judged(domain, records[0], walked, about))


def _judged(domain: str, record: bytes, walked: Walked, about: About) -> Iterator[Finding]:
    before = len(walked.problems)
    yield from (
        about.error(f"SPF: {words}", "correct it: receivers give the whole record up") for words in walked.problems
    )
    if walked.lookups > MOST_LOOKUPS:
        before += 1
        yield about.error(
            f"SPF: the record of {domain} needs {walked.lookups} lookups, and receivers give up after {MOST_LOOKUPS}",
            "remove includes that are not needed",
        )
    if walked.void > MOST_VOID:
        before += 1
        yield about.error(
            f"SPF: {walked.void} names in the record of {domain} lead nowhere, and receivers may give up after"
            f" {MOST_VOID}",
            "remove the names that no longer exist",
        )
    match walked.all:
        case "+":
            before += 1
            yield about.error(f"SPF: {domain} ends with +all, which lets everybody send as you", "write -all or ~all")
        case "?" | "":
            how = "ends with ?all" if walked.all else "has no all at its end"
            yield about.warning(
                f"SPF: the record of {domain} {how}, so it rules nobody out", "end it with -all or ~all"
            )
    yield from (about.warning(f"SPF: {words}") for words in walked.notes)
    if len(record) > LONG:
        yield about.warning(f"SPF: the record of {domain} has {len(record)} bytes; some servers read only {LONG}")
    if not before:
        yield about.ok(f"SPF: one record, {walked.lookups} of {MOST_LOOKUPS} lookups")


async def _walk(
    names: Names, domain: str, record: bytes, walked: Walked, way: tuple[str, ...], *, outermost: bool = True
) -> None:
    """Count what a record leads to. `way`: the names of the records that led here. `outermost`: it, or one that stands
    in its place, so that its `all` counts. Raises NoSpf of the outermost.
    """
    terms = terms_of(record)
    stop = next((at for at, one in enumerate(terms) if one.name == "all" and one.qualifier != "="), None)
    redirect = next((one for one in terms if one.qualifier == "=" and one.name == "redirect"), None)
    if stop is not None:
        if outermost:
            walked.all = terms[stop].qualifier
            if any(one.qualifier != "=" for one in terms[stop + 1 :]):
                walked.notes.append(f"what stands behind all in the record of {domain} is ignored")
        terms = terms[:stop]
    for one in terms:
        if one.qualifier != "=" and one.name in _LOOKING:
            await _looked_up(names, domain, one, walked, way)
            if walked.lookups > MOST_LOOKUPS * 3:  # enough to say so
                return
    if redirect is not None and stop is None:
        walked.lookups += 1
        await _other(names, domain, "redirect", redirect.value, walked, way, outermost=outermost)


async def _looked_up(names: Names, domain: str, term: Term, walked: Walked, way: tuple[str, ...]) -> None:
    walked.lookups += 1
    if term.name == "ptr":
        walked.notes.append(f"ptr in the record of {domain} should not be used (RFC 7208, 5.5)")
        return
    if "%" in term.value:
        return  # a macro, which only a mail fills in
    target = term.value or domain
    if not _NAME.fullmatch(target):
        walked.problems.append(f"{_shown(target)} in the record of {domain} is no name")
        return
    if term.name == "include":
        await _other(names, domain, "include", target, walked, way)
        return
    if term.name == "mx":
        answer = await names.ask(target, "MX")
        if len(answer.rows) > MOST_NAMES:
            walked.problems.append(f"mx of {target} has {len(answer.rows)} names, and {MOST_NAMES} are allowed")
    else:
        answer = await names.ask(target, "A")
        if answer.void and term.name == "a":
            answer = await names.ask(target, "AAAA")
    walked.void += answer.void and term.name != "exists"  # one that exists for some mails only is meant so


async def _other(
    names: Names, domain: str, how: str, target: str, walked: Walked, way: tuple[str, ...], *, outermost: bool = False
) -> None:
    """Another domain's record. Without one, receivers stop with permerror (RFC 7208, 5.2 and 6.1)."""
    if "%" in target:
        return
    if not _NAME.fullmatch(target):
        walked.problems.append(f"{_shown(target)} in the record of {domain} is no name")
        return
    target = target.lower().rstrip(".")
    if target in way:
        walked.problems.append(f"{how} of {target} leads back to itself")
        walked.lookups = max(walked.lookups, MOST_LOOKUPS + 1)
        return
    answer = await names.ask(target, "TXT")
    walked.void += answer.void
    records = [row for row in answer.rows if is_spf(row)]
    if answer.status == "failed":
        walked.problems.append(f"{how} of {target}: its name servers did not answer")
    elif len(records) != 1:
        walked.problems.append(f"{how} of {target}: it has {len(records) or 'no'} SPF record{'s' * (len(records) > 1)}")
    else:
        try:
            await _walk(names, target, records[0], walked, (*way, target), outermost=outermost)
        except NoSpf as error:
            walked.problems.append(f"{how} of {target}: its record cannot be read: {error}")
