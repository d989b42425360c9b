"""The section `genesys` of bridge.yaml: each grant has its fields, and no other's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dcbridge.config.genesys import Genesys

HOST = "https://gapi-use1.example.com"
FIELDS = {
    "client_credentials": {"client_secret": "s"},
    "refresh_token": {"refresh_token": "r"},
    "password": {"username": "u", "password": "p"},
    "authorization_code": {"redirect_uri": "https://app.example.com/in"},
}


def read(**auth: Any) -> Genesys:
    return Genesys.model_validate({"base_url": HOST, "api_key": "k", "auth": {"client_id": "c", **auth}})


@pytest.mark.parametrize("grant", FIELDS)
def test_a_grant_needs_its_fields_and_no_others(grant: str) -> None:
    credentials = read(grant=grant, **FIELDS[grant]).credentials()
    assert credentials is not None
    assert (credentials.base_url, credentials.key, credentials.grant) == (f"{HOST}/auth/v3", "k", grant)
    for missing in FIELDS[grant]:
        with pytest.raises(ValidationError, match=f"{missing}"):
            read(grant=grant, **{name: value for name, value in FIELDS[grant].items() if name != missing})
    for other, fields in FIELDS.items():
        if other not in (grant, "client_credentials"):
            with pytest.raises(ValidationError, match=f"is not used by the grant {grant}"):
                read(grant=grant, **FIELDS[grant], **fields)


def test_no_secret_is_shown() -> None:
    secrets = {"client_secret": "S-E-C", "username": "u", "password": "P-A-S"}
    found = read(grant="password", **secrets)
    shown = repr(found) + repr(found.credentials())
    assert [one for one in ("S-E-C", "P-A-S", "'k'") if one in shown] == []


def test_an_interface_may_be_elsewhere() -> None:
    found = read(grant="client_credentials", client_secret="s", base_url="https://auth.example.com/auth/v3/")
    credentials = found.credentials()
    assert credentials is not None
    assert credentials.base_url == "https://auth.example.com/auth/v3"
    assert Genesys.model_validate({"base_url": HOST}).credentials() is None
