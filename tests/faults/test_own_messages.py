"""kill -9 of the service and the worker while messages of dcbridge's own are sent: a short run of own_kill.py."""

from __future__ import annotations

from tests.faults.own_kill import run


def test_each_answer_and_each_triggered_text_is_sent_once() -> None:
    assert run(consumers=8, kills=3) == []
