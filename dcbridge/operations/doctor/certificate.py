"""A server's certificate: for how long it still counts."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dcbridge.operations.doctor.finding import About, Finding

SOON = 14.0  # days


def of(connection: Any) -> Iterator[tuple[float, str]]:
    """(days left, day of the end) of the certificate of a TLS connection; nothing where there is none."""
    from cryptography import x509

    raw = connection.getpeercert(True) if isinstance(connection, ssl.SSLObject | ssl.SSLSocket) else None
    if not raw:
        return
    try:
        end = x509.load_der_x509_certificate(raw).not_valid_after_utc
    except ValueError:
        return
    yield (end - datetime.now(UTC)).total_seconds() / 86400, f"{end:%Y-%m-%d}"


def judged(connection: Any, about: About) -> Iterator[Finding]:
    """A verified certificate; one that is not trusted fails before."""
    for days, day in of(connection):
        if days < 0:
            yield about.error(f"the certificate ended on {day}", "renew it")
        elif days < SOON:
            yield about.warning(f"the certificate ends on {day}, in {days:.0f} days", "renew it")
        else:
            yield about.ok(f"the certificate is valid until {day}")
