"""Genesys' Secure Email API, base path /nexus/v3/securemail (contract/secure-email.txt): what is asked. No I/O.

Three questions change nothing, and one request submits an email:

    GET {base}/securemail/{id}/userdata                      data: an object, the attached data
    GET {base}/securemail/count?address=…&status=unread      data.count
    GET {base}/securemail?address=…&status=all&count=…       data: an array, whose fields are printed nowhere
    POST {base}/securemail {"data": {object}, "operationId"}  secureMailId

The fields of `data` are printed nowhere either, so a site writes them (dcbridge/genesys/mail_template.py). The request
has no key for repetitions. `operationId` is ours and the same for the same email: an email that was submitted is known
by it where the list shows it, in whatever field.

GET {base}/securemail/{id} is left out: with read=true it marks an email as read and stops it from being routed. So is
DELETE, which without `remove` marks it as read and deletes nothing. tests/genesys/test_secure_email.py holds that.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Protocol
from urllib.parse import urlencode

import httpx
import orjson

from dcbridge.errors import AccountFault, Refused
from dcbridge.genesys import mail_template
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation

USER_DATA, COUNT = Operation("securemail", "userdata"), Operation("securemail", "count")
LIST, SEND = Operation("securemail", "list"), Operation("securemail", "send")
FILE_TYPE = "INVALID_FILE_TYPE"
LONGEST_ADDRESS = 320
LISTED = 50  # emails of a consumer among which one is looked for
File = tuple[str, str, bytes]  # its name, its type, and what is in it
_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def reference(task_id: str) -> str:
    """The same for the same mail, however often it is submitted."""
    return f"dcb-{blake2b(task_id.encode(), digest_size=12, person=b'dcb-secure-mail').hexdigest()}"


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


def sent(reading: Reading) -> None:
    """Raises a SendError where the email was not taken. 404: no such interface, a fault of the configuration."""
    if not reading.good:
        raise AccountFault(reading.words) if reading.http == 404 else reading.error()


def refuses_files(error: Refused) -> bool:
    """Whether the email may be taken without its files."""
    return error.code.endswith(FILE_TYPE)


def is_listed(reading: Reading, operation: str) -> bool:
    """Whether the email with this reference is there. False says little: which fields are shown is not documented."""
    waiting: list[object] = [dict(reading.whole)] if reading.good else []
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str) and operation in one:
            return True
    return False


class Template(Protocol):
    """How a site writes an email: config/secure_email.py."""

    @property
    def securebox(self) -> str | None: ...
    @property
    def fields(self) -> Mapping[str, object]: ...
    @property
    def file_field(self) -> str: ...
    @property
    def file_template(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class Box:
    """Where emails go, and how they are written. `url`: up to /nexus/v3."""

    url: str
    wanted: Template

    def data(self, values: Mapping[str, str], files: Sequence[File] = ()) -> dict[str, object]:
        """What stands under `data`."""
        filled = mail_template.fill(self.wanted.fields, values)
        assert isinstance(filled, dict), "a mapping stays one"
        if files and self.wanted.file_field:
            each = [
                {"file_name": name, "mimetype": mimetype, "base64": b64encode(content).decode()}
                for name, mimetype, content in files
            ]
            filled[self.wanted.file_field] = [mail_template.fill(self.wanted.file_template, one) for one in each]
        return filled

    def send(self, data: Mapping[str, object], operation: str) -> httpx.Request:
        """Submit an email. To be written once."""
        headers, body = {"Content-Type": "application/json"}, orjson.dumps({"data": data, "operationId": operation})
        return httpx.Request("POST", f"{self.url}/securemail{self._query()}", headers=headers, content=body)

    def listed(self, address: str) -> httpx.Request:
        """The emails of a consumer. That marks none of them."""
        query = self._query(address=address, status="all", index="0", count=str(LISTED))
        return httpx.Request("GET", f"{self.url}/securemail{query}")

    def _query(self, **asked: str) -> str:
        box = {"securebox": self.wanted.securebox} if self.wanted.securebox else {}
        return f"?{urlencode(asked | box)}" if asked or box else ""


def values(
    address: str, name: str, subject: str, text: str, mailbox: str, channel: str, operation: str, at: float
) -> dict[str, str]:
    """What a template may name. `operation`: of `reference`; `at`: when the email came."""
    first, _, last = name.strip().partition(" ")
    return {
        "address": address,
        "name": name.strip(),
        "first_name": first,
        "last_name": last.strip(),
        "subject": subject,
        "text": text,
        "mailbox": mailbox,
        "channel": channel,
        "reference": operation,
        "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
