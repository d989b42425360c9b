"""HTML of strangers: what is left of it, and that it takes no time."""

from __future__ import annotations

import re
import time

import pytest

from dcbridge.mail.clean import LONGEST, MOST_ENTITIES, cleaned

ATTACKS = [
    "<script>CANARY</script>", "<script>CANARY", "<img src=x onerror=CANARY>", "<svg onload=CANARY><a>",
    "<svg><script>CANARY", "<a href='javascript:CANARY'>x</a>", "<a href='java\nscript:CANARY'>x</a>",
    "<a href='&#106;avascript:CANARY'>x</a>", "<a href='data:text/html,CANARY'>x</a>",
    "<iframe src=//CANARY></iframe>", "<iframe srcdoc='CANARY'>",
    "<form action=//CANARY><input value=CANARY></form>", "<link rel=stylesheet href=//CANARY>",
    "<base href=//CANARY>", "<meta http-equiv=refresh content='0;url=//CANARY'>",
    "<style>*{background:url(//CANARY)}</style>", "<p style='background:url(//CANARY)'>x</p>",
    "<img src=https://CANARY/pixel.gif>", "<img src='cid:CANARY'>",
    "<table background=//CANARY><td>x</td></table>", "<object data=//CANARY>", "<embed src=//CANARY>",
    "<video poster=//CANARY></video>", "<math><mi xlink:href='javascript:CANARY'>x</mi></math>",
    "<noscript><p title='</noscript><img src=x onerror=CANARY>'>",
    "<title><a title='</title><img src=x onerror=CANARY>'>",
    "<svg></p><style><a id='</style><img src=1 onerror=CANARY>'>",
    "<p title='<img src=x onerror=CANARY>'>x</p>", "<!--><img src=x onerror=CANARY>-->",
    "<a href=x onclick=CANARY>x</a>", "<a/onmouseover=CANARY>x</a>",
    "<p class=CANARY id=CANARY name=CANARY>x</p>",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_leaves_nothing(attack: str) -> None:
    safe = cleaned(f"<p>before</p>{attack}")
    assert safe.startswith("<p>before</p>")
    assert [tag for tag in re.findall(r"<[^>]*>?", safe) if "CANARY" in tag or "script" in tag.lower()] == []


@pytest.mark.parametrize(
    ("html", "safe"),
    [
        ("<p>a <b>b</b><br>c</p>", "<p>a <b>b</b><br>c</p>"),
        ("1 < 2 & 3 &amp; 4 &lt;b&gt;", "1 &lt; 2 &amp; 3 &amp; 4 &lt;b&gt;"),
        (
            '<a href="https://x.example/?a=1&amp;b=2" title=t>x</a>',
            '<a href="https://x.example/?a=1&amp;b=2" rel="noopener noreferrer nofollow">x</a>',
        ),
        ("<td colspan=2>x</td>", "x"),
        (
            "<table><tr><td colspan='2'>x</td></tr></table>",
            '<table><tbody><tr><td colspan="2">x</td></tr></tbody></table>',
        ),
        ("<img src=cid:a@b alt='a map'><img src=cid:gone alt=gone>", '<img alt="a map" src="/file/1"><img alt="gone">'),
        ("<div style='display:none'>a<div>b</div></div>c<p hidden>d</p>", "c"),
        ("<o:p>Word</o:p><font color=red>x</font>", "Word<font>x</font>"),
    ],
)
def test_what_is_left(html: str, safe: str) -> None:
    assert cleaned(html, lambda cid: "/file/1" if cid == "cid:a@b" else "") == safe


@pytest.mark.parametrize(
    "piece",
    ["<div>", "<b><p>", "<a>", "<font>", "<table><td>", "<select>", "<svg><a>", "<a href=x ", "<", "<!--", "</p>"],
)
def test_it_takes_no_time(piece: str) -> None:
    began = time.process_time()
    cleaned(piece * (LONGEST // len(piece)))
    assert time.process_time() - began < 10, "seconds on a busy machine; less than one on an idle one"


def test_what_is_too_large_is_not_kept() -> None:
    assert cleaned("x" * LONGEST) == "x" * LONGEST
    assert cleaned("x" * (LONGEST + 1)) == ""
    assert cleaned("&" * (MOST_ENTITIES + 1)) == ""
