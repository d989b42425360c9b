"""The ids of a registered text (India's DLT) as each company wants them, compared with its own library."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson
import pytest

from dcbridge.providers import KINDS, build
from dcbridge.providers.base import Provider, Template, Turn
from tests.providers.recorder import recording
from tests.providers.test_every_kind import FIELDS
from tests.providers.test_plivo import AUTH_ID, TOKEN, Redirected, message

DLT = Template("1601100000000012345", "1607100000000123456")


def body_of(provider: Provider, template: Template | None = DLT) -> dict[str, Any]:
    said = message("Hello")
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0, template=template))
    assert isinstance(request, httpx.Request)
    if "json" not in request.headers["content-type"] and not request.content.startswith(b"{"):
        return dict(parse_qsl(request.content.decode(), strict_parsing=True))
    found: dict[str, Any] = orjson.loads(request.content)
    return found


def provider(kind: str) -> Provider:
    return build("acme", kind, KINDS[kind].fields_model.model_validate(FIELDS[kind]), "https://bridge.example.com")


def added(kind: str) -> dict[str, Any]:
    """What the ids add to a request."""
    without, with_them = body_of(provider(kind), None), body_of(provider(kind))
    assert {name: value for name, value in with_them.items() if name in without} == without
    return {name: value for name, value in with_them.items() if name not in without}


def test_plivos_library_writes_the_same() -> None:
    import plivo as theirs  # type: ignore[import-untyped]

    with recording(lambda _: {"message": "x", "message_uuid": ["m-1"], "api_id": "a"}, 202) as (url, arrived):
        client = theirs.RestClient(AUTH_ID, TOKEN)
        client.session.mount("https://", Redirected(url))
        client.messages.create(
            src="+1", dst="+2", text="x", dlt_entity_id=DLT.entity_id, dlt_template_id=DLT.id
        )  # fmt: skip
        client.session.close()
        client.multipart_session.close()
    written = orjson.loads(arrived[0].body)
    assert added("plivo") == {name: value for name, value in written.items() if name.startswith("dlt_")}
    assert len(added("plivo")) == 2


def test_vonages_library_writes_the_same() -> None:
    from vonage_sms import SmsMessage  # type: ignore[import-untyped]

    written = SmsMessage(to="1", from_="2", text="x", entity_id=DLT.entity_id, content_id=DLT.id)
    wire = written.model_dump(by_alias=True, exclude_none=True)
    assert added("vonage") == {name: wire[name] for name in ("entity-id", "content-id")}


def test_awss_library_knows_the_same_names() -> None:
    from botocore.session import get_session  # type: ignore[import-untyped]

    service = get_session().get_service_model("pinpoint-sms-voice-v2")
    shape = service.operation_model("SendTextMessage").input_shape.members["DestinationCountryParameters"]
    found = added("aws-sms")["DestinationCountryParameters"]
    assert found == {"IN_ENTITY_ID": DLT.entity_id, "IN_TEMPLATE_ID": DLT.id}
    assert set(found) <= set(shape.key.enum)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_others_say_that_they_cannot(kind: str) -> None:
    assert KINDS[kind].can.templates == (kind in ("aws-sms", "infobip", "plivo", "vonage"))
