"""Quiet hours: messages that wait until their consumer's night, or holiday, is over (quiet.lua)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dcbridge.ledger.script import Retention, Script, ms, word

_LINE = re.compile(r"n-([0-9]{1,13})-\w+-(.+)", re.DOTALL)


def read_line(line: str) -> tuple[str, float] | None:
    """(channel, seconds since 1970 when its messages may go) of a line of quiet.lua; None for any other."""
    found = _LINE.fullmatch(line)
    return (found[2], int(found[1]) / 1000) if found else None


class Quiet:
    """The messages of one ledger that wait for it."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def announce(self, fingerprints: Mapping[str, str]) -> None:
        """Channel id -> a fingerprint of its quiet hours. Messages that wait for others are decided anew."""
        await self._script.call("quiet_hours", *(word for pair in fingerprints.items() for word in pair))

    async def hold(
        self, ref: str, token: str, opens: float, now: float, *, fingerprint: str, how: str, detail: str
    ) -> str:
        """A claimed message to a consumer whose quiet hours end at `opens`; `now` by the same clock.

        "waits", or "failed" by `how` or because its time to live ends before; "stale" where the claim is lost. It is to
        be sent with "begun", where a part of it is sent or may be; with "answer", where the consumer wrote lately; and
        with "send". Any other state: the provider has it already.
        """
        answer = await self._script.record(
            "quiet_hold", ref, token, ms(opens), ms(opens - now), fingerprint, how, detail, self._keep.ended_ms
        )
        return word(answer)

    async def announce_holds(self, lines: Mapping[str, str]) -> None:
        """Channel id -> what it waits for, as `config.statistics.hold_lines` writes it."""
        await self._script.call("holds", *(word for pair in lines.items() for word in pair))

    async def hold_while(self, ref: str, token: str, *, fingerprint: str, detail: str) -> str:
        """A claimed message of a channel that waits while a statistic is too high; what it answers is as of `hold`."""
        answer = await self._script.record("hold_while", ref, token, fingerprint, detail, self._keep.ended_ms)
        return word(answer)

    async def consumer_wrote(self, lane: str, answers_within: float) -> bool:
        """Messages of this conversation are sent for so many seconds; whether one waited."""
        return bool(await self._script.record("consumer_wrote", lane, ms(answers_within)))
