"""SMS and their costs, from a provider's answer and reports to the metrics."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from dcbridge.ledger import NewTask
from dcbridge.ledger.history import costs_of
from dcbridge.ledger.reports.books import read
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import pack
from dcbridge.providers.vonage import Vonage, VonageFields
from tests.workers.far_side import SMS, FarSide, saying
from workers import callbacks, outbound

LONG = "Agent message text " * 20  # three SMS


@pytest.fixture
def priced(side: FarSide) -> FarSide:
    """The far side is Vonage under the name "twilio"."""
    url = side.context.configuration.digital_channels.base_url.removesuffix("/nexus/v3")
    given = {"api_key": "5a9b0c1d", "api_secret": "s", "signature_secret": "s", "base_url": f"{url}/2010-04-01"}
    providers: dict[str, Any] = side.context.providers
    providers["twilio"] = Vonage("twilio", VonageFields.model_validate(given), "http://127.0.0.1:8080")
    return side


def answer(*prices: object) -> Any:
    said = [{"status": "0", "message-id": f"{number}", "message-price": one} for number, one in enumerate(prices)]
    return saying(200, {"messages": said})


async def report(side: FarSide, ref: str, price: str, status: str = "delivered", pieces: int = 1) -> None:
    query = f"messageId=0&status={status}&price={price}&client-ref={ref}.0.{pieces}"
    callback = Callback("status", "GET", f"http://127.0.0.1/x?{query}", query.encode(), {}, b"")
    task = f"b-{status}"
    await side.context.ledger.tasks.put([NewTask(task, "callback", "", pack("twilio", callback), "trace")])
    await callbacks.read_callback(side.context, task)


async def costs(side: FarSide) -> dict[tuple[str, str], Decimal]:
    return dict((await read(side.redis)).costs)


async def test_an_answers_price_counts_once_with_its_sms(priced: FarSide) -> None:
    priced.provider.usual = answer("0.0333", "0.0333", "0.0333")
    ref = await priced.accept(text=LONG)
    await outbound.send(priced.context, ref)
    await report(priced, ref, "0.0333", pieces=3)
    assert await costs(priced) == {("twilio", "EUR"): Decimal("0.0999")}
    assert costs_of(await priced.entry(ref)) == [("0.0999 EUR", 3)]
    assert _segments(priced) == (3, 0)


async def test_a_report_has_the_price_that_the_answer_had_not(priced: FarSide) -> None:
    priced.provider.usual = answer(None)
    ref = await priced.accept()
    await outbound.send(priced.context, ref)
    for status in ("accepted", "delivered"):
        await report(priced, ref, "0.05", status)
    assert await costs(priced) == {("twilio", "EUR"): Decimal("0.05")}
    assert costs_of(await priced.entry(ref)) == [("0.05 EUR", 1)]


@pytest.mark.parametrize("price", ["1e400", "NaN", "-0.0075", "4" * 40, 7.5e300, [], {"a": 1}, True])
async def test_a_price_at_its_worst_stops_nothing(priced: FarSide, price: object) -> None:
    priced.provider.usual = answer(price)
    ref = await priced.accept()
    await outbound.send(priced.context, ref)
    await report(priced, ref, str(price))
    assert (await priced.entry(ref)).state == "delivered"
    assert await costs(priced) == {}


async def test_sms_are_counted_by_encoding(priced: FarSide) -> None:
    priced.provider.usual = answer("0.0333")
    for name, text in (("m-1", "Hello"), ("m-2", "Ğ" * 71)):
        await outbound.send(priced.context, await priced.accept(name, text=text, to=f"1650466{name[2:]:>04}"))
    assert _segments(priced) == (1, 2)


async def test_what_is_refused_is_not_counted(priced: FarSide) -> None:
    priced.provider.usual = saying(200, {"messages": [{"status": "6", "message-price": "0.0333"}]})
    await outbound.send(priced.context, await priced.accept())
    assert _segments(priced) == (0, 0)
    assert await costs(priced) == {}


def _segments(side: FarSide) -> tuple[float, float]:
    names = {"channel": SMS, "provider": "twilio"}
    gsm7, ucs2 = (side.counted("dcbridge_segments_total", **names, encoding=one) for one in ("gsm7", "ucs2"))
    return gsm7, ucs2
