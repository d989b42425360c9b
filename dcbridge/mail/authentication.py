"""What the receiving mail system found out about the sender (RFC 8601): only of the one that is trusted by name.

Anybody may write an Authentication-Results field into a mail. The one that counts is the first from the top that names
the trusted system and says something of DMARC: a system adds its own above what came in, and filters of one system add
a field each. What stands below is never looked at, so nobody can take a "fail" away.
"""

from __future__ import annotations

import re
from typing import Literal

from dcbridge.mail.head import Head

Verdict = Literal["pass", "fail", "none"]

_COMMENT = re.compile(r"\([^()]{0,500}\)")
_METHOD = re.compile(r"\s*dmarc(?:/\d+)?\s*=\s*([a-z]+)", re.IGNORECASE)


def dmarc(head: Head, trusted: str) -> Verdict:
    """DMARC's result by the system `trusted`; "none" where it says nothing, or no system is trusted."""
    if not trusted:
        return "none"
    for value in head.all("authentication-results"):
        plain = value
        for _ in range(5):
            plain, changed = _COMMENT.subn(" ", plain)
            if not changed:
                break
        server, *methods = plain.split(";")
        if server.strip().partition(" ")[0].lower() != trusted.lower():
            continue
        for method in methods:
            if found := _METHOD.match(method):
                return {"pass": "pass", "fail": "fail"}.get(found[1].lower(), "none")  # type: ignore[return-value]
    return "none"
