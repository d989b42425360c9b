"""Files in both directions, adapter by adapter; the requests are those that the companies' own libraries write."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson
import pytest
from pydantic import ValidationError
from twilio.rest import Client  # type: ignore[import-untyped] # it ships no types

from dcbridge.errors import Refused, UnreadableEvent
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, Content
from dcbridge.providers import build
from dcbridge.providers.bandwidth import BandwidthFields
from dcbridge.providers.base import Callback, HasMedia, MailRequest, MediaFile, MediaLimits, Provider, Turn
from dcbridge.providers.http import HttpFields
from dcbridge.providers.infobip import InfobipFields
from dcbridge.providers.plivo import PlivoFields
from dcbridge.providers.sinch import SinchFields
from dcbridge.providers.sms_fields import NAMED_BY_OPERATOR, WITH_LOGIN
from dcbridge.providers.smtp import SmtpFields
from dcbridge.providers.telnyx import TelnyxFields
from dcbridge.providers.twilio import TwilioFields
from dcbridge.providers.vonage import VonageFields
from tests.providers.recorder import recording

ACCOUNT, PUBLIC = "AC0123456789abcdef0123456789abcdef", "https://bridge.example.com"
ONE = MediaFile("file.png", "image/png", 70, f"{PUBLIC}/m/one", b"\x89PNG\r\n\x1a\n" + bytes(62))
TWO = MediaFile("file.jpg", "image/jpeg", 80, f"{PUBLIC}/m/two", b"\xff\xd8\xff" + bytes(77))


def twilio(url: str = "https://api.twilio.com") -> Provider:
    fields = {"account_sid": ACCOUNT, "auth_token": "12345", "base_url": url, "status_callbacks": False}
    return build("acme", "twilio", TwilioFields.model_validate(fields), PUBLIC)


def telnyx(url: str = "https://api.telnyx.com") -> Provider:
    fields = {"api_key": "KEY1", "public_key": "A" * 43 + "=", "base_url": url, "status_callbacks": False}
    return build("acme", "telnyx", TelnyxFields.model_validate(fields), PUBLIC)


def infobip(url: str = "https://x.api.infobip.com") -> Provider:
    fields = {"base_url": url, "api_key": "key", "callback_secret": "0123456789abcdef"}
    return build("acme", "infobip", InfobipFields.model_validate(fields), PUBLIC)


def bandwidth(url: str = "https://messaging.bandwidth.com/api/v2") -> Provider:
    fields = {"account_id": "55", "application_id": "a", "client_id": "c", "client_secret": "s", "base_url": url}
    model = BandwidthFields.model_validate({**fields, "callback_secret": "0123456789abcdef"})
    return build("acme", "bandwidth", model, PUBLIC)


def plivo(url: str = "https://api.plivo.com") -> Provider:
    fields = {"auth_id": "MA1", "auth_token": "t", "base_url": url}
    return build("acme", "plivo", PlivoFields.model_validate(fields), PUBLIC)


def sinch(**more: Any) -> Provider:
    fields = {"project_id": "p", "key_id": "k", "key_secret": "s", "callback_secret": "0123456789abcdef"}
    url = "https://zt.us.sms.api.sinch.com"
    return build("acme", "sinch", SinchFields.model_validate({**fields, "base_url": url, **more}), PUBLIC)


def vonage(**more: Any) -> Provider:
    fields = {"api_key": "k", "api_secret": "s", "signature_secret": "x"}
    return build("acme", "vonage", VonageFields.model_validate({**fields, **more}), PUBLIC)


def http(**more: Any) -> Provider:
    send = {"url": "https://sms.example.com/send", "form": {"to": "{to}", "text": "{text}", "id": "{reference}"}}
    fields = {"send": send, "username": "me", "password": "secret", "callback_secret": "0123456789abcdef", **more}
    return build("acme", "http", HttpFields.model_validate(fields), PUBLIC)


MMS = {"url": "https://sms.example.com/mms", "json": {"to": "{to}", "media": ["{media_url}"], "type": "{media_type}"}}
INBOUND = {"id": "json:/id", "from": "json:/from", "to": "json:/to", "text": "json:/text", "media": "json:/media"}


def message(text: str = "Look", **changes: Any) -> AgentMessage:
    to = Address("16504661149")
    said = AgentMessage("0123456789", "m-1", Address("12025550123"), to, (to,), "RichMedia", text, media=("a", "b"))
    return replace(said, **changes)


def request(provider: Provider, *files: MediaFile, text: str = "Look", part: int = 0) -> httpx.Request:
    said = message(text)
    found = provider.build_request(Turn(said, provider.parts(said)[part], 0.0, media=files))
    assert isinstance(found, httpx.Request)
    return found


# ---------------------------------------------------------------- to consumers


@pytest.mark.parametrize("text", ["Look", ""])
def test_twilios_client_writes_the_same(text: str) -> None:
    with recording(lambda _: {"sid": "SM1"}, 201) as (url, arrived):
        with httpx.Client() as client:
            client.send(request(twilio(url), ONE, TWO, text=text))
        sdk = Client(ACCOUNT, "12345")
        sdk.api.base_url = url
        more = {"body": text} if text else {}
        sdk.messages.create(to="+16504661149", from_="+12025550123", media_url=[ONE.url, TWO.url], **more)
        sdk.http_client.session.close()
    ours, theirs = (parse_qs(one.body.decode(), strict_parsing=True) for one in arrived)
    assert ours == theirs
    assert ours["MediaUrl"] == [ONE.url, TWO.url]


@pytest.mark.parametrize("text", ["Look", ""])
def test_telnyx_sdk_writes_the_same(text: str) -> None:
    from telnyx import Telnyx as Sdk  # takes seconds

    with recording(lambda _: {"data": {"id": "1"}}) as (url, arrived):
        with httpx.Client() as client:
            client.send(request(telnyx(url), ONE, TWO, text=text))
        more: dict[str, Any] = {"text": text} if text else {}
        with Sdk(api_key="KEY1", base_url=f"{url}/v2") as sdk:
            sdk.messages.send(
                to="+16504661149", from_="+12025550123", media_urls=[ONE.url, TWO.url], type="MMS", **more
            )
    ours, theirs = arrived
    assert (ours.path, orjson.loads(ours.body)) == (theirs.path, orjson.loads(theirs.body))


@pytest.mark.parametrize("text", ["Look", ""])
def test_infobip_has_another_address_for_mms(text: str) -> None:
    """As its specification says; its library has no models for it."""
    found = request(infobip(), ONE, text=text)
    assert found.url.path == "/mms/2/messages"
    [said] = orjson.loads(found.content)["messages"]
    link = {"type": "LINK", "contentUrl": ONE.url, "contentType": "image/png"}
    assert said["content"]["messageSegments"] == [*([{"type": "TEXT", "text": text}] if text else []), link]
    assert said["destinations"][0]["messageId"] == f"{message().ref}.0"
    assert request(infobip(), text="Look").url.path == "/sms/3/messages"


def test_a_company_that_is_described_gets_one_file_where_a_request_for_it_is() -> None:
    provider = http(mms=MMS)
    found = request(provider, ONE)
    assert (str(found.url), found.headers["authorization"][:6]) == ("https://sms.example.com/mms", "Basic ")
    assert orjson.loads(found.content) == {"to": "+16504661149", "media": [ONE.url], "type": "image/png"}
    assert provider.can.media == MediaLimits(
        1, 600_000, dict.fromkeys(["image/jpeg", "image/png", "image/gif"], 600_000)
    )
    assert http().can.media is None
    assert request(provider).url.path == "/send"


@pytest.mark.parametrize(
    "made", [twilio, telnyx, infobip, bandwidth, plivo, lambda: sinch(mms=True), lambda: http(mms=MMS)]
)
def test_files_go_with_the_first_part_alone(made: Any) -> None:
    provider, text = made(), "я" * 2000
    first, second = (request(provider, ONE, text=text, part=part) for part in (0, 1))
    assert b"%2Fm%2Fone" in first.content or b"/m/one" in first.content
    assert b"m%2Fone" not in second.content
    assert b"/m/one" not in second.content
    with pytest.raises(Refused):
        provider.parts(message("", media=()))


LIMITS = MediaLimits(2, 100, {"image/png": 100, "image/": 50, "audio/": 10})


@pytest.mark.parametrize(
    ("files", "carried"),
    [
        ([("image/png", 100)], True),
        ([("image/png", 101)], False),
        ([("image/gif", 50)], True),
        ([("image/gif", 51)], False),
        ([("image/png", 60), ("image/gif", 40)], True),
        ([("image/png", 60), ("image/gif", 41)], False),
        ([("audio/amr", 1), ("audio/amr", 1)], True),
        ([("audio/amr", 1)] * 3, False),
        ([("application/pdf", 1)], False),
    ],
)
def test_what_is_carried(files: list[tuple[str, int]], carried: bool) -> None:
    assert LIMITS.carry([MediaFile("file", mimetype, size) for mimetype, size in files]) == carried


def email(*files: MediaFile, contents: tuple[Content, ...]) -> tuple[EmailMessage, bytes]:
    provider = build("post", "smtp", SmtpFields.model_validate({"host": "mail.example.com"}), PUBLIC)
    to = Address("ana@example.com")
    said = AgentMessage(
        "company.com",
        "m-1",
        Address("care@company.com"),
        to,
        (to,),
        "Email",
        subject="S",
        contents=contents,
        media=("a",),
    )
    written = [provider.build_request(Turn(said, provider.parts(said)[0], 1000.0, media=files)) for _ in range(2)]
    first, again = written
    assert isinstance(first, MailRequest)
    assert first == again
    parsed = message_from_bytes(first.content, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed, first.content


@pytest.mark.parametrize(
    "contents",
    [
        (Content("text", "Hello."), Content("html", "<p>Hello.</p>")),
        (Content("text", "Hello."),),
        (Content("html", "<p>Hello.</p>"),),
        (),
    ],
)
def test_an_email_has_its_files_attached(contents: tuple[Content, ...]) -> None:
    parsed, raw = email(ONE, TWO, contents=contents)
    assert not parsed.defects
    assert parsed.get_content_type() == "multipart/mixed"
    found = [(a.get_filename(), a.get_content_type(), a.get_content()) for a in parsed.iter_attachments()]
    assert found == [(f.name, f.mimetype, f.data) for f in (ONE, TWO)]
    bodies = [part.get_content().strip() for part in parsed.walk() if part.get_content_maintype() == "text"]
    assert bodies == [content.text for content in contents]
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_files_of_any_size_are_written_as_the_standard_library_writes_them() -> None:
    """It takes seconds for a large one, so that is done in another way."""
    sizes = (0, 1, 56, 57, 58, 114, 10_000)
    files = [
        MediaFile(f"{n}.bin", "application/octet-stream", size, data=bytes([n]) * size) for n, size in enumerate(sizes)
    ]
    _, raw = email(*files, contents=(Content("text", "Hello."),))
    attached = [part.partition(b"\r\n\r\n")[2] for part in raw.split(b"\r\n--=_")[2:-1]]
    for file, found in zip(files, attached, strict=True):
        theirs = EmailMessage(policy.SMTP)
        theirs.set_content(file.data, "application", "octet-stream")
        assert found.rstrip(b"\r\n") == theirs.as_bytes().partition(b"\r\n\r\n")[2].rstrip(b"\r\n")
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_another_file_is_another_boundary() -> None:
    """Nobody who writes a file can know between which lines it will stand."""
    hello = (Content("text", "Hello."),)
    boundaries = {email(*files, contents=hello)[0].get_boundary() for files in ((ONE,), (TWO,), (ONE, TWO))}
    assert len(boundaries) == 3


# ---------------------------------------------------------------- from consumers


@pytest.mark.parametrize(
    ("made", "url", "login"),
    [
        (twilio, f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages/MM1/Media/ME1", True),
        (twilio, "https://media.twiliocdn.com/x", False),
        (twilio, "https://MEDIA.twiliocdn.com./x", False),
        (twilio, "https://evil.media.twiliocdn.com/x", None),
        (twilio, "http://media.twiliocdn.com/x", None),
        (twilio, "https://api.twilio.com:8443/x", False),
        (twilio, "https://user:password@api.twilio.com/x", None),
        (twilio, "https://api.twilio.com.example.com/x", None),
        (twilio, "https://127.0.0.1/x", None),
        (twilio, "https://api.twilio.com/" + "x" * 5000, None),
        (twilio, "//api.twilio.com/x", None),
        (twilio, "api.twilio.com/x", None),
        (twilio, "https://api.twilio.com@example.com/x", None),
        (twilio, "https://example.com\\@api.twilio.com/x", None),
        (telnyx, "https://us-east-1.telnyxstorage.com/x", False),
        (telnyx, "https://telnyxstorage.com/x", None),
        (telnyx, "https://nottelnyxstorage.com/x", None),
        (telnyx, "https://api.telnyx.com/x", False),
        (infobip, "https://x.api.infobip.com/mms/1/x", True),
        (infobip, "https://y.api.infobip.com/mms/1/x", False),
        (plivo, "https://api.plivo.com/v1/Account/MA1/Media/1", True),
        (plivo, "https://media.plivo.com/v1/Account/MA1/Media/1", True),
        (plivo, "https://media.plivo.com:8443/1", False),
        (plivo, "http://media.plivo.com/1", None),
        (plivo, "https://mediaplivo.com/1", None),
        (http, "https://sms.example.com/files/1", True),
        (http, "https://files.example.com/1", None),
        (lambda: http(media_hosts=["files.example.com"]), "https://files.example.com/1", False),
        (lambda: http(media_hosts=[".example.com"]), "https://a.b.example.com/1", False),
    ],
)
def test_where_a_file_is_fetched_from_and_with_what(made: Any, url: str, login: bool | None) -> None:
    provider = made()
    assert isinstance(provider, HasMedia)
    found = provider.media_request(url)
    assert (found is None) == (login is None)
    if found is not None:
        assert ("Authorization" in found.headers) == login
        assert found.method == "GET"


@pytest.mark.parametrize(
    ("made", "url", "login", "inside"),
    [
        (bandwidth, "https://messaging.bandwidth.com/api/v2/users/55/media/m/0/x.png", True, True),
        (bandwidth, "https://media.bandwidth.com/x", None, False),
        (bandwidth, "http://messaging.bandwidth.com/api/v2/users/55/media/m/0/x.png", None, False),
        (sinch, "https://zt.us.sms.api.sinch.com/media/1", True, True),
        (sinch, "https://mms.sinch.com/1", False, False),
        (sinch, "https://bucket.s3.amazonaws.com/1", None, False),
        (lambda: sinch(media_hosts=["bucket.s3.amazonaws.com"]), "https://bucket.s3.amazonaws.com/1", False, True),
        (vonage, "https://api-us.nexmo.com/v3/media/1", True, False),
        (vonage, "https://api-us.nexmo.com.example.com/v3/media/1", None, False),
        (vonage, "https://api-us.nexmo.com:8443/v3/media/1", False, False),
    ],
)
def test_a_login_that_is_kept_elsewhere_is_shown_to_the_companys_own_hosts(
    made: Any, url: str, login: bool | None, inside: bool
) -> None:
    provider = made()
    assert isinstance(provider, HasMedia)
    found = provider.media_request(url)
    assert (None if found is None else found.extensions[WITH_LOGIN]) is login
    assert found is None or found.extensions[NAMED_BY_OPERATOR] is inside


def test_sinch_carries_files_where_that_is_switched_on_and_one_alone() -> None:
    assert sinch().can.media is None
    limits = sinch(mms=True).can.media
    assert limits is not None
    assert (limits.carry([ONE]), limits.carry([ONE, TWO])) == (True, False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "https://example.com", "exa mple.com", "", "*.example.com", "2130706433"]
)
def test_hosts_are_names(host: str) -> None:
    with pytest.raises(ValidationError, match="names of hosts"):
        http(media_hosts=[host])


def heard(provider: Provider, said: dict[str, Any]) -> ConsumerMessage:
    url = f"{PUBLIC}/callbacks/acme/inbound"
    [found] = provider.parse_callback(Callback("inbound", "POST", url, b"", {}, orjson.dumps(said)))
    assert isinstance(found, ConsumerMessage)
    return found


def test_infobips_mms_has_its_text_and_its_files() -> None:
    pieces = [
        {"contentType": "application/smil", "url": "https://x.api.infobip.com/smil"},
        {"contentType": "text/plain", "value": "Look"},
        {"contentType": "image/jpeg", "url": "https://x.api.infobip.com/1"},
        {"contentType": "image/png", "url": "https://x.api.infobip.com/2"},
    ]
    said = {"messageId": "1", "from": "16504661149", "to": "12025550123", "message": pieces}
    found = heard(infobip(), {"results": [said]})
    assert found.text == "Look"
    assert found.media_urls == ("https://x.api.infobip.com/1", "https://x.api.infobip.com/2")
    alone = heard(infobip(), {"results": [said | {"message": pieces[2:3]}]})
    assert (alone.text, alone.media_urls) == ("", ("https://x.api.infobip.com/1",))


@pytest.mark.parametrize(
    ("said", "text", "media"),
    [
        ({"text": "Look", "media": "https://sms.example.com/1"}, "Look", ("https://sms.example.com/1",)),
        ({"text": "", "media": ["https://a/1", "https://a/2"]}, "", ("https://a/1", "https://a/2")),
        ({"media": ["https://a/1", None, 7, ""]}, "", ("https://a/1", "7")),
        ({"text": "Look"}, "Look", ()),
    ],
)
def test_a_described_company_says_where_its_files_are(said: dict[str, Any], text: str, media: tuple[str, ...]) -> None:
    ends = {"id": "1", "from": "16504661149", "to": "12025550123"}
    found = heard(http(inbound=INBOUND), ends | said)
    assert (found.text, found.media_urls) == (text, media)


def test_neither_text_nor_file_is_nothing() -> None:
    with pytest.raises(UnreadableEvent, match="no text"):
        heard(http(inbound=INBOUND), {"id": "1", "from": "16504661149", "to": "12025550123", "text": "", "media": []})
