"""`dcbridge check --bind`."""

from __future__ import annotations

import pytest

from dcbridge.cli.bind_check import report
from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.config.loader import parse
from dcbridge.smpp.pdu import Command
from tests.transport.test_smpp import answers, listening
from tests.workers.far_side import settings
from tests.workers.test_binds import CONFIGURATION


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [(0, 0, "ok: acme: bound, and unbound"), (0x0E, 1, "error: acme: account fault: bind 0x0E")],
)
async def test_each_smsc_is_asked_once(capsys: pytest.CaptureFixture[str], status: int, code: int, says: str) -> None:
    async with listening(answers, bind_status=status) as (port, smscs):
        configuration = parse(CONFIGURATION.format(port=port, binds=1), {})
        assert await report(settings("redis://127.0.0.1:1"), configuration) == code
        assert "".join(capsys.readouterr()).strip() == says
        assert [header.command for header, _ in smscs[0].heard] == ([] if status else [Command.UNBIND])


async def test_one_that_is_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    configuration = parse(CONFIGURATION.format(port=free_port(), binds=1), {})
    assert await report(settings("redis://127.0.0.1:1"), configuration) == 1
    assert capsys.readouterr().err.strip() == "error: acme: unreachable: connect"
