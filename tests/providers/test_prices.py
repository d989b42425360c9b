"""What a message costs, as each company says it, and as nobody should."""

from __future__ import annotations

from decimal import Decimal

import httpx
import orjson
import pytest

from dcbridge.messages import Cost, DeliveryUpdate
from dcbridge.providers.prices import price
from tests.providers import test_infobip as infobip
from tests.providers import test_plivo as plivo
from tests.providers import test_telnyx as telnyx
from tests.providers import test_twilio_lookup as twilio
from tests.providers import test_vonage as vonage


@pytest.mark.parametrize(
    ("amount", "exact"),
    [
        ("0.0333", "0.0333"),
        ("0.03330000", "0.0333"),
        (0.0051, "0.0051"),
        (1e-05, "0.00001"),
        (0.1 + 0.2, "0.3"),
        (2, "2"),
        ("9999999.99999999", "9999999.99999999"),
    ],
)
def test_an_amount_is_exact(amount: object, exact: str) -> None:
    found = price("acme", amount, "EUR")
    assert found is not None
    assert (found.amount, found.currency, found.provider) == (Decimal(exact), "EUR", "acme")


WORST: list[object] = [
    None, True, [], {}, b"1", "", " 1", "1\n", "0", "0.000000001", 0, "-0.0075", -1, "1e400", "1e2", "NaN", "Infinity",
    float("nan"), float("inf"), 1e300, 10**400, "4" * 40, "0." + "4" * 40, "10000000", "1,5", "$1", "\u0661",
    "1" * 10**6,
]  # fmt: skip


@pytest.mark.parametrize("amount", WORST, ids=range(len(WORST)))
def test_what_is_no_amount_is_none(amount: object) -> None:
    assert price("acme", amount, "EUR") is None


@pytest.mark.parametrize("currency", [None, 1, [], "", "eur", "EURO", "EU", "E R", "EUR\n", "ÄÖÜ", '"}\n'])
def test_what_is_no_currency_is_none(currency: object) -> None:
    assert price("acme", "1", currency) is None


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (3, 3),
        ("3", 3),
        (255, 255),
        (256, 0),
        (0, 0),
        (-1, 0),
        (True, 0),
        ("3.0", 0),
        (10**400, 0),
        ("9" * 9, 0),
        (None, 0),
    ],
)
def test_the_number_of_sms_is_bounded(said: object, count: int) -> None:
    assert price("acme", "1", "EUR", said) == Cost("acme", "EUR", 10**8, count)
    assert price("acme", "1", "EUR", said, each=True) == Cost("acme", "EUR", 10**8 * max(count, 1), count)


SEVERAL = [{"status": "0", "message-id": f"{n}", "message-price": "0.0333"} for n in range(3)]


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        (SEVERAL[:1], Cost("acme", "EUR", 3_330_000)),
        (SEVERAL, Cost("acme", "EUR", 9_990_000)),
        ([*SEVERAL, {"status": "1", "message-price": "0.0333"}], Cost("acme", "EUR", 9_990_000)),
        ([*SEVERAL, {"status": "0", "message-id": "x"}], None),
        (SEVERAL * 50, None),
    ],
)
def test_vonages_answer_has_the_price_of_each_sms(said: object, cost: Cost | None) -> None:
    answer = httpx.Response(200, content=orjson.dumps({"messages": said}))
    assert vonage.vonage().parse_response(answer).cost == cost


def test_vonages_report_has_the_price_of_one_sms() -> None:
    key = vonage.STATUS["client-ref"].rpartition(".")[0]
    for pieces, cost in ((1, Cost("acme", "EUR", 3_330_000, 1)), (2, None)):
        callback = vonage.callback({**vonage.STATUS, "client-ref": f"{key}.{pieces}"})
        assert _cost(vonage.vonage().parse_callback(callback)) == cost


def test_telnyx_says_it_in_answer_and_report() -> None:
    said = {
        "id": telnyx.ID,
        "parts": 2,
        "cost": {"amount": "0.0102", "currency": "USD"},
        "to": [{"status": "delivered"}],
    }
    ours = telnyx.telnyx()
    for known, cost in ((said, Cost("acme", "USD", 1_020_000, 2)), ({**said, "cost": None}, None)):
        answer = httpx.Response(200, content=orjson.dumps({"data": known}))
        assert ours.parse_response(answer).cost == cost
        assert _cost(ours.parse_callback(telnyx.callback(telnyx.event("message.finalized", known)))) == cost


def test_infobips_price_is_that_of_one_sms() -> None:
    said = {**infobip.report(3, 5), "messageCount": 3, "price": {"pricePerMessage": 0.01, "currency": "EUR"}}
    assert _cost(infobip.infobip().parse_callback(infobip.callback({"results": [said]}))) == Cost(
        "acme", "EUR", 3_000_000, 3
    )


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        ({"TotalAmount": "0.0105", "Units": "3"}, Cost("acme", "USD", 1_050_000, 3)),
        ({"TotalAmount": "0.0105", "Units": "3", "PartInfo": "1 of 3"}, Cost("acme", "USD", 1_050_000, 3)),
        ({"TotalAmount": "0.0035", "Units": "1", "PartInfo": "1 of 3"}, None),
        ({"TotalAmount": "1e400"}, None),
    ],
)
def test_plivos_report_has_the_price_of_all_sms(said: dict[str, str], cost: Cost | None) -> None:
    assert _cost(plivo.plivo().parse_callback(plivo.callback({**plivo.REPORT, **said}))) == cost


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        ({"price": "-0.0075", "price_unit": "USD", "num_segments": "1"}, Cost("twilio", "USD", 750_000, 1)),
        ({"price": "0.0075", "price_unit": "USD"}, None),
        ({"price": "--1", "price_unit": "USD"}, None),
        ({"price": None, "price_unit": "USD"}, None),
        ({"price": -0.0075, "price_unit": "USD"}, None),
    ],
)
def test_twilios_charge_is_below_zero(said: dict[str, object], cost: Cost | None) -> None:
    ours = twilio.asking()
    reported = ours.parse_status(twilio.answered({**twilio.listed(status="delivered"), **said}))
    assert reported is not None
    found = reported.cost
    assert (found and (found.currency, found.units, found.segments)) == (cost and (cost.currency, cost.units, 1))


def _cost(events: object) -> Cost | None:
    assert isinstance(events, list)
    [update] = events
    assert isinstance(update, DeliveryUpdate)
    return update.cost
