"""The worst mails that anybody has thought of. `python -m tests.mail.hostile` prints what each costs."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

from dcbridge.mail.reader import Mail, read

_PLAIN = b"From: a@example.org\r\nSubject: s\r\nContent-Type: text/plain\r\n\r\n"
_HTML = b"From: a@example.org\r\nContent-Type: text/html\r\n\r\n"
_MIXED = b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
_MEGA = 1 << 20


def mails() -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "a To line of 200 kB", lambda: b"To: " + b"a@b.example, " * 16_000 + b"\r\n" + _PLAIN + b"text"
    yield "a To line of 5 MB", lambda: b"To: " + b"a@b.example, " * 400_000 + b"\r\n" + _PLAIN + b"text"
    yield "20,000 ( in From", lambda: b"From: " + b"(" * 20_000 + b"\r\n\r\ntext"
    yield "20,000 encoded words", lambda: b"Subject: " + b"=?utf-8?q?a?= " * 20_000 + b"\r\n\r\ntext"
    yield "20,000 folded encoded words", lambda: b"Subject: x" + b"\r\n =?utf-8?b?YQ==?=" * 20_000 + b"\r\n\r\ntext"
    yield "100,000 parts", lambda: _MIXED + b"--b\r\n\r\ntext\r\n" * 100_000
    yield "100,000 fields", lambda: b"A: b\r\n" * 100_000 + b"\r\ntext"
    yield "25 MB of line ends", lambda: b"\n" * (25 * _MEGA)
    yield "25 MB in one line", lambda: _PLAIN + b"a" * (25 * _MEGA)
    yield "25 MB that look like boundaries", lambda: _MIXED + b"--bx\r\n" * (4 * _MEGA)
    yield (
        "300,000 levels",
        lambda: b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(300_000)
        ),
    )
    yield "300,000 mails within each other", lambda: b"Content-Type: message/rfc822\r\n\r\n" * 300_000
    yield "parameters without an end", lambda: b'Content-Type: text/plain; a="' + b"\\" * 500_000 + b"\r\n\r\ntext"
    yield "20,000 nested divs", lambda: _HTML + b"<div>" * 20_000 + b"text" + b"</div>" * 20_000
    yield "40,000 nested quotes", lambda: _HTML + b"<blockquote type=cite>" * 40_000 + b"text"
    yield "comments without an end", lambda: _HTML + b"<!--" * 250_000 + b"text"
    yield "tags without an end", lambda: _HTML + b'<a href="' * 110_000 + b"text"
    yield "styles without an end", lambda: _HTML + b"<style>" * 140_000 + b"text"
    yield "a million &", lambda: _HTML + b"&#" * 500_000
    yield "30,000 attribution lines", lambda: _PLAIN + b"On 25 Nov 2026, at 10:00, a wrote:\n" * 30_000
    yield "attributions that never come", lambda: _PLAIN + (b"skrev den On am Le a ecrit " * 14 + b"\nx:\n") * 3000
    yield "80,000 From: lines", lambda: _PLAIN + b"From: a\n" * 80_000
    yield "300,000 quoted lines", lambda: _PLAIN + b">\n\n" * 300_000
    yield "lines of dashes", lambda: _PLAIN + (b"-----" * 30 + b"\n") * 6000
    yield "noise without a charset", lambda: _PLAIN + bytes(range(128, 256)) * 8000
    yield "noise in UTF-7", lambda: _PLAIN.replace(b"text/plain", b"text/plain; charset=utf-7") + b"+" * _MEGA


def cost_of(raw: bytes) -> tuple[float, Mail]:
    """Seconds of processor time, and what was read."""
    began = time.process_time()
    found = read(raw, envelope_from="a@example.org", trusted="mx.example.org", ours=(1, 2, 3))
    return time.process_time() - began, found


def main() -> None:
    for name, make in mails():
        raw = make()
        seconds, found = cost_of(raw)
        tracemalloc.start()
        cost_of(raw)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        cut = f", cut: {', '.join(found.cut)}" if found.cut else ""
        sys.stdout.write(f"{seconds:6.2f} s {peak / _MEGA:6.1f} MB  {len(raw) / _MEGA:5.1f} MB  {name}{cut}\n")


if __name__ == "__main__":
    main()
