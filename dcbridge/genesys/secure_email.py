"""Genesys' Secure Email API, base path /nexus/v3/securemail (contract/secure-email.txt): what is asked. No I/O.

Two questions change nothing, and no other request is built:

    GET {base}/securemail/{id}/userdata                      data: an object, the attached data
    GET {base}/securemail/count?address=…&status=unread      data.count

GET {base}/securemail/{id} is left out: with read=true it marks an email as read and stops it from being routed. So is
DELETE, which without `remove` marks it as read and deletes nothing. tests/genesys/test_secure_email.py holds that.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import httpx

from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation

USER_DATA, COUNT = Operation("securemail", "userdata"), Operation("securemail", "count")
LONGEST_ADDRESS = 320
_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def user_data_url(base_url: str, mail_id: str) -> str:
    """ "" for an id that is none."""
    return f"{base_url}/securemail/{mail_id}/userdata" if _ID.fullmatch(mail_id) else ""


def user_data(base_url: str, mail_id: str) -> httpx.Request | None:
    """The attached data of one email; None for an id that is none."""
    url = user_data_url(base_url, mail_id)
    return httpx.Request("GET", url) if url else None


def count(base_url: str, address: str) -> httpx.Request:
    """How many emails to this address are not read."""
    query = urlencode({"address": address, "status": "unread"})
    return httpx.Request("GET", f"{base_url}/securemail/count?{query}")


def count_of(reading: Reading) -> int | None:
    """None where it does not say."""
    found = reading.data.get("count")
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1_000_000 else None
