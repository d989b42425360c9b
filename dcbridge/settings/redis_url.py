"""Where Redis is: one server, a socket, or a group behind Sentinel; read from one URL.

redis://user:password@host:6379/0        rediss://…  the same with TLS
unix:///run/redis.sock?db=0
redis+sentinel://user:password@one:26379,two:26379/service/0       rediss+sentinel://…
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

ONE = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What the URL says. `hosts` are the sentinels where `service` is set; the password never prints."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    service: str = ""
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    query: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def tls(self) -> bool:
        return self.scheme.startswith("rediss")

    @property
    def place(self) -> str:
        """Fit for a log line: no user, no password, no query."""
        return f"{self.scheme}://{','.join(_shown(*one) for one in self.hosts)}{self.path}"

    @property
    def in_the_clear(self) -> bool:
        """True when what consumers write crosses a network unencrypted."""
        return not self.tls and self.scheme != "unix" and not all(_is_this_computer(host) for host, _ in self.hosts)


def read_address(url: str) -> RedisAddress:
    """Raises ValueError, whose words hold nothing of the URL."""
    try:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        netloc = parts.netloc.rpartition("@")[2]
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in (*ONE, *SENTINEL):
        raise ValueError("should begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("should name a socket: unix:///path/to/redis.sock")
        return RedisAddress("unix", (), parts.path, "", 0, unquote(user), unquote(password), query)
    sentinel = parts.scheme in SENTINEL
    usual = SENTINEL_PORT if sentinel else 6379
    hosts = tuple(_host(one, usual) for one in netloc.split(",")) if netloc else ()
    if sentinel:
        service, _, db = parts.path.strip("/").partition("/")
        if not hosts or not service:
            raise ValueError("should name sentinels and a service: redis+sentinel://one:26379,two:26379/service/0")
    elif len(hosts) != 1:
        raise ValueError("should name a host: redis://host:6379/0")
    else:
        service, db = "", parts.path.strip("/")
    if db and not (db.isascii() and db.isdigit()):
        raise ValueError("should end with the number of a database, as in /0")
    return RedisAddress(
        parts.scheme, hosts, parts.path, unquote(service), int(db or 0), unquote(user), unquote(password), query
    )


def _host(text: str, usual: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not parts.hostname or port == 0:
        raise ValueError("should name a host: redis://host:6379/0")
    return parts.hostname, port or usual


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
