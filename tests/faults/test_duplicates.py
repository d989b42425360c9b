"""The same webhook many times: one message, and the same answer each time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.stack import EMAIL, Stack, sms_body

AT_ONCE = 50


def answers(stack: Stack, body: object) -> set[tuple[int, str]]:
    raw = json.dumps(body).encode()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        said = [threads.submit(stack.webhook, raw) for _ in range(AT_ONCE)]
        return {(one.result().status_code, one.result().text) for one in said}


def test_fifty_of_the_same_at_once_and_again_after_everything_restarted_are_one_message(own_stack: Stack) -> None:
    sms = sms_body(own_stack.new_id(), own_stack.new_number())
    mail = {
        "channel": {
            "id": EMAIL,
            "type": "email",
            "from": {"id": "no-reply@company.com"},
            "to": [{"id": "one@mail.com"}, {"id": "two@mail.com"}],
            "messageId": "f7acbac6-68db-4031-aec2-4bbd02627c4b",
        },
        "type": "Email",
        "subject": "Once",
        "content": [{"type": "text", "text": "once"}],
    }
    for body in (sms, mail):
        own_stack.expects(body)
    first = [answers(own_stack, body) for body in (sms, mail)]
    assert [len(said) for said in first] == [1, 1]
    assert [status for said in first for status, _text in said] == [200, 200]
    own_stack.settled()
    own_stack.terminate("worker", "service")
    own_stack.redis.kill()
    own_stack.redis.start()
    own_stack.start("service", "worker")
    assert [answers(own_stack, body) for body in (sms, mail)] == first
    books = own_stack.settled()
    assert sum(c.accepted for c in books.channels) == sum(c.delivered for c in books.channels) == 3
    assert sum(c.redelivered for c in books.channels) == 3 * (2 * AT_ONCE - 1)
    assert books.difference == 0
    assert len(own_stack.texts_to(sms["channel"]["to"]["id"])) == 1
    assert [len(own_stack.mails_to(who)) for who in ("one@mail.com", "two@mail.com")] == [1, 1]
    assert own_stack.violations() == []
