"""A callback of Twilio that somebody recorded, with its names and values cut anew: the signature stays right."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # it ships no types

from tests.service.client import PUBLIC, TOKEN, ServiceClient
from tests.service.test_interactions_and_callbacks import callback, stored_callbacks

SID = "SM" + "0123456789abcdef" * 2
INBOUND = {
    "AccountSid": "AC" + "1" * 32, "Body": "yes", "From": "+16504661149", "MessageSid": SID, "NumMedia": "0",
    "NumSegments": "1", "To": "+15557650123",
}  # fmt: skip
WHOLE = "".join(name + value for name, value in INBOUND.items())
PATH, STATUS_PATH = "/callbacks/twilio/inbound", "/callbacks/twilio/status?m=1&p=0"
STATUS = {"MessageSid": SID, "MessageStatus": "delivered", "To": "+16504661149"}


def cut(*lengths: int) -> list[tuple[str, str]]:
    """The signed text in pairs, with names and values of these lengths; the rest is the last value."""
    pieces, at = [], 0
    for length in lengths:
        pieces.append(WHOLE[at : at + length])
        at += length
    pieces.append(WHOLE[at:])
    return list(zip(pieces[::2], pieces[1::2], strict=True))


SAME = list(INBOUND.items())
OTHERS: dict[str, list[tuple[str, str]]] = {
    "as it was": SAME,
    "another order": SAME[::-1],
    "each twice": SAME * 2,
    "an id that is longer": [*SAME[:3], ("MessageSid", SID + "NumMedia0"), *SAME[5:]],
    "an id that is shorter": [*SAME[:3], ("MessageSid", SID[:-1]), (SID[-1] + "NumMedia", "0"), *SAME[5:]],
    "the body takes the sender": [SAME[0], ("Body", "yesFrom+16504661149"), *SAME[3:]],
    "another account": [("AccountSid", "AC" + "1" * 31), ("1Body", "yes"), *SAME[2:]],
    "one pair": cut(1),
    "one name": [(WHOLE, "")],
    "two pairs": cut(3, len(WHOLE) - 30, 5),
    "names of one letter": [("A", WHOLE[1 : WHOLE.index("MessageSid")]), ("MessageSid", WHOLE[WHOLE.index(SID) :])],
}


async def post(client: ServiceClient, path: str, pairs: list[tuple[str, str]], signature: str) -> httpx.Response:
    body = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return await client.http.post(path, content=body, headers=headers)


@pytest.mark.parametrize("name", OTHERS)
async def test_it_is_known_again_however_it_is_cut(client: ServiceClient, name: str) -> None:
    signature = RequestValidator(TOKEN).compute_signature(PUBLIC + PATH, INBOUND)
    assert (await post(client, PATH, SAME, signature)).status_code == 200
    answer = await post(client, PATH, OTHERS[name], signature)
    assert answer.status_code in (200, 401)  # 401 where sorting puts the pieces in another order
    assert len(await stored_callbacks(client)) == 1


async def test_what_moves_between_the_url_and_the_form_is_known_again(client: ServiceClient) -> None:
    signature = RequestValidator(TOKEN).compute_signature(PUBLIC + STATUS_PATH, STATUS)
    assert (await post(client, STATUS_PATH, list(STATUS.items()), signature)).status_code == 200
    signed = "".join(name + value for name, value in STATUS.items())
    for moved in range(1, 12):
        pairs = [(signed[moved : moved + 2], signed[moved + 2 :])]
        answer = await post(client, STATUS_PATH + signed[:moved], pairs, signature)
        assert answer.status_code == 200
    got = await client.http.get(STATUS_PATH + signed.replace("+", "%2B"), headers={"X-Twilio-Signature": signature})
    assert got.status_code == 401
    assert len(await stored_callbacks(client)) == 1


async def test_other_messages_with_the_same_words_are_others(client: ServiceClient) -> None:
    for number in range(3):
        for _ in range(2):  # and Twilio repeats each
            answer = await callback(client, PATH, INBOUND | {"MessageSid": f"SM{number:032x}"})
            assert answer.status_code == 200
    assert len(await stored_callbacks(client)) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_each_status_is_another_and_comes_once(client: ServiceClient, method: str) -> None:
    for status in ("queued", "sent", "delivered"):
        for _ in range(2):
            form = STATUS | {"MessageStatus": status}
            assert (await callback(client, STATUS_PATH, form, method=method)).status_code == 200
    assert len(await stored_callbacks(client)) == 3
