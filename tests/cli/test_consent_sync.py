"""`dcbridge consent sync`: a provider's list beside ours, page by page, without a number on the screen or in Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.cli.session import Session
from tests.listening import listening

OURS, THEIRS = "+12025550123", "+12025550199"  # a number of a channel, and one of another system
PUBLIC = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


class Lists:
    """Telnyx' list: pages of rows, after the answers of `before`."""

    def __init__(self, *pages: list[dict[str, Any]], before: tuple[Response, ...] = (), endless: bool = False) -> None:
        self.pages, self.before, self.endless, self.asked = list(pages), list(before), endless, 0

    async def answer(self, request: Request) -> Response:
        self.asked += 1
        if self.before:
            return self.before.pop(0)
        number = int(request.query_params["page[number]"])
        meta = {
            "page_number": 1 if self.endless else number,
            "total_pages": max(2 if self.endless else 1, len(self.pages)),
        }
        return JSONResponse({"data": self.pages[min(number, len(self.pages)) - 1], "meta": meta})


def row(number: str, sender: str | None = None, at: str = "2026-01-30T14:00:00+00:00") -> dict[str, Any]:
    return {"to": number, "from": sender, "created_at": at}


@asynccontextmanager
async def asking(session: Session, lists: Lists, **consent: str) -> AsyncIterator[Session]:
    """Two channels, one of a provider without a list; the other at Telnyx."""
    async with listening(Starlette(routes=[Route("/v2/messaging_optouts", lists.answer)])) as url:
        path = session.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["providers"]["tel"] = {"kind": "telnyx", "api_key": "KEY1", "public_key": PUBLIC, "base_url": url}
        told["channels"]["other"] = {"type": "sms", "provider": "tel", "number": OURS}
        told["consent"] = {"enforce": "always", "scope": "brand", **consent}
        path.write_text(yaml.safe_dump(told))
        yield session


ROWS = [[row("+16504661149"), row("+16504661148", OURS)], [row("+16504661147"), row("+16504661149")]]


async def test_what_is_missing_is_counted_and_then_added_once(session: Session) -> None:
    async with asking(session, Lists(*ROWS)) as here:
        await here.types("consent", "add", "+16504661147")
        await here.types("consent", "add", "+16504661000")
        dry = await here.types("consent", "sync")
        assert dry.code == 1
        assert dry.out == (
            "twilio: twilio has no list that can be asked for\n"
            "tel: 4 listed, 1 known here, 2 are missing here, 1 kept here are not in the list; add them with --apply\n"
        )
        assert (await here.types("consent", "show", "+16504661149")).code == 1  # nothing was written
        added = await here.types("consent", "sync", "--apply", "--provider", "tel")
        assert (added.code, added.out) == (0, "tel: 4 listed, 1 known here, 2 added, 1 kept here are not in the list\n")
        shown = await here.types("consent", "show", "+16504661149")
        assert shown.out == "brand: opted out 2026-01-30T14:00:00.000Z, by provider, list:tel\n"
        again = await here.types("consent", "sync", "--json")
        assert (again.code, again.json) == (
            0,
            {"provider": "tel", "listed": 4, "known": 3, "missing": 0, "started": 0, "unusable": 0, "only_here": 1,
             "added": False},
        )  # fmt: skip
        assert "650466" not in str(await here.everything()) + dry.out + added.out


async def test_a_start_that_came_later_counts(session: Session) -> None:
    async with asking(session, Lists([row("+16504661149"), row("+16504661148", at="2090-01-01T00:00:00Z")])) as here:
        for number in ("+16504661149", "+16504661148"):
            await here.types("consent", "add", number)
            await here.types("consent", "lift", number)
        said = await here.types("consent", "sync", "--apply", "--provider", "tel")
        assert said.out == "tel: 2 listed, 0 known here, 1 added, 1 left out: START was heard since\n"
        assert (await here.types("consent", "show", "+16504661149")).code == 1


async def test_a_row_counts_for_the_number_that_it_is_about(session: Session) -> None:
    rows = [row("+16504661149", OURS), row("+16504661148", THEIRS), row("+1650466****"), row(""), {}]
    async with asking(session, Lists(rows), scope="channel") as here:
        said = await here.types("consent", "sync", "--apply", "--provider", "tel")
        assert said.out == "tel: 5 listed, 0 known here, 1 added, 4 of other senders or without a number\n"
        assert await here.keys("dcb:stop:*") == ["dcb:stop:channel/other"]


async def test_a_provider_that_asks_to_wait_is_asked_again(session: Session) -> None:
    busy = Response(status_code=429, headers={"Retry-After": "0"})
    lists = Lists([row("+16504661149")], before=(busy, Response(status_code=503)))
    async with asking(session, lists) as here:
        assert (await here.types("consent", "sync", "--apply", "--provider", "tel")).code == 0
        assert lists.asked == 3


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        (Lists([], before=(JSONResponse({"errors": [{"code": "10009"}]}, 401),)), "10009"),
        (Lists([], before=(Response(b"<html>", 200),)), "its list could not be read"),
        (Lists([row("+16504661149")], endless=True), "a page names one that was read before"),
    ],
)
async def test_a_list_that_cannot_be_read(session: Session, lists: Lists, told: str) -> None:
    async with asking(session, lists) as here:
        said = await here.types("consent", "sync", "--provider", "tel")
        assert said.code == 1
        assert told in said.err
        assert lists.asked < 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nobody", "there is no provider nobody"),
        ("te", 'there is no provider te; did you mean "tel"?'),
        ("mail", "dcbridge keeps no opt-outs for a channel of provider mail"),
    ],
)
async def test_a_provider_that_cannot_be_compared(session: Session, given: str, told: str) -> None:
    async with asking(session, Lists([])) as here:
        said = await here.types("consent", "sync", "--provider", given)
        assert (said.code, told in said.err) == (2, True)
