"""Email companies with an API: our requests and signatures against their own libraries, every answer, every event."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from email import message_from_bytes, policy
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dcbridge.errors import (
    AccountFault,
    OutcomeUnknown,
    Refused,
    RouteRefused,
    SendError,
    Throttled,
    Unreadable,
)
from dcbridge.messages import Address, AgentMessage, Content, Reason, UpdateStatus
from dcbridge.providers import KINDS, build, multipart
from dcbridge.providers.base import MediaFile, Provider, Turn
from dcbridge.providers.email_fields import MESSAGE_ID
from tests.providers.recorder import recording

KINDS_HERE = ("azure-email", "mailgun", "postmark", "sendgrid", "ses")
PRIVATE = generate_private_key(SECP256R1())
PUBLIC = base64.b64encode(PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
SECRET, TOPIC = "0123456789abcdef", "arn:aws:sns:eu-west-1:123456789012:mail"
FIELDS: Mapping[str, dict[str, Any]] = {
    "azure-email": {"base_url": "https://x.communication.azure.com", "access_key": "a2V5", "callback_secret": SECRET},
    "mailgun": {"domain": "mg.company.com", "api_key": "key-1", "signing_keys": ["old", "sign"]},
    "postmark": {"server_token": "token-1", "callback_secret": SECRET},
    "sendgrid": {"api_key": "SG.1", "public_key": PUBLIC},
    "ses": {"region": "eu-west-1", "access_key_id": "AKIA1", "secret_access_key": "s", "configuration_set": "c",
            "topic_arns": [TOPIC]},
}  # fmt: skip
NOW = 1_790_000_000.0
PICTURE = MediaFile("map.png", "image/png", 3, data=b"\x89PN")
THREAD = ("first@example.com", "second@example.com")
TEXT, HTML = "Grüße & 1+1=2 €😀", "<p>Grüße</p>"


def provider(kind: str, **fields: object) -> Any:
    model = KINDS[kind].fields_model.model_validate({**FIELDS[kind], **fields})
    return build("acme", kind, model, "https://bridge.example.com")


def message(
    text: str = TEXT, html: str = HTML, *, to: str = "ana@example.com", subject: str = "Größe\r\n2"
) -> AgentMessage:
    contents = tuple(Content(kind, said) for kind, said in (("text", text), ("html", html)) if said)
    ana = Address(to, 'Ana, "Ruiz"')
    return AgentMessage(
        "company.com", "m-1", Address("care@company.com", "Care"), ana, (ana,), "Email", subject=subject,
        contents=contents, reply_to=Address("help@company.com"),
    )  # fmt: skip


def request(
    ours: Provider, said: AgentMessage | None = None, *, files: bool = True, thread: bool = True
) -> httpx.Request:
    said = said or message()
    made = ours.build_request(
        Turn(said, ours.parts(said)[0], NOW, media=(PICTURE,) if files else (), thread=THREAD if thread else ())
    )
    assert isinstance(made, httpx.Request)
    return made


OUR_ID = f"{message().ref}@company.com"
HEADERS = {
    "Message-ID": f"<{OUR_ID}>", "In-Reply-To": "<second@example.com>",
    "References": "<first@example.com> <second@example.com>",
}  # fmt: skip


# ---------------------------------------------------------------- requests, beside the companies' own libraries


def test_the_request_is_the_one_that_sendgrids_library_writes() -> None:
    from sendgrid import SendGridAPIClient  # type: ignore[import-untyped]
    from sendgrid.helpers import mail as sg  # type: ignore[import-untyped]

    with recording(lambda _: {}, 202) as (url, arrived):
        theirs = sg.Mail(("care@company.com", "Care"), subject="Größe 2", plain_text_content=TEXT, html_content=HTML)
        person = sg.Personalization()
        person.add_to(sg.To("ana@example.com", 'Ana, "Ruiz"'))
        person.add_custom_arg(sg.CustomArg("dcbridge", f"{message().ref}.0"))
        theirs.add_personalization(person)
        theirs.reply_to = sg.ReplyTo("help@company.com")
        for name, value in HEADERS.items():
            theirs.add_header(sg.Header(name, value))
        data = base64.b64encode(PICTURE.data).decode()
        theirs.add_attachment(sg.Attachment(data, PICTURE.name, PICTURE.mimetype, "attachment"))
        theirs.tracking_settings = sg.TrackingSettings(
            click_tracking=sg.ClickTracking(enable=False), open_tracking=sg.OpenTracking(enable=False)
        )
        client: Any = SendGridAPIClient("SG.1", host=url)
        client.send(theirs)
        made = request(provider("sendgrid", base_url=url))
        httpx.post(made.url, headers=made.headers, content=made.content)
        their, one = arrived
    assert (their.method, their.path, orjson.loads(their.body)) == (one.method, one.path, orjson.loads(one.body))
    assert one.headers["authorization"] == their.headers["authorization"] == "Bearer SG.1"


def test_the_request_is_the_one_that_postmarks_library_writes() -> None:
    from postmarker.core import PostmarkClient  # type: ignore[import-untyped]

    with recording(lambda _: {"ErrorCode": 0, "MessageID": "m-1"}) as (url, arrived):
        client: Any = PostmarkClient("token-1")
        client.root_api_url = url
        client.emails.send(
            From="Care <care@company.com>", To="ana@example.com", Subject="Größe 2", TextBody=TEXT, HtmlBody=HTML,
            ReplyTo="help@company.com", Headers={**HEADERS, "X-PM-KeepID": "true"}, MessageStream="outbound",
            Metadata={"dcbridge": f"{message().ref}.0"}, TrackOpens=False, TrackLinks="None",
            Attachments=[(PICTURE.name, base64.b64encode(PICTURE.data).decode(), PICTURE.mimetype)],
        )  # fmt: skip
        made = request(provider("postmark", base_url=url))
        httpx.post(made.url, headers=made.headers, content=made.content)
        their, one = arrived
    theirs, ours = (
        {key: value for key, value in orjson.loads(each.body).items() if value is not None} for each in (their, one)
    )
    assert ours.pop("To") == '"Ana, \\"Ruiz\\"" <ana@example.com>'
    assert ours.pop("From") == '"Care" <care@company.com>'
    for each in (theirs, ours):
        each["Headers"].sort(key=lambda one: one["Name"])
    assert {name: theirs[name] for name in ours} == ours
    assert (their.method, their.path) == (one.method, one.path)
    assert one.headers["x-postmark-server-token"] == their.headers["x-postmark-server-token"] == "token-1"


def test_the_request_is_the_one_that_mailguns_library_writes() -> None:
    from mailgun.client import Client

    made = request(provider("mailgun"))
    form = {
        field.name: bytes(field.value)
        for field in multipart.fields_of(made.content, multipart.boundary_of(made.headers["content-type"]))
    }
    raw = form["message"]
    with recording(lambda _: {"id": "<a@b>"}) as (url, arrived):
        client: Any = Client(auth=("api", "key-1"), api_url=f"{url}/", allow_insecure_api_url=True)
        told = {name: value.decode() for name, value in form.items() if name != "message"}
        client.mimemessage.create(data=told, files={"message": raw}, domain="mg.company.com")
        [their] = arrived
    theirs = {
        field.name: bytes(field.value)
        for field in multipart.fields_of(their.body, multipart.boundary_of(their.headers["content-type"]))
    }
    assert (their.method, their.path, theirs) == (made.method, made.url.path, form)
    assert made.headers["authorization"] == their.headers["authorization"]
    read = message_from_bytes(raw, policy=policy.SMTP)
    assert {name: " ".join(str(read[name]).split()) for name in HEADERS} == HEADERS
    assert form["to"] == b"ana@example.com"


def test_the_request_is_the_one_that_botocore_writes() -> None:
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.credentials import Credentials  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    made = request(provider("ses"))
    body = orjson.loads(made.content)
    with recording(lambda _: {"MessageId": "m-1"}) as (url, arrived):
        client: Any = Session().create_client(
            "sesv2", "eu-west-1", endpoint_url=url, aws_access_key_id="AKIA1", aws_secret_access_key="s",
            config=Config(proxies={}),
        )  # fmt: skip
        raw = base64.b64decode(body["Content"]["Raw"]["Data"])
        sent = client.send_email(
            Destination=body["Destination"], Content={"Raw": {"Data": raw}}, EmailTags=body["EmailTags"],
            ConfigurationSetName="c",
        )  # fmt: skip
        [their] = arrived
    assert sent["MessageId"] == "m-1"
    assert (their.method, their.path, orjson.loads(their.body)) == (made.method, made.url.path, body)
    moment = 1_790_000_000
    signed = provider("ses").login.signed(request(provider("ses")), moment)
    names = {name: signed.headers[name] for name in ("content-type", "host")}
    again: Any = AWSRequest("POST", str(signed.url), names, signed.content)
    again.context["timestamp"] = signed.headers["X-Amz-Date"]
    signer: Any = SigV4Auth(Credentials("AKIA1", "s"), "ses", "eu-west-1")
    again.headers["X-Amz-Date"] = signed.headers["X-Amz-Date"]
    string = signer.string_to_sign(again, signer.canonical_request(again))
    right = signer.signature(string, again)
    assert signed.headers["Authorization"].endswith(f"Signature={right}")


def test_the_request_is_the_one_that_azures_library_writes() -> None:
    from azure.communication.email import EmailClient
    from azure.core.credentials import AzureKeyCredential

    ours = provider("azure-email")
    operation = request(ours).headers["Operation-Id"]
    said = {
        "senderAddress": "care@company.com",
        "content": {"subject": "Größe 2", "plainText": TEXT, "html": HTML},
        "recipients": {"to": [{"address": "ana@example.com", "displayName": 'Ana, "Ruiz"'}]},
        "headers": {name: value for name, value in HEADERS.items() if name != "Message-ID"},
        "replyTo": [{"address": "help@company.com"}],
        "attachments": [{"name": "map.png", "contentType": "image/png",
                         "contentInBase64": base64.b64encode(PICTURE.data).decode()}],
        "userEngagementTrackingDisabled": True,
    }  # fmt: skip
    with recording(lambda _: {"id": operation, "status": "Succeeded"}, 202) as (url, arrived):
        client: Any = EmailClient(url, AzureKeyCredential("a2V5"))
        client.begin_send(said, operation_id=operation)
        made = request(provider("azure-email", base_url=url))
        their = arrived[0]
    assert (their.method, their.path) == (made.method, made.url.raw_path.decode())
    assert orjson.loads(their.body) == orjson.loads(made.content)
    assert their.headers["operation-id"] == operation
    assert provider("azure-email").parse_response(httpx.Response(202, json={"id": operation})).provider_id == operation


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_second_attempt_is_the_same_and_says_its_message_id(kind: str) -> None:
    first, again = request(provider(kind)), request(provider(kind))
    assert (first.content, first.headers.raw) == (again.content, again.headers.raw)
    assert first.extensions[MESSAGE_ID] == OUR_ID


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_an_email_without_subject_or_text_can_go(kind: str) -> None:
    bare = request(provider(kind), message("", HTML, subject=""), files=False, thread=False)
    assert bare.content
    files = message("", "", subject="x")
    ours = provider(kind)
    with pytest.raises(Refused):
        ours.parts(files)


@pytest.mark.parametrize(("to", "reason"), [("no mailbox", 530), ("josé@example.com", 530), ("a@b\r\nBcc: c@d", 530)])
@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_mailbox_that_it_cannot_carry_is_refused_before(kind: str, to: str, reason: int) -> None:
    request(provider(kind), message(to="jose@exämple.com"))
    with pytest.raises(Refused) as raised:
        request(provider(kind), message(to=to))
    assert raised.value.reason == reason


# ---------------------------------------------------------------- answers


ANSWERS: list[tuple[str, int, object, type[SendError], Reason, str]] = [
    ("sendgrid", 400, {"errors": [{"field": "personalizations.0.to.0.email"}]}, Refused, Reason.INVALID_DESTINATION,
     "personalizations.0.to.0.email"),
    ("sendgrid", 403, {"errors": [{"field": "from"}]}, RouteRefused, Reason.NOT_ALLOWED, "from"),
    ("sendgrid", 400, {"errors": [{"field": "subject"}]}, Refused, Reason.INVALID_STRUCTURE, "subject"),
    ("sendgrid", 413, {}, Refused, Reason.UNSUPPORTED, "413"),
    ("sendgrid", 401, {"errors": [{"field": None}]}, AccountFault, Reason.GENERAL, "HTTP 401"),
    ("sendgrid", 429, {}, Throttled, Reason.RATE_LIMIT, "HTTP 429"),
    ("sendgrid", 500, {}, OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
    ("sendgrid", 202, {}, Unreadable, Reason.GENERAL, "HTTP 202"),
    ("postmark", 422, {"ErrorCode": 300}, Refused, Reason.INVALID_STRUCTURE, "300"),
    ("postmark", 422, {"ErrorCode": 406}, Refused, Reason.NOT_ALLOWED, "406"),
    ("postmark", 422, {"ErrorCode": 400}, RouteRefused, Reason.NOT_ALLOWED, "400"),
    ("postmark", 422, {"ErrorCode": 411}, Refused, Reason.UNSUPPORTED, "411"),
    ("postmark", 422, {"ErrorCode": 412}, AccountFault, Reason.GENERAL, "412"),
    ("postmark", 401, {"ErrorCode": 10}, AccountFault, Reason.GENERAL, "10"),
    ("postmark", 422, {"ErrorCode": 100}, OutcomeUnknown, Reason.GENERAL, "100"),
    ("postmark", 422, {"ErrorCode": 9999}, Refused, Reason.GENERAL, "9999"),
    ("postmark", 429, {"ErrorCode": 429}, Throttled, Reason.RATE_LIMIT, "429"),
    ("postmark", 503, {"ErrorCode": 406}, OutcomeUnknown, Reason.GENERAL, "406"),
    ("postmark", 200, {"ErrorCode": 406}, Refused, Reason.NOT_ALLOWED, "406"),
    ("postmark", 200, {"ErrorCode": 0, "MessageID": "a b"}, Unreadable, Reason.GENERAL, "HTTP 200"),
    ("mailgun", 400, {"message": "to parameter is not a valid address."}, Refused, Reason.INVALID_DESTINATION, "to"),
    ("mailgun", 400, {"message": "x"}, Refused, Reason.INVALID_STRUCTURE, "400"),
    ("mailgun", 401, b"Forbidden", AccountFault, Reason.GENERAL, "401"),
    ("mailgun", 404, {}, AccountFault, Reason.GENERAL, "404"),
    ("mailgun", 413, {}, Refused, Reason.UNSUPPORTED, "413"),
    ("mailgun", 429, {"message": "try again after 7 seconds"}, Throttled, Reason.RATE_LIMIT, "HTTP 429"),
    ("mailgun", 500, {}, OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
    ("mailgun", 200, {"id": "no id"}, Unreadable, Reason.GENERAL, "HTTP 200"),
    ("ses", 400, {"__type": "MessageRejected"}, RouteRefused, Reason.NOT_ALLOWED, "MessageRejected"),
    ("ses", 400, {"__type": "x#BadRequestException"}, Refused, Reason.INVALID_STRUCTURE, "BadRequestException"),
    ("ses", 400, {"__type": "LimitExceededException"}, Throttled, Reason.RATE_LIMIT, "LimitExceededException"),
    ("ses", 429, {"__type": "TooManyRequestsException"}, Throttled, Reason.RATE_LIMIT, "TooManyRequestsException"),
    ("ses", 400, {"__type": "SendingPausedException"}, AccountFault, Reason.GENERAL, "SendingPausedException"),
    ("ses", 403, {"__type": "InvalidSignatureException"}, AccountFault, Reason.GENERAL, "InvalidSignatureException"),
    ("ses", 500, {}, OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
    ("ses", 200, {}, Unreadable, Reason.GENERAL, "HTTP 200"),
    ("azure-email", 400, {"error": {"code": "BadRequest"}}, Refused, Reason.INVALID_STRUCTURE, "BadRequest"),
    ("azure-email", 400, {"error": {"code": "DomainNotLinked"}}, RouteRefused, Reason.NOT_ALLOWED, "DomainNotLinked"),
    ("azure-email", 413, {}, Refused, Reason.UNSUPPORTED, "413"),
    ("azure-email", 401, {}, AccountFault, Reason.GENERAL, "401"),
    ("azure-email", 429, {}, Throttled, Reason.RATE_LIMIT, "429"),
    ("azure-email", 503, {"error": {"code": "BadRequest"}}, OutcomeUnknown, Reason.GENERAL, "BadRequest"),
    ("azure-email", 202, {}, Unreadable, Reason.GENERAL, "HTTP 202"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "body", "error", "reason", "code"), ANSWERS)
def test_what_an_answer_means(
    kind: str, status: int, body: object, error: type[SendError], reason: Reason, code: str
) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        provider(kind).parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


TAKEN: dict[str, tuple[httpx.Response, str, str]] = {
    "azure-email": (httpx.Response(202, json={"id": "o-1", "status": "Running"}), "o-1", ""),
    "mailgun": (httpx.Response(200, json={"id": "<a@b>", "message": "Queued."}), "a@b", "a@b"),
    "postmark": (httpx.Response(200, json={"ErrorCode": 0, "MessageID": "m-1"}), "m-1", ""),
    "sendgrid": (httpx.Response(202, headers={"X-Message-Id": "s-1"}), "s-1", ""),
    "ses": (httpx.Response(200, json={"MessageId": "m-1"}), "m-1", "m-1@eu-west-1.amazonses.com"),
}


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_what_is_taken_and_under_which_message_id(kind: str) -> None:
    answer, provider_id, message_id = TAKEN[kind]
    taken = provider(kind).parse_response(answer)
    assert (taken.provider_id, taken.message_id) == (provider_id, message_id)
    assert provider("ses", region="us-east-1").parse_response(TAKEN["ses"][0]).message_id == "m-1@email.amazonses.com"


def test_how_long_to_wait_where_no_header_of_http_says_it() -> None:
    with pytest.raises(Throttled) as raised:
        provider("mailgun").parse_response(httpx.Response(429, json={"message": "try again after 7 seconds"}))
    assert raised.value.retry_after == 7
    reset = {"X-RateLimit-Reset": str(int(time.time()) + 60)}
    with pytest.raises(Throttled) as raised:
        provider("sendgrid").parse_response(httpx.Response(429, headers=reset))
    assert 50 < (raised.value.retry_after or 0) <= 60


def test_azure_is_asked_for_an_operation_whose_id_is_known_before() -> None:
    ours = provider("azure-email")
    turn = Turn(message(), ours.parts(message())[0], NOW)
    wanted = ours.status_lookup.list_request(turn)
    operation = ours.build_request(turn).headers["Operation-Id"]
    assert (
        str(wanted.url) == f"{FIELDS['azure-email']['base_url']}/emails/operations/{operation}?api-version=2025-09-01"
    )
    found = ours.status_lookup.parse_list(httpx.Response(200, json={"id": operation, "status": "Running"}), turn, 0)
    assert [(row.reported.provider_id, row.same) for row in found.rows] == [(operation, True)]
    assert list(ours.status_lookup.parse_list(httpx.Response(404), turn, 0).rows) == []
    failed = {"id": operation, "status": "Failed", "error": {"code": "EmailDroppedAllRecipientsSuppressed"}}
    said = ours.status_lookup.parse_status(httpx.Response(200, json=failed))
    assert (said.status, said.reason) == (UpdateStatus.FAILED, Reason.NOT_ALLOWED)
    with pytest.raises(AccountFault):
        ours.status_lookup.parse_status(httpx.Response(401))
