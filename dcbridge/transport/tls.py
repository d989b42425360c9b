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


_EXPIRED, _OTHER_NAME = (9, 10), (62, 64)  # of OpenSSL: not yet valid, expired; another host, another address


def tls_word(error: BaseException | None) -> str:
    """A fixed word for a handshake that failed: the error's own text would name the host."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "tls"
    if error.verify_code in _EXPIRED:
        return "tls certificate expired"
    return "tls certificate of another host" if error.verify_code in _OTHER_NAME else "tls certificate not trusted"
