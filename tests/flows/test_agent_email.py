"""An agent writes an email: one copy to each recipient, and one receipt for each copy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import EMAIL, Stack, until

# As sandbox.magic's table has them; None is Delivered.
MAILBOXES = {
    "bounce": 530,
    "policy": 350,
    "toobig": 510,
    "later-bounce": 530,
    "full": None,
    "greylist": None,
    "slow": None,
}


def test_two_recipients_get_a_copy_each_and_the_agent_gets_a_receipt_for_each(stack: Stack) -> None:
    message = stack.agent_mails("one@mail.com", "two@mail.com", subject="Both of you", text="Hello")
    for recipient in ("one@mail.com", "two@mail.com"):
        assert stack.receipt(message, recipient, EMAIL)["status"] == "Delivered"
        [mail] = stack.mails_to(recipient)
        assert (mail["subject"], mail["text"].strip()) == ("Both of you", "Hello")
        assert "one@mail.com" in mail["to"]
        assert "two@mail.com" in mail["to"]
    assert set(stack.message(message, EMAIL)["receipts"]) == {"one@mail.com", "two@mail.com"}
    assert stack.violations() == []


def test_one_recipient_who_bounces_does_not_fail_the_other(stack: Stack) -> None:
    message = stack.agent_mails("bounce@mail.com", "fine@mail.com")
    assert stack.receipt(message, "bounce@mail.com", EMAIL)["reasons"][0]["code"] == 530
    assert stack.receipt(message, "fine@mail.com", EMAIL)["status"] == "Delivered"


@pytest.mark.parametrize(("local", "reason"), MAILBOXES.items())
def test_each_magic_mailbox_ends_as_its_table_says(stack: Stack, local: str, reason: int | None) -> None:
    mailbox = f"{local}@magic.example"
    message = stack.agent_mails(mailbox)
    receipt = stack.receipt(message, mailbox, EMAIL)
    if reason is None:
        assert receipt["status"] == "Delivered"
        assert len(stack.mails_to(mailbox)) == 1
    else:
        assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", reason)
    assert stack.violations() == []


def test_delivered_waits_for_the_report_where_the_channel_wants_it_confirmed(stack: Stack) -> None:
    stack.control(mail={"reports": False})
    message = stack.agent_mails("quiet@mail.com")
    until(lambda: stack.entry(message, EMAIL).state == "sent", "the mail server has it")
    until(lambda: not stack.recorded("under_way"), "the mail server has nothing more to say")
    assert stack.message(message, EMAIL)["receipts"] == {}


@pytest.fixture(scope="module")
def taken_stack() -> Iterator[Stack]:
    with Stack(channels={EMAIL: {"delivered_when": "taken"}}) as running:
        yield running


def test_delivered_is_said_when_the_server_took_it_where_the_channel_says_taken(taken_stack: Stack) -> None:
    taken_stack.control(mail={"reports": False})
    message = taken_stack.agent_mails("quiet@mail.com")
    assert taken_stack.receipt(message, "quiet@mail.com", EMAIL)["status"] == "Delivered"
