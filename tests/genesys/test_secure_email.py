"""Secure Email is asked two questions that change nothing. Whatever else there is cannot be sent."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

import dcbridge
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


def test_no_other_code_knows_the_interface() -> None:
    """Its path stands in one file, and that file has no method but GET and no parameter that marks as read."""
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
    assert methods == ["GET", "GET"]
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
