"""Redis dies, or hangs: the sender is told to come again, what was taken is kept, nobody has to be restarted."""

from __future__ import annotations

import pytest

from tests.stack import Stack, sms_body, until


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_a_redis_that_goes_and_comes_loses_and_repeats_nothing(own_stack: Stack, how: str) -> None:
    own_stack.control(sms={"delay": 1.0})
    to = [own_stack.new_number() for _ in range(40)]
    ids = [own_stack.agent_writes(to=number) for number in to]
    body = sms_body(own_stack.new_id(), own_stack.new_number())
    own_stack.expects(body)
    operator = f"http://127.0.0.1:{own_stack.ports.operator}"

    until(lambda: all(own_stack.entry(one).state != "accepted" for one in ids), "each is with the provider")
    if how == "killed":
        own_stack.redis.kill()
    else:
        own_stack.freeze_redis()
    for _ in range(2):
        answer = own_stack.webhook(body)  # this client waits for ten seconds, as the sender does
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json() == {"error": "not stored; send it again"}
    # Ready for callbacks, which the journal takes: whoever is not ready is sent none.
    assert own_stack.client.get(f"{operator}/readyz").status_code == 200
    assert own_stack.client.get(f"{operator}/healthz").status_code == 200
    assert own_stack.client.get(f"{operator}/metrics").status_code == 200
    until(lambda: "worker_waits_for_redis" in own_stack.said("worker"), "the worker notices")
    until(lambda: own_stack.sandbox("counts").get("sms") == len(ids), "every answer came while Redis was away")
    if how == "killed":
        own_stack.redis.start()
    else:
        own_stack.thaw_redis()

    until(lambda: own_stack.webhook(body).status_code == 200, "the service goes on")
    for message in [*ids, body["channel"]["messageId"]]:
        assert own_stack.receipt(message)["status"] == "Delivered"
    books = own_stack.settled()
    assert (sum(c.accepted for c in books.channels), books.difference) == (41, 0)
    assert len(own_stack.texts_to(body["channel"]["to"]["id"])) == 1
    sends = sum(len(own_stack.texts_to(number)) for number in to)
    assert len(to) <= sends <= len(to) + books.counts.get("unknown_resend", 0)
    if how == "killed":  # it was away for less than a lease: each answer was kept until it could be written down
        assert books.counts.get("unknown", 0) == 0
    assert all(process.poll() is None for process in own_stack.processes.values())
    assert own_stack.violations() == []
