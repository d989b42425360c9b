"""Our address as bridge.yaml makes it, against the one that a company has, which may hold a secret."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.printable import printable

HIDDEN = "<callback_secret>"
_PORTS = {"http": 80, "https": 443}


def parts_of(url: str) -> tuple[str, str, int | None, str] | None:
    """Scheme, host, port and path; None for what is no URL. What stands behind ? and # is no matter."""
    try:
        found = urlsplit(url.strip())
        host, port = (found.hostname or "").rstrip("."), found.port
    except ValueError:
        return None
    if not host:
        return None
    return found.scheme.lower(), host, port or _PORTS.get(found.scheme.lower()), found.path


def shown(url: str, ours: str) -> str:
    """As much as helps: of an address of ours its path without a secret, of another its host alone."""
    theirs, mine = parts_of(url), parts_of(ours)
    if theirs is None:
        return ""
    scheme, host, port, path = theirs
    place = f"{scheme}://{host}" + ("" if port in (None, _PORTS.get(scheme)) else f":{port}")
    if mine is None or host != mine[1]:
        return printable(f"{place}/…"[:120])
    steps = path.split("/")
    at = steps.index("callbacks") + 3 if "callbacks" in steps else len(steps)
    return printable((place + "/".join(steps[:at]) + ("/…" if len(steps) > at else ""))[:200])


def differs(theirs: str, ours: str, secrets: Sequence[str] = ()) -> str:
    """What is wrong with `theirs`, in words; "" where it leads here. `secrets`: those that may end our path."""
    one, other = parts_of(theirs), parts_of(ours)
    if one is None or other is None:
        return "is no URL"
    if one[1] != other[1]:
        return "leads to another host"
    if one[0] != other[0]:
        return f"is {one[0]} and not {other[0]}"
    if one[2] != other[2]:
        return "leads to another port"
    paths = [f"{other[3]}/{secret}" for secret in secrets] or [other[3]]
    if one[3] in paths:
        return ""
    if one[3].rstrip("/") in paths:
        return "has a slash too many at its end"
    if secrets and one[3].startswith(other[3]):
        return "ends with another secret than bridge.yaml has" if one[3] != other[3] else "has no secret at its end"
    if "/callbacks/" in one[3] and one[3].rsplit("/", 1)[0] == other[3].rsplit("/", 1)[0]:
        return f"is the address for {one[3].rsplit('/', 1)[1][:20]}"
    return "has another path"


def compared(
    what: str, theirs: object, ours: str, about: About, where: str, *, lost: str, secrets: Sequence[str] = ()
) -> Finding:
    """One finding about one address. `lost`: what does not arrive without it."""
    paste = f"{ours}/{HIDDEN}" if secrets else ours
    url = theirs.strip() if isinstance(theirs, str) else ""
    if not url:
        return about.error(f"{what} is not set: {lost}", "enter the address", paste, where)
    why, seen = differs(url, ours, secrets), shown(url, ours)
    if not why:
        return about.ok(f"{what} leads here")
    return about.error(f"{what} {why}{f' ({seen})' if seen else ''}: {lost}", "enter the address", paste, where)
