"""The DNS of a sending domain: what strangers publish, at its best and at its worst, over a real name server."""

from __future__ import annotations

import base64
from functools import cache

import pytest

from dcbridge.operations.doctor import dkim, dmarc, mail_domain, spf
from dcbridge.operations.doctor.dns_client import QUESTIONS, Answer, Kind, NameServer
from dcbridge.operations.doctor.finding import About, Finding, Severity
from dcbridge.settings.process import Settings
from tests.doctor.dns_server import Zone, serving, txt

AT = About("domain example.com")


class Told:
    """A name server of a table: name -> TXT rows; MX and addresses where they are named so."""

    def __init__(self, texts: dict[str, list[str | bytes]], there: tuple[str, ...] = ()) -> None:
        self.texts, self.there, self.asked = texts, there, 0

    async def ask(self, name: str, kind: Kind) -> Answer:
        self.asked += 1
        if kind == "TXT" and name in self.texts:
            rows = tuple(one.encode() if isinstance(one, str) else one for one in self.texts[name])
            return Answer("found" if rows else "nothing", rows)
        if kind in ("A", "MX") and name in self.there:
            return Answer("found", (b"192.0.2.1",))
        return Answer("no such name")


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.severity.word, one.words) for one in findings]


CIRCLE = {"example.com": ["v=spf1 include:a.com -all"], "a.com": ["v=spf1 include:b.com -all"],
          "b.com": ["v=spf1 include:a.com -all"]}  # fmt: skip
WIDE = {"example.com": ["v=spf1 " + " ".join(f"include:i{n}.com" for n in range(11)) + " -all"],
        **{f"i{n}.com": ["v=spf1 ip4:192.0.2.1 ~all"] for n in range(11)}}  # fmt: skip
TEN = {"example.com": ["v=spf1 " + " ".join(f"include:i{n}.com" for n in range(10)) + " -all"],
       **{f"i{n}.com": ["v=spf1 ip4:192.0.2.1 ~all"] for n in range(10)}}  # fmt: skip
SPF = [
    ({"example.com": ["v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"]}, "ok", "one record, 0 of 10 lookups"),
    ({"example.com": ["v=spf1 a mx:other.com/24 a:x.com//64 ~all"]}, "ok", "3 of 10 lookups"),
    ({"example.com": ["other=1", "V=SPF1 ip4:192.0.2.1 -ALL"]}, "ok", "0 of 10"),
    ({"example.com": []}, "error", "has no record"),
    ({"example.com": ["v=spf10 -all", "v=spf1x"]}, "error", "has no record"),
    ({"example.com": ["v=spf1 -all", "v=spf1 ~all"]}, "error", "has 2 records"),
    ({"example.com": ["v=spf1 ip4:192.0.2.1 +all"]}, "error", "+all"),
    ({"example.com": ["v=spf1 all"]}, "error", "+all"),
    ({"example.com": ["v=spf1 ip4:192.0.2.1 ?all"]}, "warning", "?all"),
    ({"example.com": ["v=spf1 ip4:192.0.2.1"]}, "warning", "no all"),
    ({"example.com": ["v=spf1"]}, "warning", "no all"),
    ({"example.com": ["v=spf1 ip4:192.0.2.300 -all"]}, "error", "no network"),
    ({"example.com": ["v=spf1 ip4:2001:db8::1 -all"]}, "error", "of the other kind"),
    ({"example.com": ["v=spf1 ipv4:192.0.2.1 -all"]}, "error", "neither a mechanism"),
    ({"example.com": ["v=spf1 include: -all"]}, "error", "include names nothing"),
    ({"example.com": ["v=spf1 include:a.cominclude:b.com -all"]}, "error", "no name"),
    ({"example.com": ["v=spf1 all:x -all"]}, "error", "all takes no value"),
    ({"example.com": ["v=spf1 a/x -all"]}, "error", "no mechanism"),
    ({"example.com": ["v=spf1 redirect=a.com redirect=b.com"]}, "error", "redirect= stands in it twice"),
    ({"example.com": ["v=spf1 ptr -all"]}, "warning", "ptr"),
    ({"example.com": ["v=spf1 -all include:a.com"]}, "warning", "behind all"),
    ({"example.com": ["v=spf1 include:_spf.gone.com -all"]}, "error", "it has no SPF record"),
    ({"example.com": ["v=spf1 include:a.com -all"], "a.com": ["v=spf1 -all", "v=spf1 -all"]}, "error", "2 SPF records"),
    ({"example.com": ["v=spf1 include:a.com -all"], "a.com": ["v=spf1 nonsense"]}, "error", "cannot be read"),
    ({"example.com": ["v=spf1 redirect=a.com"], "a.com": ["v=spf1 ip4:192.0.2.1 -all"]}, "ok", "1 of 10"),
    ({"example.com": ["v=spf1 redirect=a.com"], "a.com": ["v=spf1 +all"]}, "error", "+all"),
    ({"example.com": ["v=spf1 redirect=example.com"]}, "error", "leads back to itself"),
    (CIRCLE, "error", "leads back to itself"),
    ({"example.com": ["v=spf1 redirect=a.com"], "a.com": ["v=spf1 redirect=example.com"]}, "error", "back to itself"),
    ({"example.com": ["v=spf1 redirect=a.com"], "a.com": ["v=spf1 redirect=b.com"], "b.com": ["v=spf1 +all"]}, "error",
     "+all"),
    (CIRCLE, "error", "needs 11 lookups"),
    (TEN, "ok", "10 of 10"),
    (WIDE, "error", "needs 11 lookups"),
    ({"example.com": ["v=spf1 a:n1.com a:n2.com mx:n3.com -all"]}, "error", "3 names"),
    ({"example.com": ["v=spf1 a:n1.com a:n2.com -all"]}, "ok", "2 of 10"),
    ({"example.com": ["v=spf1 exists:%{i}.list.com include:%{d}.x.com -all"]}, "ok", "2 of 10"),
    ({"example.com": [b"v=spf1 ip4:192.0.2.1 \xc3\xa4 -all"]}, "error", "beyond ASCII"),
    ({"example.com": ["v=spf1 " + "a " * 400 + "-all"]}, "error", "more than 300 terms"),
    ({"example.com": ["v=spf1 " + " ".join(f"ip4:192.0.2.{n}" for n in range(40)) + " -all"]}, "warning", "bytes"),
    ({"example.com": ["v=spf1 " + "x" * 60_000 + " -all"]}, "error", "neither a mechanism"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "severity", "words"), SPF)
async def test_spf(texts: dict[str, list[str | bytes]], severity: str, words: str) -> None:
    names = Told(texts, ("example.com", "other.com", "x.com"))
    found = said(list(await spf.check(names, "example.com", AT)))
    assert [one for one in found if one[0] == severity and words in one[1]], found
    assert (severity == "ok") == ({"ok"} == {one for one, _ in found} - {"note"}), found
    assert all(len(one) < 300 for _, one in found)
    assert names.asked < 60


@cache
def rsa(bits: int) -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = generate_private_key(65537, bits).public_key()
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def small() -> str:
    """A key of 512 bits, which no library makes any more."""
    modulus = b"\x00" + (1 << 511 | 1).to_bytes(64, "big")
    integers = b"\x02" + bytes([len(modulus)]) + modulus + b"\x02\x03\x01\x00\x01"
    inner = b"\x00\x30" + bytes([len(integers)]) + integers
    head = bytes.fromhex("300d06092a864886f70d0101010500")
    whole = head + b"\x03" + bytes([len(inner)]) + inner
    return base64.b64encode(b"\x30" + bytes([len(whole)]) + whole).decode()


ED = base64.b64encode(b"e" * 32).decode()
DKIM = [
    (["v=DKIM1; k=rsa; p={2048}"], "ok", "RSA, 2048 bits"),
    (["p={2048}"], "ok", "RSA, 2048 bits"),
    (["v=DKIM1; k=rsa; p={1024}"], "warning", "1024 bits"),
    (["v=DKIM1; p={512}"], "error", "512 bits"),
    ([f"v=DKIM1; k=ed25519; p={ED}"], "ok", "Ed25519"),
    (["v=DKIM1; k=ed25519; p=AAAA"], "error", "32 bytes"),
    (["v=DKIM1; k=rot13; p=AAAA"], "error", "unknown kind"),
    (["v=DKIM1; p="], "error", "revoked"),
    (["v=DKIM1; k=rsa"], "error", "no key"),
    (["k=rsa; v=DKIM1; p={2048}"], "error", "version"),
    (["v=DKIM2; p={2048}"], "error", "version"),
    (["v=DKIM1; p=%%%"], "error", "base64"),
    (["v=DKIM1; p=AAAA"], "error", "no RSA key"),
    (["v=DKIM1; p=" + "A" * 40_000], "error", "no RSA key"),
    (["v=DKIM1; p={2048}; p={2048}"], "error", "twice"),
    (["v=DKIM1; h=sha1; p={2048}"], "error", "sha256"),
    (["v=DKIM1; t=y; p={2048}"], "warning", "tests"),
    (["v=DKIM1; p={2048}", "v=DKIM1; p={2048}"], "error", "2 records"),
    ([b"v=DKIM1; p=\xff\xfe"], "error", "UTF-8"),
    (["nonsense"], "error", "no list of tags"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "severity", "words"), DKIM)
async def test_dkim(rows: list[str | bytes], severity: str, words: str) -> None:
    keys = {"{2048}": rsa(2048), "{1024}": rsa(1024), "{512}": small()}
    written: list[str | bytes] = []
    for row in rows:
        for name, key in keys.items():
            row = row.replace(name, key) if isinstance(row, str) else row
        written.append(row)
    names = Told({"s1._domainkey.example.com": written})
    found = said(await dkim.check(names, "example.com", ("s1", "s2"), AT, named=False))
    assert [one for one in found if one[0] == severity and words in one[1]], found


async def test_a_selector_that_was_named_has_to_be_there() -> None:
    usual = said(await dkim.check(Told({}), "example.com", ("s1", "s2"), AT, named=False))
    named = said(await dkim.check(Told({}), "example.com", ("s1", "s2"), AT, named=True))
    assert [one for one, _ in usual] == ["note"]
    assert [one for one, _ in named] == ["error", "error"]


@pytest.mark.parametrize("text", ["", "a b", "-a", "a..b", "a" * 70, "a/b", "ä"])
def test_what_is_no_selector(text: str) -> None:
    assert not dkim.is_selector(text)


ONE = "v=DMARC1; p=reject; rua=mailto:d@example.com"
DMARC = [
    ({"_dmarc.example.com": [ONE]}, "mail.example.com", "ok", "policy is reject"),
    ({"_dmarc.example.com": ["v=DMARC1;p=none;rua=mailto:d@e.com"]}, "", "note", "is none"),
    ({"_dmarc.example.com": ["v=DMARC1; p=quarantine; pct=50; rua=mailto:d@e.com"]}, "", "note", "50 %"),
    ({"_dmarc.example.com": ["v=DMARC1; p=reject; pct=101"]}, "", "error", "pct"),
    ({"_dmarc.example.com": ["v=DMARC1; p=reject; pct=" + "9" * 5000]}, "", "error", "pct"),
    ({"_dmarc.example.com": ["v=DMARC1; p=reject"]}, "", "note", "no address for reports"),
    ({"_dmarc.example.com": ["v=DMARC1; rua=mailto:d@e.com"]}, "", "error", "no policy"),
    ({"_dmarc.example.com": ["v=DMARC1; p=rejct"]}, "", "error", "unknown policy"),
    ({"_dmarc.example.com": ["v=DMARC1; p=none; p=reject"]}, "", "error", "twice"),
    ({"_dmarc.example.com": [ONE, ONE]}, "", "error", "2 records"),
    ({"_dmarc.example.com": ["p=reject; v=DMARC1"]}, "", "error", "no record"),
    ({"_dmarc.example.com": ["hello"]}, "", "error", "no record"),
    ({}, "", "error", "no record"),
    ({"_dmarc.example.com": [b"v=DMARC1; p=\xff"]}, "", "error", "cannot be read"),
    ({"_dmarc.example.com": [ONE]}, "other.org", "warning", "another organization"),
    ({"_dmarc.example.com": [ONE]}, "bounces.example.com", "ok", "reject"),
    ({"_dmarc.example.com": [ONE + "; aspf=s"]}, "bounces.example.com", "warning", "aspf=s"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "envelope", "severity", "words"), DMARC)
async def test_dmarc(texts: dict[str, list[str | bytes]], envelope: str, severity: str, words: str) -> None:
    found = said(list(await dmarc.check(Told(texts), "example.com", envelope, AT)))
    assert [one for one in found if one[0] == severity and words in one[1]], found


async def test_the_policy_of_a_domain_above_counts() -> None:
    above: dict[str, list[str | bytes]] = {"_dmarc.example.com": ["v=DMARC1; p=reject; sp=none; rua=mailto:d@e.com"]}
    found = said(list(await dmarc.check(Told(above), "mail.example.com", "", AT)))
    assert ("note", "DMARC: the policy of example.com is none: forged mail is reported and let through") in found
    assert len(list(dmarc.places(".".join("abcdefghijklmnop") + ".example.com"))) <= dmarc.MOST_STEPS


GOOD: Zone = {
    "example.com": {"MX": ["10 mail.example.com."], "TXT": [txt("v=spf1 mx -all"), txt("other")]},
    "mail.example.com": {"A": ["192.0.2.1"]},
    "s1._domainkey.example.com": {"TXT": [txt(f"v=DKIM1; k=ed25519; p={ED}")]},
    "_dmarc.example.com": {"TXT": [txt(ONE)]},
    "_mta-sts.example.com": {"TXT": [txt("v=STSv1; id=1")]},
    "_smtp._tls.example.com": {"TXT": [txt("v=TLSRPTv1; rua=mailto:d@example.com")]},
}


def of(port: int, patience: float = 5.0) -> NameServer:
    return NameServer(Settings(name_server=f"127.0.0.1:{port}"), patience)


async def test_a_domain_that_is_well() -> None:
    async with serving(GOOD) as server:
        found = list(await mail_domain.check(of(server.port), "example.com", "example.com", ("s1",), AT))
        assert {one.severity for one in found} == {Severity.OK}, said(found)
        assert len(found) == 5
        assert len(server.asked) == len(set(server.asked))  # each once


MX: list[tuple[dict[str, list[str]], str, str]] = [
    ({"MX": ["0 ."]}, "error", "takes no mail"),
    ({"MX": ["10 gone.example.com."]}, "error", "no server"),
    ({"MX": ["10 gone.example.com.", "20 mail.example.com."]}, "warning", "1 of 2"),
    ({"A": ["192.0.2.1"]}, "warning", "its own address"),
    ({"TXT": [txt("x")]}, "error", "neither MX nor address"),
]


async def test_where_replies_and_bounces_go() -> None:
    for kinds, severity, words in MX:
        async with serving({**GOOD, "example.com": kinds}) as server:
            found = said(list(await mail_domain.check(of(server.port), "example.com", "example.com", ("s1",), AT)))
            assert [one for one in found if one[0] == severity and words in one[1]], found


async def test_records_at_their_worst_come_whole_and_end() -> None:
    """A huge record comes by TCP; many strings are one text; what leads on and on is cut off."""
    long = "v=spf1 " + " ".join(f"ip4:10.{n // 250}.{n % 250}.1" for n in range(280)) + " -all"
    wild = {f"n{n}.com": {"TXT": [txt("v=spf1 " + " ".join(f"include:n{n * 9 + k}.com" for k in range(1, 10)))]}
            for n in range(200)}  # fmt: skip
    control = {"TXT": [txt(b"v=spf1 \x1b[31m\x00 -all")]}
    zone: Zone = {"long.com": {"TXT": [txt(long)]}, **wild, "control.com": control}
    async with serving(zone) as server:
        found = said(list(await spf.check(of(server.port), "long.com", AT)))
        assert [one for one, _ in found] == ["warning", "ok"], found
        found = said(list(await spf.check(of(server.port), "n0.com", AT)))
        assert any("lookups, and receivers give up" in words for _, words in found)
        assert len(server.asked) < QUESTIONS
        found = said(list(await spf.check(of(server.port), "control.com", AT)))
        assert [one for one, _ in found] == ["error"]


async def test_names_that_the_dns_does_not_know_and_cannot_have() -> None:
    async with serving(GOOD, silent=["slow.com"]) as server:
        names = of(server.port)
        assert (await names.ask("gone.com", "TXT")).status == "no such name"
        assert (await names.ask("example.com", "AAAA")).status == "nothing"
        assert (await names.ask("a" * 64 + ".com", "TXT")).status == "failed"
        assert (await names.ask("a..com", "TXT")).status == "failed"
        assert (await of(server.port, 0.3).ask("slow.com", "TXT")).status == "failed"
        assert (await names.ask("MAIL.example.com.", "A")).rows == (b"192.0.2.1",)
