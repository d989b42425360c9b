"""`dcbridge resume`, and how `dcbridge status` tells of an account that is paused."""

from __future__ import annotations

import re

from tests.cli.session import Session
from tests.cli.test_status import problems, status

YEARS = 11_574 * 86400.0


async def provider(session: Session) -> dict[str, object]:
    _, told = await status(session)
    return next(one for one in told["providers"] if one["name"] == "twilio")


async def test_an_account_that_is_paused_is_shown_with_until_when_and_why(session: Session) -> None:
    await session.hires()
    await session.ledger.pauses.begin("twilio", 3600.0, YEARS, "20429")
    [problem] = await problems(session)
    assert re.match(r"twilio: paused for (59|60) min, until 20[0-9-]{8}T[0-9:]{8}Z, as it asked \(20429\)", problem)
    assert "; it asked for 11574 d, more than longest_pause allows" in problem
    assert problem.endswith("; dcbridge resume twilio ends it")
    told = await provider(session)
    assert 3500 < float(str(told["paused_for"])) <= 3600
    assert isinstance(told["pause"], dict)
    assert (told["pause"]["asked"], told["pause"]["code"]) == (YEARS, "20429")


async def test_a_short_pause_is_shown_and_no_problem(session: Session) -> None:
    await session.hires()
    await session.ledger.pauses.begin("twilio", 20.0, 20.0, "20429")
    shown, told = await status(session)
    assert (shown.code, told["problems"]) == (0, [])
    assert "as it asked (20429)" in shown.out
    assert "longer than" not in shown.out


async def test_resume_ends_a_pause(session: Session) -> None:
    await session.hires()
    for name in ("twilio", f"subscribers/{next(iter(session.configuration.subscribers))}"):
        await session.ledger.pauses.begin(name, 3600.0, YEARS, "429")
        said = await session.types("resume", name)
        assert (said.code, said.out) == (0, f"The pause of {name} is over; nothing waited for it.\n")
        assert await session.redis.exists(f"dcb:pause:{name}", f"dcb:paused:{name}") == 0
        said = await session.types("resume", name)
        assert (said.code, said.out) == (0, f"{name} was not paused; nothing waited for it.\n")
    assert await problems(session) == []


async def test_a_name_that_nobody_knows(session: Session) -> None:
    said = await session.types("resume", "twilo")
    assert said.code == 1
    assert 'did you mean "twilio"?' in said.err
