"""Channels of Open Messaging in bridge.yaml: what is refused, and how it is said."""

from __future__ import annotations

import httpx
import pytest

from dcbridge.config.genesys_cloud import Organization
from dcbridge.config.loader import parse
from dcbridge.settings.problems import ConfigurationError

ID = "73cb7fb7-c2db-4996-88f3-0a83a4fea1da"
CLOUD = f"""
public_url: https://bridge.example.com
genesys_cloud:
  main: {{region: mypurecloud.ie, client_id: c, client_secret: "${{S}}"}}
endpoints:
  cloud: {{secrets: ["${{S}}"]}}
providers:
  twilio: {{kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: "${{S}}"}}
channels:
  {ID}: {{platform: open_messaging, type: sms, provider: twilio, number: "+15557650123"}}
"""
BESIDE = "  '0123456789': {type: sms, provider: twilio, number: '+15557650124'}\n"
DIGITAL = 'digital_channels: {base_url: "https://d.example.com/nexus/v3",'
DIGITAL += " contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11}\n"


def problems(text: str) -> list[str]:
    """Each without its line."""
    try:
        found = parse(text, {"S": "0123456789abcdef0123"}).warnings
    except ConfigurationError as error:
        found = error.problems
    return [str(one).partition(": ")[2] for one in found]


def test_a_bridge_without_digital_channels() -> None:
    configuration = parse(CLOUD, {"S": "0123456789abcdef0123"})
    assert configuration.warnings == ()
    assert configuration.organization_of(ID) == "main"
    assert configuration.organization_of("unknown", "cloud") == "main"
    organization = configuration.genesys_cloud["main"]
    assert (organization.api, organization.login) == ("https://api.mypurecloud.ie", "https://login.mypurecloud.ie")
    assert organization.file_hosts == ("api-downloads.mypurecloud.ie", "api.mypurecloud.ie")


def test_both_platforms_beside_each_other_and_which_endpoint_is_whose() -> None:
    """A channel that names no endpoint has the one that no channel of the other platform names."""
    both = CLOUD.replace("  cloud: {", '  cloud: {secrets: ["${S}"]}\n  main: {', 1).replace(
        "open_messaging, type", "open_messaging, endpoint: cloud, type"
    )
    configuration = parse(DIGITAL + both + BESIDE, {"S": "0123456789abcdef0123"})
    assert configuration.platform_at == {"cloud": "open_messaging", "main": "digital_channels"}
    assert configuration.endpoint_of("0123456789") == "main"
    assert configuration.organization_of("0123456789") is None
    assert configuration.organization_of("unknown", "main") is None
    assert configuration.organization_of("unknown", "cloud") == "main"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (ID, "abc", "channels.abc: is a channel of Open Messaging, and its id is not that of an integration"),
        (ID, ID.upper(), f"channels.{ID.upper()}: is a channel of Open Messaging, and its id is not that of"),
        ("type: sms", "type: email", f"channels.{ID}.type: is email, which Open Messaging does not carry; write sms"),
        ("sms, p", "sms, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd, p",
         f"channels.{ID}.contact_center_id: is for channels of Digital Channels; leave it out"),
        ("type: sms", "organization: man, type: sms", f'channels.{ID}.organization: no organization is named "man"'),
        ("  main: {", "  other: {region: mypurecloud.de, client_id: c, client_secret: '${S}'}\n  main: {",
         f"channels.{ID}.organization: is missing, and there are several organizations; choose from other, main"),
        ("platform: open_messaging", "platform: open", f"channels.{ID}.platform: should be digital_channels or"),
        ("platform: open_messaging, ", "", "digital_channels: is missing"),
        ("platform: open_messaging", "organization: main", f"channels.{ID}.organization: is for channels of the plat"),
        ("region: mypurecloud.ie", "region: evil.example.com",
         "genesys_cloud.main.region: should be the domain of a region, such as mypurecloud.ie or usw2.pure.cloud"),
        ("region: mypurecloud.ie, ", "base_url: https://x.example.com, ",
         "genesys_cloud.main.login_url: is missing: without region, both base_url and login_url are needed"),
        ("region: mypurecloud.ie", "region: mypurecloud.ie, login_url: http://x.example.com",
         "genesys_cloud.main.login_url: is http: messages and tokens travel unencrypted"),
        ("region: mypurecloud.ie", "region: mypurecloud.ie, media_hosts: [https://x]", "genesys_cloud.main.media_"),
        ("bridge.example.com", "bridge.example.com:8443",
         "public_url: has a port of its own, and Genesys Cloud calls webhooks on port 443 only"),
    ],
)  # fmt: skip
def test_what_does_not_fit(old: str, new: str, said: str) -> None:
    assert old in CLOUD
    found = problems(CLOUD.replace(old, new, 1))
    assert any(one.startswith(said) for one in found), found
    assert not any("0123456789abcdef0123" in one for one in found)


def test_an_endpoint_has_channels_of_one_platform() -> None:
    [found] = problems(DIGITAL + CLOUD + BESIDE)
    assert found.startswith(f'channels.0123456789.endpoint: is the endpoint of channel "{ID}", which is at another')


def test_an_organization_that_no_channel_is_in_deserves_a_look() -> None:
    named = CLOUD.replace("type: sms", "organization: main, type: sms")
    more = named.replace(
        "  main: {", "  other: {region: mypurecloud.de, client_id: c, client_secret: '${S}'}\n  main: {", 1
    )
    assert problems(more) == ["genesys_cloud.other: is used by no channel"]


@pytest.mark.parametrize(
    ("region", "known"),
    [
        ("mypurecloud.com", True),
        ("mypurecloud.com.au", True),
        ("apse1.pure.cloud", True),
        ("use2.us-gov-pure.cloud", True),
        ("edee1.eusc-pure.cloud", True),
        ("mypurecloud.com.evil.example", False),
        ("evil.pure.cloud.example", False),
        ("a.b.pure.cloud", False),
        ("usw2.pure.cloud\n", False),
        ("", False),
    ],
)
def test_regions(region: str, known: bool) -> None:
    fields = {"region": region, "client_id": "c", "client_secret": "s"}
    if known:
        assert Organization.model_validate(fields).login == f"https://login.{region}"
    else:
        with pytest.raises(ValueError, match="region"):
            Organization.model_validate(fields)


@pytest.mark.parametrize(
    ("url", "more", "takes"),
    [
        ("https://api-downloads.mypurecloud.ie/api/v2/downloads/x?a=b", {}, True),
        ("https://api.mypurecloud.ie/api/v2/downloads/x", {}, True),
        ("https://api.mypurecloud.ie:443/api/v2/downloads/x", {}, True),
        ("https://api.mypurecloud.ie/api/v2/downloads/../users/me", {}, False),
        ("https://api.mypurecloud.ie/api/v2/downloads/%2e%2e/users/me", {}, False),
        ("https://api.mypurecloud.ie/api/v2/downloads//x", {}, False),
        ("https://api.mypurecloud.ie/api/v2/users/me?/api/v2/downloads/", {}, False),
        ("https://api.mypurecloud.ie:8443/api/v2/downloads/x", {}, False),
        ("http://api-downloads.mypurecloud.ie/api/v2/downloads/x", {}, False),
        ("https://api-downloads.mypurecloud.de/api/v2/downloads/x", {}, False),
        ("https://files.example.com/api/v2/downloads/x", {"media_hosts": ("files.example.com",)}, False),
        ("https://api.mypurecloud.ie/files/x", {}, False),
        ("https://api.mypurecloud.ie/files/x", {"token_paths": ("/files/",)}, True),
    ],
)
def test_the_token_goes_to_files_alone(url: str, more: dict[str, object], takes: bool) -> None:
    told = {"region": "mypurecloud.ie", "client_id": "c", "client_secret": "s", **more}
    assert Organization.model_validate(told).takes_token(httpx.URL(url)) is takes
