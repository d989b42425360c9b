"""Telnyx' own settings, against ours: the messaging profile, and the numbers that belong to it.

https://developers.telnyx.com/api-reference/profiles/retrieve-a-messaging-profile
https://developers.telnyx.com/api-reference/phone-number-configurations/list-phone-numbers-with-messaging-settings
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from dcbridge.operations.doctor.asking import Company, not_read, rows_of
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.operations.doctor.numbers import MOST_NUMBERS, Number
from dcbridge.operations.doctor.urls import compared
from dcbridge.providers.base import callback_url
from dcbridge.providers.http_words import a_list, a_text, an_object
from dcbridge.providers.telnyx import TelnyxFields
from dcbridge.transport.sender import Sender

LOST = "neither what consumers write nor a delivery arrives"
WHERE = "Telnyx portal, Messaging, the profile, Inbound"
MOST_PROFILES = 5
_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class Telnyx:
    """One account."""

    def __init__(
        self, sender: Sender, name: str, fields: TelnyxFields, public_url: str, numbers: Sequence[Number]
    ) -> None:
        self._fields, self._numbers = fields, numbers
        login = {"Authorization": f"Bearer {fields.api_key.get_secret_value()}", "Accept": "application/json"}
        self._company = Company(sender, login)
        self._ours = callback_url(public_url, name, "events")
        self._at = About(f"providers.{name}")

    async def check(self) -> Sequence[Finding]:
        named = self._fields.messaging_profile_id
        looked = [one for one in self._numbers if one.is_number][:MOST_NUMBERS]
        found: list[Finding] = []
        profiles = {named: ""} if named else {}
        for findings, profile, number in await asyncio.gather(*map(self._number, looked)):
            found += findings
            if profile and _ID.fullmatch(profile):
                profiles.setdefault(profile, number.channel)
        for one in await asyncio.gather(*(self._profile(one) for one in list(profiles)[:MOST_PROFILES])):
            found += one
        if not profiles and not found:
            found.append(self._at.note("no number of this account is one whose settings can be read"))
        return found

    async def _number(self, number: Number) -> tuple[Sequence[Finding], str, Number]:
        """What is wrong with it, and its profile."""
        at = About(f"{self._at.name}, channel {number.channel}")
        query = {"filter[phone_number]": number.written, "page[size]": "20"}
        said = await self._company.get(f"{self._fields.base_url}/v2/phone_numbers/messaging", query)
        if not said.good:
            return [not_read(said, "the number", at, "api_key")], "", number
        row = next((one for one in rows_of(said.whole, "data") if one.get("phone_number") == number.written), None)
        if row is None:
            found = at.error(
                "the account has no such number: nothing can be sent from it", "check the channel's number and api_key"
            )
            return [found], "", number
        profile, named = a_text(row.get("messaging_profile_id")), self._fields.messaging_profile_id
        if not profile:
            found = at.error(
                "the number belongs to no messaging profile: it neither sends nor receives",
                "assign it to one",
                named or "",
                "Telnyx portal, Numbers, the number, Messaging",
            )
            return [found], "", number
        if named and profile != named:
            found = at.error(
                "the number belongs to another messaging profile than messaging_profile_id",
                "assign it to that one",
                named,
                "Telnyx portal, Numbers, the number, Messaging",
            )
            return [found], profile, number
        return [at.ok("the number belongs to its messaging profile")], profile, number

    async def _profile(self, profile: str) -> Sequence[Finding]:
        said = await self._company.get(f"{self._fields.base_url}/v2/messaging_profiles/{profile}")
        at = self._at
        if said.http == 404:
            return [at.error("there is no such messaging profile", "check messaging_profile_id")]
        if not said.good:
            return [not_read(said, "the messaging profile", at, "api_key")]
        row = an_object(said.whole.get("data"))
        found = [compared("the messaging profile's webhook", row.get("webhook_url"), self._ours, at, WHERE, lost=LOST)]
        if row.get("enabled") is False:
            found.append(at.error("the messaging profile is disabled: nothing is sent", "enable it", where=WHERE))
        version = a_text(row.get("webhook_api_version"))
        if version and version != "2":
            found.append(
                at.error(
                    "the messaging profile posts webhooks of an old version, which are not read",
                    "choose API v2",
                    "2",
                    WHERE,
                )
            )
        allowed = [a_text(one) for one in a_list(row.get("whitelisted_destinations"))]
        if allowed and "*" not in allowed:
            found.append(at.note(f"the messaging profile sends to {len(allowed)} countries alone"))
        return found
