"""X-Hub-Signature: vectors, hostile headers beside their accepted twins, and which kind of wrong."""

from __future__ import annotations

import hashlib
import hmac

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.genesys import signature
from dcbridge.genesys.signature import Given, Verdict, sign, verify, which_kind_of_wrong

KEY = b"secret"
RECEIPT = (
    b'{"messages":[{"channel":{"from":{"id":"0123456789"},"to":{"id":"16504661149"},'
    b'"messageId":"1613474523265-0"},"type":"Receipt","status":"Delivered"}]}'
)
SIGNED = b"sha1=b11bfae5bc5f85749258a2ed5d9fa0ef6fe867d8"
DIGEST = SIGNED[5:]


@pytest.mark.parametrize(
    ("key", "body", "algorithm", "expected"),
    [
        (KEY, b"", "sha1", "sha1=25af6174a0fcecc4d346680a72b7ce644b9a88e8"),
        (KEY, RECEIPT, "sha1", SIGNED.decode()),
        # RFC 2202 case 2, RFC 4231 case 2
        (b"Jefe", b"what do ya want for nothing?", "sha1", "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "sha256",
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
    ],
)
def test_vectors(key: bytes, body: bytes, algorithm: str, expected: str) -> None:
    assert sign(key, body, algorithm) == expected
    assert verify([expected.encode()], body, [key]) == Verdict(0)


@pytest.mark.parametrize(
    ("refused", "wrong", "accepted"),
    [
        ([], "missing", [SIGNED]),
        ([b""], "no algorithm prefix", [SIGNED]),
        ([SIGNED, SIGNED], "more than one header", [SIGNED]),
        ([SIGNED + b"," + SIGNED], "wrong length", [SIGNED]),
        ([DIGEST], "no algorithm prefix", [SIGNED]),
        ([b"=" + DIGEST], "unknown algorithm", [SIGNED]),
        ([b"sha1:" + DIGEST], "no algorithm prefix", [SIGNED]),
        ([b"sha1 =" + DIGEST], "unknown algorithm", [SIGNED]),
        ([b"sha1= " + DIGEST], "wrong length", [SIGNED]),
        ([b"sha1==" + DIGEST], "wrong length", [SIGNED]),
        ([b"md5=" + DIGEST], "unknown algorithm", [b"sha1=" + DIGEST]),
        ([b"sha2=" + DIGEST], "unknown algorithm", [b"sha1=" + DIGEST]),
        ([b"sha256=" + DIGEST], "wrong length", [b"sha1=" + DIGEST]),
        ([SIGNED[:-1]], "wrong length", [SIGNED]),
        ([SIGNED + b"8"], "wrong length", [SIGNED]),
        ([SIGNED[:-1] + b"9"], "no secret matches", [SIGNED]),
        ([SIGNED[:-1] + b"g"], "no secret matches", [SIGNED]),
        ([SIGNED + b" " * 300], "wrong length", [SIGNED + b" " * 200]),
        ([SIGNED[:-1] + b"\xb8"], "no secret matches", [SIGNED]),
        ([b"sha1=" + b"\xff" * 40], "no secret matches", [SIGNED]),
        ([b"sha1=" + DIGEST[:-1] + b"\x00"], "no secret matches", [SIGNED]),
        ([SIGNED + b";"], "wrong length", [SIGNED + b" "]),  # white space around a value is HTTP's
        ([b'"' + SIGNED + b'"'], "unknown algorithm", [b" " + SIGNED + b"\t"]),
        ([b"SHA-1=" + DIGEST], "unknown algorithm", [b"SHA1=" + DIGEST]),
        ([b"sha1=" + DIGEST.upper()[:-1] + b"9"], "no secret matches", [b"sha1=" + DIGEST.upper()]),
        ([b"sha1=" + b"%s" * 20], "no secret matches", [SIGNED]),
    ],
)
def test_a_hostile_header_is_refused_and_its_twin_is_taken(
    refused: list[bytes], wrong: str, accepted: list[bytes]
) -> None:
    assert verify(refused, RECEIPT, [KEY]) == Verdict(None, wrong)
    assert verify(accepted, RECEIPT, [KEY]) == Verdict(0)


@pytest.mark.parametrize(
    ("key", "body"),
    [
        (KEY, RECEIPT[:-1]),
        (KEY, RECEIPT + b"\x00"),
        (KEY, RECEIPT.replace(b"Delivered", b"delivered")),
        (b"Secret", RECEIPT),
        (b"secret\x00x", RECEIPT),
    ],
)
def test_another_byte_of_body_or_key_is_refused(key: bytes, body: bytes) -> None:
    assert not verify([SIGNED], body, [key]).ok
    assert verify([SIGNED], RECEIPT, [KEY]).ok


PRETTY = b'{\n  "a": 1\n}'


@pytest.mark.parametrize(
    ("signed_with", "signed_body", "sent", "wrong"),
    [
        (b"retired", PRETTY, PRETTY, "matches a retired secret"),
        (b"live\n", PRETTY, PRETTY, "matches with white space around the secret"),
        (b"live", b"", PRETTY, "matches an empty body"),
        (b"live", PRETTY, PRETTY + b"\n", "matches with other white space around the body"),
        (b"live", PRETTY + b"\n", PRETTY, "matches with other white space around the body"),
        (b"live", b'{"a":1}', b'{ "a": 1 }', "matches after re-serialising"),
        (b"live", PRETTY, b'{ "a": 1 }', "matches after re-serialising"),
        (b"live", b'{"a":2}', b'{"a":1}', "no secret matches"),
        (b"other", PRETTY, PRETTY, "no secret matches"),
        (b"other", b"no json", b"no json", "no secret matches"),
        (b"live", b'{"a":1}', b'{ "a": 1 }' + b" " * 70_000, "no secret matches"),  # too long to be tried
    ],
)
def test_which_kind_of_wrong(signed_with: bytes, signed_body: bytes, sent: bytes, wrong: str) -> None:
    header = [sign(signed_with, signed_body).encode()]
    assert verify(header, sent, [b"first", b"live"], [b"retired"]) == Verdict(None, wrong)
    assert verify([sign(b"live", sent).encode()], sent, [b"first", b"live"], [b"retired"]) == Verdict(1)


@pytest.mark.parametrize("secret", [b" live", b"live ", b"\tlive\r\n"])
def test_a_secret_that_was_configured_with_white_space_is_named(secret: bytes) -> None:
    assert "white space around the secret" in verify([sign(b"live", b"x").encode()], b"x", [secret]).wrong


@pytest.mark.parametrize(
    "body", [b"[" * n + b"]" * n for n in (250, 260, 1000, 1100)] + [b'"\\ud800"', b"\xff", b"1e999"]
)
def test_a_wrong_signature_over_a_strange_body_is_a_plain_no(body: bytes) -> None:
    assert verify([b"sha1=" + b"0" * 40], body, [KEY]) == Verdict(None, "no secret matches")
    assert verify([sign(KEY, body).encode()], body, [KEY]) == Verdict(0)


@pytest.mark.parametrize(
    ("sent", "retired", "elsewhere", "wrong"),
    [
        (PRETTY, [b"old"], [b"live", b"other"], "matches a secret of another endpoint"),
        (PRETTY, [b"other"], [b"other"], "matches a retired secret"),
        (PRETTY, [b"old"], [b"live"], "no secret matches"),
        (PRETTY + b"x", [b"old"], [b"other"], "no secret matches"),
        (PRETTY, [b"old"], [b"%d" % n for n in range(64)] + [b"other"], "no secret matches"),  # too many to be tried
    ],
)
def test_a_secret_of_another_endpoint_is_named(
    sent: bytes, retired: list[bytes], elsewhere: list[bytes], wrong: str
) -> None:
    header = signature.given([sign(b"other", PRETTY).encode()])
    assert isinstance(header, Given)
    assert which_kind_of_wrong(header, sent, [b"live"], retired, elsewhere) == wrong


def test_every_live_secret_is_tried_and_its_place_is_told() -> None:
    secrets = [b"newest", b"middle", b"oldest", b"middle"]
    found = [verify([sign(secret, RECEIPT).encode()], RECEIPT, secrets).index for secret in secrets]
    assert found == [0, 1, 2, 1]
    assert verify([SIGNED], RECEIPT, []) == Verdict(None, "no secret matches")
    assert verify([sign(b"gone", RECEIPT).encode()], RECEIPT, secrets, [b"gone"]).wrong == "matches a retired secret"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@given(secret=st.binary(min_size=1, max_size=80), body=st.binary(max_size=300), flip=st.integers(0, 10**6))
def test_what_is_signed_is_accepted_and_one_other_bit_is_not(
    algorithm: str, secret: bytes, body: bytes, flip: int
) -> None:
    signed = sign(secret, body, algorithm)
    assert signed == f"{algorithm}={hmac.new(secret, body, getattr(hashlib, algorithm)).hexdigest()}"
    assert verify([signed.encode()], body, [b"another", secret]).ok
    place, bit = divmod(flip % (8 * (len(body) + 1)), 8)
    other = bytearray(body + b"\x00")
    other[place] ^= 1 << bit
    assert not verify([signed.encode()], bytes(other), [secret]).ok


@given(headers=st.lists(st.binary(max_size=80), max_size=3), body=st.binary(max_size=50))
def test_no_header_raises_and_none_is_right(headers: list[bytes], body: bytes) -> None:
    verdict = verify(headers, body, [KEY], [b"retired"])
    assert not verdict.ok
    assert verdict.wrong


@given(st.recursive(st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=20))
def test_no_json_raises(value: object) -> None:
    try:
        body = orjson.dumps(value)
    except TypeError:
        return
    assert not verify([b"sha1=" + b"0" * 40], body, [KEY]).ok
