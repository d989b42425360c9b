"""How TLS is spoken to the servers of others: one context for each way, for the whole process."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def client_context(*, verify: bool = True) -> ssl.SSLContext:
    """With the certificates of the system. Made once: reading them takes tens of milliseconds."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
