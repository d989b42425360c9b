"""The values that bridge.yaml is made of: URLs, names, secrets, times, and what every model of it has in common."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import phonenumbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints


def is_loopback(url: str) -> bool:
    """True for a URL whose host is this computer itself."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _url(value: str) -> str:
    """An http or https URL without user, query and fragment; slashes of the path single, none at the end."""
    try:
        parts = urlsplit(value)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.scheme not in {"http", "https"} or re.search(r"\s", value):
        raise ValueError("should be a whole URL: https://, a host and perhaps a path")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("should have no user, no query and no fragment")
    return urlunsplit((parts.scheme, parts.netloc, re.sub(r"/{2,}", "/", parts.path).rstrip("/"), "", ""))


def company_url(value: str) -> str:
    """The same, for what a pattern has allowed already. Raises ValueError where no address can be read from it."""
    try:
        parts = urlsplit(value)
        whole = bool(parts.hostname) and parts.port != 0 and value.isprintable()
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("is no URL: https://, a host, and perhaps a port up to 65535 and a path")
    return value


def _for_a_header(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value.get_secret_value()):
        raise ValueError("should be printable ASCII on one line, without spaces around it: it stands in a header")
    return value


def _public_url(value: str) -> str:
    url = _url(value)
    if urlsplit(url).scheme == "http" and not is_loopback(url):
        raise ValueError("should begin with https://; http is for this computer itself (localhost) only")
    return url


def _uuid(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", value):
        raise ValueError("should be a UUID: 8-4-4-4-12 hex digits")
    return value


def _region(value: str) -> str:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("should be a country in two capital letters, such as US")
    return value


Region = Annotated[str, AfterValidator(_region)]
Url = Annotated[str, AfterValidator(_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Uuid = Annotated[str, AfterValidator(_uuid)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=64)]
Secret = Annotated[SecretStr, Field(min_length=1)]
HeaderSecret = Annotated[Secret, AfterValidator(_for_a_header)]
# Where a company's API begins, without a slash at its end.
CompanyUrl = Annotated[
    str, Field(pattern=r"^https?://[^\s?#@]+$"), AfterValidator(lambda value: company_url(value).rstrip("/"))
]
Secrets = Annotated[tuple[Secret, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SomeSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Model(BaseModel):
    """What every part of bridge.yaml has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
