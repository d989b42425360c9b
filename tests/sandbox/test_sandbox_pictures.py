"""Pictures in the sandbox: a consumer's at the company, an agent's through the bridge, both on the page."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import orjson
import pytest
from starlette.responses import Response

from tests.sandbox.two_worlds import Heard, Worlds, two_worlds
from tests.workers.media_side import PIXEL

FILE = {"type": "image/png", "data": base64.b64encode(PIXEL).decode()}
SAFE = {"content-type": "image/png", "x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
LINK = "/m/" + "A" * 60


def serving(**changes: str | None) -> Any:
    async def reply(_: Heard) -> Response:
        headers = {name: value for name, value in {**SAFE, **changes}.items() if value is not None}
        return Response(PIXEL, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return reply


async def rules(worlds: Worlds) -> list[str]:
    await worlds.settled()
    return [violation.rule for violation in worlds.world.violations]


async def test_a_consumers_picture_is_at_the_company_for_whoever_has_the_login() -> None:
    async with two_worlds() as worlds:
        worlds.world.own_url = worlds.url
        await worlds.control("/consumer/sms", {"from": "+16504661149", "file": FILE, "wait": True})
        [heard] = worlds.bridge.at("/callbacks/twilio/inbound")
        assert (heard.form["NumMedia"], heard.form["MediaContentType0"], heard.form["Body"]) == ("1", "image/png", "")
        url = heard.form["MediaUrl0"]
        assert (await worlds.http.get(url)).status_code == 401
        config = worlds.world.config
        login = (config.twilio_account_sid, config.twilio_auth_token)
        assert (await worlds.http.get(url, auth=login)).content == PIXEL
        assert (await worlds.http.get(url[:-3] + "000", auth=login)).status_code == 404
        [sent] = (await worlds.http.get("/sandbox/state")).json()["consumer"]
        shown = await worlds.http.get(sent["media"][0])
        assert (shown.content, shown.headers["x-content-type-options"]) == (PIXEL, "nosniff")


async def test_an_agents_picture_is_a_file_of_its_channel() -> None:
    async with two_worlds() as worlds:
        await worlds.control("/agent/sms", {"to": "16504661149", "text": "Look", "file": FILE, "wait": True})
        [heard] = worlds.bridge.at("/webhooks/messages")
        said = orjson.loads(heard.body)
        assert (said["type"], said["text"]) == ("RichMedia", "Look")
        [(channel, media_id)] = worlds.world.media
        assert (channel, said["content"][0]["url"]) == ("0123456789", f"genesys://nexus/{media_id}")
        [sent] = (await worlds.http.get("/sandbox/state")).json()["agent"]
        assert (await worlds.http.get(sent["media"][0])).content == PIXEL


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({"x_content_type_options": None, "x-content-type-options": None}, ["a file is served with nosniff"]),
        (
            {"content-security-policy": "default-src 'none'"},
            ["a file is served with a policy that runs nothing in it"],
        ),
    ],
)
async def test_a_company_fetches_an_mms_and_looks_at_what_it_gets(
    changes: dict[str, str | None], broken: list[str]
) -> None:
    async with two_worlds() as worlds:
        worlds.bridge.replies = [serving(**changes), serving(**changes)]
        sent = await mms(worlds, worlds.bridge_url + LINK)
        assert sent.status_code == 201
        assert set(await rules(worlds)) == set(broken)
        assert [heard.method for heard in worlds.bridge.at("/m/")] == ["HEAD", "GET"]
        [sms] = (await worlds.http.get("/sandbox/sms")).json()
        assert (await worlds.http.get(sms["media"][0])).content == PIXEL


async def test_a_link_that_leads_nowhere_is_a_violation() -> None:
    async with two_worlds() as worlds:

        async def gone(_: Heard) -> Response:
            return Response(status_code=404)

        worlds.bridge.replies = [gone]
        await mms(worlds, worlds.bridge_url + LINK)
        assert await rules(worlds) == ["a link to a file leads to it"]


async def mms(worlds: Worlds, url: str) -> httpx.Response:
    config = worlds.world.config
    worlds.world.switches.sms.callbacks = False
    return await worlds.http.post(
        f"/2010-04-01/Accounts/{config.twilio_account_sid}/Messages.json",
        data={"To": "+16504661149", "From": "+15557650123", "MediaUrl": url},
        auth=(config.twilio_account_sid, config.twilio_auth_token),
    )


@pytest.mark.parametrize(
    ("path", "file", "says"),
    [
        ("/agent/sms", {"type": "image/png", "data": "?"}, "file: an object"),
        ("/agent/sms", {"type": "image/png", "data": ""}, "file: a media type"),
        ("/consumer/sms", {"type": "<b>", "data": "AAAA"}, "file: a media type"),
        ("/consumer/sms", "picture", "file: an object"),
    ],
)
async def test_a_picture_that_is_none(path: str, file: object, says: str) -> None:
    async with two_worlds() as worlds:
        ends = {"to": "16504661149"} if "agent" in path else {"from": "+16504661149"}
        answer = await worlds.http.post(f"/sandbox{path}", json={**ends, "file": file})
        assert answer.status_code == 400
        assert says in answer.json()["error"]
        assert not worlds.bridge.heard
