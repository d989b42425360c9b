"""`dcbridge resume`: end a pause that a provider or a subscriber asked for."""

from __future__ import annotations

from dcbridge.cli.terminal import Session, no_such, out, say_error

SUBSCRIBERS = "subscribers/"


async def resume(session: Session, name: str) -> int:
    """End its pause; 0 also where there was none, 1 for a name that bridge.yaml does not know."""
    configuration = session.configuration
    known = [*configuration.providers, *(f"{SUBSCRIBERS}{one}" for one in configuration.subscribers)]
    if name not in known:
        say_error(no_such("provider or subscriber", name, known))
        return 1
    was, woken = await session.ledger.pauses.end(name)
    what = f"{woken:,} released" if woken else "nothing waited for it"
    out.print(f"The pause of {name} is over; {what}." if was else f"{name} was not paused; {what}.", markup=False)
    return 0
