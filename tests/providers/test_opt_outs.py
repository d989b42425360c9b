"""The codes with which a company says that a consumer opted out there: an answer has them, and they say 350."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import httpx
import pytest

from dcbridge.errors import Refused
from dcbridge.messages import DeliveryUpdate, Reason
from dcbridge.providers import KINDS, build
from dcbridge.providers.base import Callback
from tests.providers import test_azure_sms, test_messagebird

ACCOUNTS: Mapping[str, Mapping[str, object]] = {
    "aws-sms": {"region": "eu-west-1", "access_key_id": "AKIA1", "secret_access_key": "s", "configuration_set": "c",
                "topic_arns": ["arn:aws:sns:eu-west-1:123456789012:sms"]},
    "azure-sms": {"base_url": "https://x.example", "access_key": "a2V5", "callback_secret": "0123456789abcdef"},
    "messagebird": {"api_key": "bk_eu1_k", "signature_secret": "whsec_a2V5"},
    "twilio": {"account_sid": "AC0123456789abcdef0123456789abcdef", "auth_token": "x" * 32},
    "telnyx": {"api_key": "KEY0123456789abcdef", "public_key": base64.b64encode(b"k" * 32).decode()},
}  # fmt: skip
ANSWERS: dict[str, Callable[[str], httpx.Response]] = {
    "aws-sms": lambda code: httpx.Response(400, json={"__type": "ConflictException", "Reason": code}),
    "twilio": lambda code: httpx.Response(400, json={"code": int(code), "message": "no", "status": 400}),
    "telnyx": lambda code: httpx.Response(400, json={"errors": [{"code": code, "title": "STOP"}]}),
}


def reported(code: str) -> Callback:
    return test_azure_sms.callback([test_azure_sms.report("Failed", code)])


# Who refuses nothing at once.
REPORTED: dict[str, Callable[[str], Callback]] = {
    "azure-sms": reported,
    "messagebird": lambda code: test_messagebird.callback(test_messagebird.event("rejected", code)),
}


@pytest.mark.parametrize("kind", REPORTED)
def test_a_report_has_the_code(kind: str) -> None:
    provider = build(
        "acme", kind, KINDS[kind].fields_model.model_validate(ACCOUNTS[kind]), "https://bridge.example.com"
    )
    for code in provider.can.opt_out_codes:
        [update] = provider.parse_callback(REPORTED[kind](code))
        assert isinstance(update, DeliveryUpdate)
        assert (update.detail, update.reason) == (code, Reason.NOT_ALLOWED)


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_has_the_code(kind: str) -> None:
    provider = build(
        "acme", kind, KINDS[kind].fields_model.model_validate(ACCOUNTS[kind]), "https://bridge.example.com"
    )
    for code in provider.can.opt_out_codes:
        with pytest.raises(Refused) as found:
            provider.parse_response(ANSWERS[kind](code))
        assert (found.value.code, found.value.reason) == (code, Reason.NOT_ALLOWED)


def test_who_keeps_opt_outs_says_with_which_code_it_refuses() -> None:
    assert set(ANSWERS) | set(REPORTED) == set(ACCOUNTS)
    assert {kind for kind, one in KINDS.items() if one.can.opt_out == "theirs"} == set(ACCOUNTS)
    assert all(one.can.opt_out_codes for one in KINDS.values() if one.can.opt_out == "theirs")
