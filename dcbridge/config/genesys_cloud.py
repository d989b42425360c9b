"""Organizations of Genesys Cloud, whose integrations of Open Messaging are channels; and what has to fit together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from dcbridge.genesys.cloud import CloudCredentials, sender
from dcbridge.settings.problems import Path, did_you_mean, refuse
from dcbridge.settings.process import DAY
from dcbridge.settings.types import Model, Secret, SomeSeconds, Url, is_loopback

PlatformName = Literal["digital_channels", "open_messaging"]
DIGITAL_CHANNELS: PlatformName = "digital_channels"
OPEN_MESSAGING: PlatformName = "open_messaging"


def written_at(platform: PlatformName, consumer: str) -> str:
    """How a platform writes a consumer's number, given as Digital Channels does."""
    return sender(consumer)["id"] if platform == OPEN_MESSAGING else consumer


# What follows api. and login. in the hosts of Genesys Cloud's regions, after its published client for Python (269.0.0).
_REGION = re.compile(r"mypurecloud\.(com|com\.au|ie|de|jp)|[a-z]{2,5}[0-9]\.(pure|us-gov-pure|eusc-pure)\.cloud")
_HOST = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$"
_PATH = r"^/([A-Za-z0-9._~-]+/)*$"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError("should be the domain of a region, such as mypurecloud.ie or usw2.pure.cloud")
    return value


class Organization(Model):
    """One organization of Genesys Cloud: where its API is, and how dcbridge logs in."""

    region: Annotated[str, AfterValidator(_region)] | None = Field(
        None,
        description="Domain of its region, such as mypurecloud.ie or usw2.pure.cloud; the hosts of the API and the"
        " login are api. and login. before it.",
        json_schema_extra={"default": "required, unless `base_url` and `login_url` are set"},
    )
    base_url: Url | None = Field(
        None,
        description="URL of the API instead, without /api/v2.",
        json_schema_extra={"default": "https://api. and the region"},
    )
    login_url: Url | None = Field(
        None,
        description="URL of the login instead, without /oauth/token.",
        json_schema_extra={"default": "https://login. and the region"},
    )
    client_id: str = Field(
        min_length=1, max_length=200, description="Id of an OAuth client of the grant Client Credentials."
    )
    client_secret: Secret = Field(description="Secret of that client.")
    media_hosts: tuple[Annotated[str, StringConstraints(pattern=_HOST, max_length=260)], ...] = Field(
        (),
        max_length=20,
        description="Hosts that agents' files may be read from. A file on another host fails the message with 510.",
        json_schema_extra={"default": "api-downloads. and api. of the region"},
    )
    token_paths: tuple[Annotated[str, StringConstraints(pattern=_PATH, max_length=200)], ...] = Field(
        ("/api/v2/downloads/",),
        max_length=20,
        description="How the path of an agent's file begins that is read with the token, at the API itself and at"
        " api-downloads. of its region; all others are read without it.",
    )
    longest_pause: SomeSeconds = Field(
        300.0,
        le=DAY,
        description="Seconds for which a Retry-After is kept at most: receipts and consumer messages wait.",
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.region is None:
            refuse(
                *(
                    ((name,), "is missing: without region, both base_url and login_url are needed")
                    for name in ("base_url", "login_url")
                    if getattr(self, name) is None
                )
            )
        return self

    @property
    def api(self) -> str:
        return self.base_url or f"https://api.{self.region}"

    @property
    def login(self) -> str:
        return self.login_url or f"https://login.{self.region}"

    @property
    def file_hosts(self) -> tuple[str, ...]:
        """Hosts, with a port where it is not the usual one, that agents' files may be read from."""
        if self.media_hosts:
            return self.media_hosts
        return (f"api-downloads.{self.region}", f"api.{self.region}") if self.region else (urlsplit(self.api).netloc,)

    def takes_token(self, url: httpx.URL) -> bool:
        """Whether a file is read with the token: a webhook names the URL, and must not choose who gets it."""
        api = urlsplit(self.api)
        path = url.raw_path.decode("ascii", "replace").partition("?")[0]
        if "%" in path or "//" in path or "/." in path:
            return False
        if url.netloc == api.netloc.encode():
            return path.startswith(tuple(api.path + one for one in self.token_paths))
        beside = api.netloc.removeprefix("api.")
        return (
            url.scheme == api.scheme
            and beside != api.netloc
            and url.netloc == f"api-downloads.{beside}".encode()
            and path.startswith(self.token_paths)
        )

    def credentials(self) -> CloudCredentials:
        return CloudCredentials(f"{self.login}/oauth/token", self.client_id, self.client_secret.get_secret_value())


def endpoints_left(endpoints: Iterable[str], named: Iterable[tuple[object, object]]) -> dict[str, list[str]]:
    """By platform, endpoints that no channel of the other one names; all of them, where there are no others.

    `named`: platform and endpoint of each channel.
    """
    every, told = [*endpoints], {*named}
    left = {
        one: [name for name in every if not any(other != one and at == name for other, at in told)]
        for one in get_args(PlatformName)
    }
    return {one: names or every for one, names in left.items()}


def endpoints_named(channels: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[object, object]]:
    """As `endpoints_left` wants it, of channels as they were read."""
    for one in channels.values():
        if isinstance(platform := one.get("platform", DIGITAL_CHANNELS), str):
            yield platform, one.get("endpoint") if isinstance(one.get("endpoint"), str) else None


class Finding(NamedTuple):
    """As `config.checks` has it."""

    path: Path
    what: str
    suggestion: str = ""
    fatal: bool = True


def check(tree: Mapping[str, Any], channels: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """What does not fit in channels of either platform. `channels` as they were read."""
    organizations = tree.get("genesys_cloud")
    organizations = organizations if isinstance(organizations, Mapping) else {}
    cloud = {name: one for name, one in channels.items() if one.get("platform") == OPEN_MESSAGING}
    if channels and len(cloud) < len(channels) and tree.get("digital_channels") is None:
        yield Finding(("digital_channels",), "is missing")
    used = set()
    for channel_id, channel in channels.items():
        if channel_id not in cloud:
            if channel.get("organization") is not None:
                what = "is for channels of the platform open_messaging"
                yield Finding(("channels", channel_id, "organization"), what, "write platform: open_messaging")
            continue
        used.add(channel.get("organization") or next(iter(organizations), None))
        yield from _channel(channel_id, channel, organizations)
    yield from _endpoints(tree, channels, cloud)
    for name in organizations:
        if name not in used:
            yield Finding(("genesys_cloud", name), "is used by no channel", fatal=False)
    yield from _addresses(tree, organizations, bool(cloud))


def _channel(channel_id: str, channel: Mapping[str, Any], organizations: Mapping[str, object]) -> Iterator[Finding]:
    path: Path = ("channels", channel_id)
    if not _UUID.fullmatch(channel_id):
        what = "is a channel of Open Messaging, and its id is not that of an integration"
        yield Finding(path, what, "write the integration's id, a UUID in small letters, as the channel id")
    if channel.get("type") == "email":
        yield Finding((*path, "type"), "is email, which Open Messaging does not carry", "write sms")
    if channel.get("contact_center_id") is not None:
        yield Finding((*path, "contact_center_id"), "is for channels of Digital Channels", "leave it out")
    named = channel.get("organization")
    if named is None and len(organizations) != 1:
        if organizations:
            what, fix = "is missing, and there are several organizations", f"choose from {', '.join(organizations)}"
            yield Finding((*path, "organization"), what, fix)
        else:
            what = "is open_messaging, and there is no organization at all"
            yield Finding((*path, "platform"), what, "add the section genesys_cloud")
    elif isinstance(named, str) and named not in organizations:
        known = f"there is {', '.join(organizations)}" if organizations else "there is no organization at all"
        what = f'no organization is named "{named}"'
        yield Finding((*path, "organization"), what, did_you_mean(named, organizations) or known)


def _endpoints(
    tree: Mapping[str, Any], channels: Mapping[str, Mapping[str, Any]], cloud: Mapping[str, object]
) -> Iterator[Finding]:
    """One webhook has one signature and one form of body."""
    endpoints = tree.get("endpoints")
    names = list(endpoints) if isinstance(endpoints, Mapping) else []
    left = endpoints_left(names, endpoints_named(channels))
    first: dict[object, tuple[str, bool]] = {}
    for channel_id, channel in channels.items():
        platform = OPEN_MESSAGING if channel_id in cloud else DIGITAL_CHANNELS
        endpoint = channel.get("endpoint") or next(iter(left[platform]), None)
        other, of_cloud = first.setdefault(endpoint, (channel_id, channel_id in cloud))
        if of_cloud != (channel_id in cloud):
            what = f'is the endpoint of channel "{other}", which is at another platform'
            yield Finding(("channels", channel_id, "endpoint"), what, "give each platform endpoints of its own")


def _addresses(tree: Mapping[str, Any], organizations: Mapping[str, Any], used: bool) -> Iterator[Finding]:
    for name, one in organizations.items():
        for key in ("base_url", "login_url") if isinstance(one, Mapping) else ():
            url = one.get(key)
            if isinstance(url, str) and url.startswith("http://") and not is_loopback(url):
                what = "is http: messages and tokens travel unencrypted"
                yield Finding(("genesys_cloud", name, key), what, fatal=False)
    public_url = tree.get("public_url")
    if not used or not isinstance(public_url, str) or is_loopback(public_url):
        return
    try:
        port = urlsplit(public_url).port
    except ValueError:
        return
    if port not in (None, 443):
        what = "has a port of its own, and Genesys Cloud calls webhooks on port 443 only"
        yield Finding(("public_url",), what, fatal=False)
