"""Secure Email is asked three questions that change nothing, and handed emails. Nothing else can be sent."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import orjson
import pytest

import dcbridge
from dcbridge.config.secure_email import SecureEmail
from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Unreadable
from dcbridge.genesys import interaction_data, secure_email
from dcbridge.genesys.envelope import read

BASE = "https://digital.example.com/nexus/v3"
ROOT = Path(dcbridge.__file__).parent.parent
HOSTILE = [
    "1?read=true",
    "1/userdata?read=true",
    "../1",
    "1#",
    "1\r\nDELETE",
    "",
    "a" * 65,
    "%3Fread=true",
    "1&read=true",
]


def test_the_only_requests_read() -> None:
    asked = secure_email.user_data(BASE, "bff348eb-dd5f-47d6-bf96-0e75b8ecf7ca")
    assert asked is not None
    assert (asked.method, str(asked.url)) == ("GET", f"{BASE}/securemail/bff348eb-dd5f-47d6-bf96-0e75b8ecf7ca/userdata")
    counted = secure_email.count(BASE, "a@b.c")
    assert (counted.method, str(counted.url)) == ("GET", f"{BASE}/securemail/count?address=a%40b.c&status=unread")


@pytest.mark.parametrize("mail", HOSTILE)
def test_an_id_adds_no_parameter_and_no_path(mail: str) -> None:
    assert secure_email.user_data(BASE, mail) is None
    assert interaction_data.question(BASE, "email", mail, None) is None


@pytest.mark.parametrize("address", [*HOSTILE, "a@b.c&read=true", "a@b.c&status=read"])
def test_an_address_adds_no_parameter(address: str) -> None:
    url = secure_email.count(BASE, address).url
    assert url.path == "/nexus/v3/securemail/count"
    asked = parse_qs(url.query.decode(), keep_blank_values=True)
    assert asked == {"address": [address], "status": ["unread"]}


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b'{"data":{"count":3}}', 3),
        (b'{"data":{"count":0}}', 0),
        (b'{"data":{"count":true}}', None),
        (b'{"data":{"count":-1}}', None),
        (b'{"data":{"count":1e9}}', None),
        (b'{"data":{"count":10000000}}', None),
        (b"{}", None),
    ],
)
def test_a_count_is_a_small_number(body: bytes, number: int | None) -> None:
    assert secure_email.count_of(read(httpx.Response(200, content=body))) == number


FIELDS = {
    "from": "{address}",
    "last": "{last_name|Unknown}",
    "subject": "{subject}",
    "text": "{text}",
    "data": {"ref": "{reference}", "list": ["{channel}", "{first_name}", "{{x}}"]},
}
FILES = {"field": "files", "each": {"n": "{file_name}", "t": "{mimetype}", "c": "{base64}"}}
VALUES = secure_email.values("a@b.c", "", 'Say "hi"', "line\n{address}", "care@b.c", "b.c", "dcb-1", 1_800_000_000)


def box(**more: object) -> secure_email.Box:
    return secure_email.Box(BASE, SecureEmail.model_validate({"fields": FIELDS, "files": FILES, **more}))


def test_an_email_is_written_as_its_template_says() -> None:
    made = box(securebox="billing").send(box().data(VALUES, [("map.png", "image/png", b"\x89PNG")]), "dcb-1")
    assert (made.method, str(made.url)) == ("POST", f"{BASE}/securemail?securebox=billing")
    assert orjson.loads(made.content) == {
        "operationId": "dcb-1",
        "data": {
            "from": "a@b.c",
            "last": "Unknown",
            "subject": 'Say "hi"',
            "text": "line\n{address}",
            "data": {"ref": "dcb-1", "list": ["b.c", "{x}"]},
            "files": [{"n": "map.png", "t": "image/png", "c": "iVBORw=="}],
        },
    }
    assert "files" not in box().data(VALUES)
    named = secure_email.values("a@b.c", " Ana Maria  Tamm ", "", "t", "", "", "", 0)
    assert (named["first_name"], named["last_name"], named["time"]) == ("Ana", "Maria  Tamm", "1970-01-01T00:00:00Z")
    assert "subject" not in box().data(named)


def test_the_list_of_a_consumer_marks_nothing() -> None:
    asked = box(securebox="billing").listed("a@b.c&read=true")
    assert (asked.method, asked.url.path) == ("GET", "/nexus/v3/securemail")
    assert dict(asked.url.params) == {
        "address": "a@b.c&read=true", "status": "all", "index": "0", "count": "50", "securebox": "billing",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "follows"),
    [
        (200, b'{"status":{"code":"SUCCESS"},"secureMailId":"x"}', None),
        (200, b"{}", None),
        (200, b'{"status":{"code":"INVALID_PARAMETER"}}', Refused),
        (200, b"<html>", Unreadable),
        (400, b'{"status":{"code":"INVALID_FILE_TYPE"}}', Refused),
        (401, b"", AccountFault),
        (403, b"", AccountFault),
        (404, b"", AccountFault),
        (429, b"", Throttled),
        (500, b'{"status":{"code":"FAILURE"}}', OutcomeUnknown),
    ],
)
def test_what_an_answer_to_an_email_means(status: int, body: bytes, follows: type[SendError] | None) -> None:
    reading = read(httpx.Response(status, content=body))
    if follows is None:
        secure_email.sent(reading)
        return
    with pytest.raises(follows) as raised:
        secure_email.sent(reading)
    if isinstance(raised.value, Refused):
        assert secure_email.refuses_files(raised.value) == (b"FILE_TYPE" in body)


@pytest.mark.parametrize(
    ("body", "there"),
    [
        (b'{"data":[{"userData":{"x":"dcb-1"}}]}', True),
        (b'{"data":[{"subject":"[dcb-1] hi"}]}', True),
        (b'{"data":{"emails":[{"id":"dcb-2"}]}}', False),
        (b'{"data":[]}', False),
        (b"[" * 2000 + b"]" * 2000, False),
    ],
)
def test_an_email_is_found_in_whatever_field(body: bytes, *, there: bool) -> None:
    assert secure_email.is_listed(read(httpx.Response(200, content=body)), "dcb-1") == there
    assert not secure_email.is_listed(read(httpx.Response(404, content=body)), "dcb-1")


def test_no_other_code_knows_the_interface() -> None:
    """Its path stands in one file, and that file has no method but GET and POST and no parameter that marks as read."""
    knows = set()
    for folder in ("dcbridge", "service", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            texts = [text for text in _texts(path) if "securemail/" in text or "/securemail" in text]
            if texts:
                knows.add(str(path.relative_to(ROOT)))
    assert knows == {"dcbridge/genesys/secure_email.py"}
    source = Path(inspect.getfile(secure_email))
    made = [node for node in ast.walk(ast.parse(source.read_text())) if _makes_a_request(node)]
    methods = [ast.literal_eval(node.args[0]) for node in made if isinstance(node, ast.Call)]
    assert methods == ["GET", "GET", "POST", "GET"]
    assert not [text for text in _texts(source) if "read=" in text or "remove" in text or text == "DELETE"]


def _makes_a_request(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Request"


def _texts(path: Path) -> list[str]:
    """Texts of the code, those of docstrings left out."""
    tree = ast.parse(path.read_text())
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    ]
