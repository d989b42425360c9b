"""Requests that are made of a prepared one are those that httpx makes."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.providers.posts import Posts, form

HEADERS = [(b"Authorization", b"Basic eDp5"), (b"Content-Type", b"application/x-www-form-urlencoded")]


@pytest.mark.parametrize(
    "url", ["https://api.example.com/a/Messages.json?x=1", "http://127.0.0.1:8080/m", "http://[::1]/"]
)
@pytest.mark.parametrize("body", [b"To=%2B1&Body=x", "Grüße".encode()])
async def test_a_request_is_the_one_that_httpx_makes(url: str, body: bytes) -> None:
    usual = httpx.Request("POST", url, headers=HEADERS, content=body)
    quick = Posts(httpx.URL(url), HEADERS).with_body(body)
    assert (quick.method, quick.url, quick.headers.raw) == (usual.method, usual.url, usual.headers.raw)
    assert (quick.content, quick.read(), await quick.aread()) == (body, body, body)
    assert b"".join(quick.stream) == body  # type: ignore[arg-type]


def test_one_request_does_not_change_the_next() -> None:
    posts = Posts(httpx.URL("https://api.example.com/"), HEADERS)
    first = posts.with_body(b"a")
    first.headers["Authorization"] = "other"
    assert (
        posts.with_body(b"bc").headers.raw
        == httpx.Request("POST", "https://api.example.com/", headers=HEADERS, content=b"bc").headers.raw
    )


@given(st.dictionaries(st.text(), st.text(alphabet=st.characters(codec=None, categories=None)), max_size=4))
def test_a_form_is_the_one_that_the_standard_library_writes(fields: dict[str, str]) -> None:
    assert form(fields) == urlencode(fields, errors="replace").encode()


def test_each_character_of_ascii_and_half_of_a_pair() -> None:
    fields = {"Body": "".join(map(chr, range(256))) + "😀\ud800"}
    assert form(fields) == urlencode(fields, errors="replace").encode()
