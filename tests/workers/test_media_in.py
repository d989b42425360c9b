"""A consumer's file reaches the agent, or the text does with a sentence that says why the file does not."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.responses import Response

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.config.loader import parse
from dcbridge.media.links import PATH
from dcbridge.settings.problems import ConfigurationError
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import SMS, TOKEN
from tests.workers.media_side import ACCOUNT, PIXEL, MediaSide, clamd, media_side
from workers import consumer_messages, media_in
from workers.cleaning import delete_uploads
from workers.reconciler import sweep

LOGIN = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
MOST = 4096


@pytest.fixture
async def media(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[MediaSide]:
    async with media_side(redis, redis_server.url, f"media: {{most: {MOST}}}") as opened:
        yield opened


def padded(size: int) -> bytes:
    return PIXEL + bytes(size - len(PIXEL))


async def test_a_picture_is_uploaded_and_the_text_has_a_link_to_it(media: MediaSide) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL, media_type="text/html")  # whatever it is called
    [message] = await media.posted(media.place("ME1"))
    text, link = message["text"].split("\n")
    assert text == "Look at this"
    assert link.startswith(f"http://127.0.0.1:8080{PATH}")
    [(media_id, (name, mimetype, data))] = media.store.files.items()
    assert (name, mimetype, data) == ("file.png", "image/png", PIXEL)
    linked = media.side.context.files.links.open(link.rpartition("/")[2], 0)
    assert (linked.channel_id, linked.media_id) == (SMS, media_id)
    assert media.logins == [LOGIN]
    assert media.store.wrong == []
    assert media.counted("uploaded") == 1


async def test_a_picture_alone_is_no_empty_text(media: MediaSide) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    [message] = await media.posted(media.place("ME1"), text="\n")
    assert message["text"].startswith(f"The consumer sent a file: http://127.0.0.1:8080{PATH}")


ROWS: list[tuple[str, Response | None, str, str]] = [
    ("ME1", Response(padded(MOST)), "uploaded", ""),
    ("ME1", Response(padded(MOST + 1)), "too_large", "it is too large"),
    ("ME1", Response(PIXEL), "uploaded", ""),
    (
        "ME1",
        Response(b"<svg onload=alert(1)>" + PIXEL, media_type="image/png"),
        "wrong_type",
        "its type is not allowed",
    ),
    ("ME1", Response(b"MZ\x90" + PIXEL, media_type="image/jpeg"), "wrong_type", "its type is not allowed"),
    ("ME1", Response(b""), "wrong_type", "its type is not allowed"),
    ("ME1", Response(status_code=404), "expired", "the provider does not have it any more"),
    ("ME1", Response(status_code=410), "expired", "the provider does not have it any more"),
    ("ME1", Response(status_code=418), "unreachable", "it could not be fetched"),
    ("http://127.0.0.1:9/ME1", None, "wrong_host", "its address is not one of the provider's"),
    ("https://example.com/ME1", None, "wrong_host", "its address is not one of the provider's"),
    ("https://api.twilio.com.example.com/ME1", None, "wrong_host", "its address is not one of the provider's"),
    ("https://user@api.twilio.com/ME1", None, "wrong_host", "its address is not one of the provider's"),
    ("http://api.twilio.com/ME1", None, "wrong_host", "its address is not one of the provider's"),
    ("file:///etc/passwd", None, "wrong_host", "its address is not one of the provider's"),
    ("https://[::1", None, "wrong_host", "its address is not one of the provider's"),
]


@pytest.mark.parametrize(("place", "answer", "outcome", "says"), ROWS)
async def test_what_is_withheld_is_said(
    media: MediaSide, place: str, answer: Response | None, outcome: str, says: str
) -> None:
    if answer is not None:
        media.pictures["ME1"] = lambda _: answer
    url = media.place(place) if ":" not in place else place
    [message] = await media.posted(url)
    text = message["text"].split("\n")
    assert text[0] == "Look at this"
    assert (text[1] == f"[A file was withheld: {says}.]") == bool(says)
    assert media.counted(outcome) == 1
    assert len(media.store.files) == (outcome == "uploaded")
    assert (media.logins == []) == (outcome == "wrong_host")


async def test_what_a_provider_says_is_a_url_names_no_file_that_is_kept_here(media: MediaSide) -> None:
    """The name of a mail stands in the answer to whoever sent it."""
    await media.side.context.ledger.blobs.put(PIXEL, keep=60.0, blob_id="m-1")
    [message] = await media.posted("blob:m-1")
    assert message["text"].endswith("its address is not one of the provider's.]")
    assert (media.counted("wrong_host"), media.store.files) == (1, {})


@pytest.mark.parametrize(
    ("location", "outcome"),
    [
        ("ME2", "uploaded"),
        ("/elsewhere/ME2", "wrong_host"),  # which answers with another redirect
        ("http://127.0.0.2:1/ME2", "wrong_host"),  # no public address
        ("http://169.254.169.254/latest/meta-data", "wrong_host"),
        ("ftp://127.0.0.1/ME2", "wrong_host"),
        ("//user:password@127.0.0.1/ME2", "wrong_host"),
        ("", "wrong_host"),
    ],
)
async def test_one_redirect_is_followed_without_the_login(media: MediaSide, location: str, outcome: str) -> None:
    target = media.place("ME3") if location.startswith("/elsewhere") else location
    media.pictures |= {
        "ME1": lambda _: Response(status_code=307, headers={"location": target}),
        "ME2": lambda _: Response(PIXEL),
        "ME3": lambda _: Response(status_code=307, headers={"location": media.place("ME2")}),
    }
    await media.posted(media.place("ME1"))
    assert media.counted(outcome) == 1
    assert media.logins[:1] == [LOGIN]
    assert set(media.logins[1:]) <= {None}
    assert len(media.messages) == 1


@pytest.mark.parametrize("status", [500, 503, 429, 401])
async def test_what_may_pass_is_tried_again_and_given_up_in_time(media: MediaSide, status: int) -> None:
    media.pictures["ME1"] = lambda _: Response(status_code=status)
    bench = Bench(media.side.redis)
    assert await media.posted(media.place("ME1")) == []
    await bench.pass_time(290)
    await consumer_messages.post_consumer_message(media.side.context, "c-1")
    assert media.messages == []
    await bench.pass_time(20)
    await consumer_messages.post_consumer_message(media.side.context, "c-1")
    [message] = media.messages
    assert message["text"] == "Look at this\n[A file was withheld: it could not be fetched.]"
    assert media.side.counted("dcbridge_errors_total", kind="media_login", name="twilio") == (3 if status == 401 else 0)


async def test_a_message_has_ten_files_at_most(media: MediaSide) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    [message] = await media.posted(*[media.place("ME1")] * 12)
    assert len(media.store.files) == 10
    assert message["text"].count(PATH) == 10
    assert message["text"].endswith("[A file was withheld: a message has at most 10 files.]")


@pytest.mark.parametrize(("status", "then"), [(415, "refused"), (413, "refused"), (400, "refused"), (503, "uploaded")])
async def test_what_digital_channels_does_not_take(media: MediaSide, status: int, then: str) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    media.store.uploads = [Response(status_code=status)]
    await media.posted(media.place("ME1"))
    await Bench(media.side.redis).pass_time(60)
    await consumer_messages.post_consumer_message(media.side.context, "c-1")
    [message] = media.messages
    assert message["text"].endswith("it was refused.]") == (then == "refused")
    assert media.counted(then) == 1


async def test_a_wrong_signature_mode_holds_a_message_for_minutes_and_not_for_ever(media: MediaSide) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    media.store.uploads = [Response(status_code=401) for _ in range(2)]
    assert await media.posted(media.place("ME1")) == []
    await Bench(media.side.redis).pass_time(310)
    await consumer_messages.post_consumer_message(media.side.context, "c-1")
    [message] = media.messages
    assert message["text"].endswith("it was refused.]")


async def test_uploaded_and_not_posted_is_uploaded_once(media: MediaSide) -> None:
    """The worker dies between the two, and another takes over."""
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    task = await media.task(media.place("ME1"))
    bench, ledger = Bench(media.side.redis), media.side.context.ledger
    claimed = await ledger.tasks.claim(task, "dead", 10.0)
    stored = {"from": "1", "text": "Look", "media": [media.place("ME1")], "provider": "twilio"}
    first = await media_in.for_agent(media.side.context, task, claimed, stored)
    assert first is not None
    await bench.pass_time(11)
    await sweep(media.side.context)
    await consumer_messages.post_consumer_message(media.side.context, task)
    [message] = media.messages
    links = media.side.context.files.links
    named = {links.open(text.rpartition("/")[2], 0).media_id for text in (first.text, message["text"])}
    assert named == set(media.store.files)
    assert (len(media.store.files), len(media.logins)) == (1, 1)


# ---------------------------------------------------------------- rich media


async def test_a_template_says_how_a_rich_message_is_written(redis: Redis, redis_server: EmbeddedRedis) -> None:
    template = '{type: RichMedia, content: [{image: "{url}", name: "{name}, {size} bytes", n: "=1"}]}'
    async with media_side(redis, redis_server.url, rich_media=template) as opened:
        opened.pictures["ME1"] = lambda _: Response(PIXEL)
        text, rich = await opened.posted(opened.place("ME1"))
        [media_id] = opened.store.files
        assert text["text"] == "Look at this"
        assert rich["type"] == "RichMedia"
        assert rich["channel"] == text["channel"]
        name = f"file.png, {len(PIXEL)} bytes"
        assert rich["content"] == [{"image": f"genesys://nexus/{media_id}", "name": name, "n": 1}]
        only = await opened.posted(opened.place("ME1"), text=" ", task_id="c-2")
        assert [message["type"] for message in only[2:]] == ["RichMedia"]


async def test_a_link_of_the_providers_where_that_is_wanted(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with media_side(redis, redis_server.url, "media: {inbound: link}") as opened:
        [message] = await opened.posted(opened.place("ME1"))
        assert message["text"] == f"Look at this\n{opened.place('ME1')}"
        assert (opened.logins, opened.store.files) == ([], {})


# ---------------------------------------------------------------- scanning


@pytest.mark.parametrize(
    ("answer", "unavailable", "outcome"),
    [
        (b"stream: OK\0", "hold", "uploaded"),
        (b"stream: Eicar-Test-Signature FOUND\0", "hold", "infected"),
        (b"stream: Eicar-Test-Signature FOUND\0", "pass", "infected"),
        (b"INSTREAM size limit exceeded. ERROR\0", "pass", "uploaded"),
        (b"INSTREAM size limit exceeded. ERROR\0", "hold", ""),
        (b"stream: OK", "hold", ""),
        (b"", "hold", ""),
        (b"", "pass", "uploaded"),
        (b"x" * 10_000, "hold", ""),
    ],
)
async def test_clamd_decides(
    redis: Redis, redis_server: EmbeddedRedis, answer: bytes, unavailable: str, outcome: str
) -> None:
    async with clamd(answer) as (port, given):
        more = f'media: {{scan: {{clamd: "127.0.0.1:{port}", unavailable: {unavailable}}}}}'
        async with media_side(redis, redis_server.url, more) as opened:
            opened.pictures["ME1"] = lambda _: Response(padded(200_000))
            messages = await opened.posted(opened.place("ME1"))
            assert given == [padded(200_000)]
            assert len(messages) == bool(outcome)
            if outcome:
                assert opened.counted(outcome) == 1
                return
            assert opened.side.counted("dcbridge_errors_total", kind="scanner_away", name="scan") == 1
            await Bench(redis).pass_time(3601)
            await consumer_messages.post_consumer_message(opened.side.context, "c-1")
            assert opened.messages[0]["text"] == "Look at this\n[A file was withheld: it could not be scanned.]"


async def test_a_scanner_that_is_not_there(redis: Redis, redis_server: EmbeddedRedis) -> None:
    more = f'media: {{scan: {{clamd: "127.0.0.1:{free_port()}"}}}}'
    async with media_side(redis, redis_server.url, more) as opened:
        opened.pictures["ME1"] = lambda _: Response(PIXEL)
        assert await opened.posted(opened.place("ME1")) == []
        assert (await opened.side.context.ledger.tasks.entry("c-1")).state == "waiting"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Response(b'{"infected": false}'), "uploaded"),
        (Response(b'{"infected": true}'), "infected"),
        (Response(b'{"infected": "no"}'), ""),
        (Response(b"clean"), ""),
        (Response(b'{"infected": false}', 500), ""),
    ],
)
async def test_a_service_decides(redis: Redis, redis_server: EmbeddedRedis, answer: Response, outcome: str) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    from tests.listening import listening

    asked: list[tuple[str | None, bytes]] = []

    async def scan(request: Request) -> Response:
        asked.append((request.headers.get("authorization"), await request.body()))
        return answer

    async with listening(Starlette(routes=[Route("/scan", scan, methods=["POST"])])) as scanner:
        more = f"media: {{scan: {{url: {scanner}/scan, token: the-token-of-the-scanner}}}}"
        async with media_side(redis, redis_server.url, more) as opened:
            opened.pictures["ME1"] = lambda _: Response(PIXEL)
            messages = await opened.posted(opened.place("ME1"))
            assert asked == [("Bearer the-token-of-the-scanner", PIXEL)]
            assert len(messages) == bool(outcome)
            assert opened.counted(outcome or "uploaded") == bool(outcome)


# ---------------------------------------------------------------- deleted in time, and how it is configured


async def test_an_uploaded_file_is_deleted_when_its_time_is_over(media: MediaSide) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    await media.posted(media.place("ME1"))
    [media_id] = media.store.files
    await delete_uploads(media.side.context)
    assert media.store.deleted == []
    bench = Bench(media.side.redis)
    await bench.pass_time(30 * 86400 + 1)
    await delete_uploads(media.side.context)
    assert media.store.deleted == [media_id]
    await bench.pass_time(700)
    await delete_uploads(media.side.context)
    assert (media.store.deleted, media.store.wrong) == ([media_id], [])
    assert await bench.keys("dcb:uploads") == []


async def test_one_whose_deletion_is_refused_for_a_week_is_forgotten(media: MediaSide) -> None:
    """As of a channel that is removed: nobody knows its secret any more."""
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    await media.posted(media.place("ME1"))
    bench = Bench(media.side.redis)
    await bench.pass_time(30 * 86400 + 1)
    media.store.empty_signature = "path"  # which the bridge is not told
    for seconds in (0, 700, 6 * 86400):
        await bench.pass_time(seconds)
        await delete_uploads(media.side.context)
        assert {"dcb:uploads", "dcb:uploads-refused"} <= {*await bench.keys("dcb:uploads*")}
    assert media.counted("left") == 0
    await bench.pass_time(86400)
    await delete_uploads(media.side.context)
    assert (media.counted("left"), len(media.store.files)) == (1, 1)
    asked = len(media.store.wrong)
    await bench.pass_time(700)
    await delete_uploads(media.side.context)
    assert len(media.store.wrong) == asked
    assert [key for key in await bench.keys("dcb:uploads*") if "of:" not in key] == []


async def test_one_that_was_refused_for_a_while_is_deleted_and_nothing_is_left_of_it(media: MediaSide) -> None:
    media.pictures["ME1"] = lambda _: Response(PIXEL)
    await media.posted(media.place("ME1"))
    bench = Bench(media.side.redis)
    await bench.pass_time(30 * 86400 + 1)
    media.store.empty_signature = "path"
    await delete_uploads(media.side.context)
    media.store.empty_signature = "empty"
    await bench.pass_time(700)
    await delete_uploads(media.side.context)
    assert (len(media.store.deleted), media.store.files) == (1, {})
    assert [key for key in await bench.keys("dcb:uploads*") if "of:" not in key] == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{scan: {}}", "should have clamd or url"),
        ('{scan: {clamd: "av:3310", url: "https://av"}}', "should have clamd or url"),
        ("{scan: {clamd: av}}", "should be a host and a port"),
        ('{scan: {clamd: "av:0"}}', "should be a host and a port"),
        ('{scan: {clamd: "av:3310", token: abc}}', "token needs url"),
        ("{types: [text/html]}", "which is none of"),
        ("{keep: 60}", "keep should be at least link_life"),
        ("{most: 1000000000}", "should be at most"),
        ("{keep: 0}", ""),
        ('{scan: {clamd: "[::1]:3310"}}', ""),
        ("{types: [image/jpeg], keep: 700000, link_life: 60}", ""),
    ],
)
def test_what_the_configuration_may_say(written: str, says: str) -> None:
    from tests.workers.far_side import CONFIGURATION

    text = CONFIGURATION.format(url="http://127.0.0.1:1", nowhere="http://127.0.0.1:1", token=TOKEN)
    text += f"media: {written}"
    if not says:
        parse(text, {})
        return
    with pytest.raises(ConfigurationError) as raised:
        parse(text, {})
    problems: Any = raised.value
    assert says.split("should ")[-1] in str(problems) or says in str(problems)
