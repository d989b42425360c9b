"""Vonage's own settings, against ours: the numbers, the application, and the account's default addresses.

https://developer.vonage.com/en/api/numbers
https://developer.vonage.com/en/api/application.v2
https://developer.vonage.com/en/api/account        settings are read by a POST that sets none, which has to be asked for
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from dcbridge.operations.doctor.asking import Company, basic, not_read, rows_of
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.operations.doctor.numbers import MOST_NUMBERS, Number
from dcbridge.operations.doctor.urls import compared
from dcbridge.providers.base import callback_url
from dcbridge.providers.http_words import a_text, an_object
from dcbridge.providers.vonage import VonageFields
from dcbridge.transport.sender import Sender

LOST = "what consumers write does not arrive"
UNCONFIRMED = "no delivery is ever confirmed"
SETTINGS = "Vonage dashboard, API settings, SMS settings"


class Vonage:
    """One account. `deep`: the account's settings are read as well."""

    def __init__(
        self, sender: Sender, name: str, fields: VonageFields, public_url: str, numbers: Sequence[Number], *, deep: bool
    ) -> None:
        self._fields, self._numbers, self._deep = fields, numbers, deep
        self._company = Company(sender, basic(fields.api_key, fields.api_secret.get_secret_value()))
        self._secrets = tuple(one.get_secret_value() for one in fields.callback_secret)
        self._inbound, self._status = (callback_url(public_url, name, kind) for kind in ("inbound", "status"))
        self._at = About(f"providers.{name}")

    async def check(self) -> Sequence[Finding]:
        looked = [one for one in self._numbers if one.is_number][:MOST_NUMBERS]
        found: list[Finding] = []
        own = 0  # numbers with an address of their own
        for findings, has_own in await asyncio.gather(*map(self._number, looked)):
            found += findings
            own += has_own
        if self._fields.application_id:
            found += await self._application(self._fields.application_id)
        found += (
            await self._settings()
            if self._deep
            else [
                self._at.note(
                    "the account's default addresses were not looked at: Vonage shows them to a POST alone",
                    "run the doctor with --deep, which posts an empty form",
                )
            ]
        )
        if self._fields.signature_secret is not None:
            found.append(
                self._at.note(
                    "whether callbacks are signed cannot be read",
                    f"compare signature_method with {SETTINGS}, Webhook signature",
                )
            )
        return found

    async def _number(self, number: Number) -> tuple[Sequence[Finding], bool]:
        at = About(f"{self._at.name}, channel {number.channel}")
        query = {"pattern": number.written[1:], "search_pattern": "0", "size": "10"}
        said = await self._company.get(f"{self._fields.base_url}/account/numbers", query)
        if not said.good:
            return [not_read(said, "the number", at, "api_key and api_secret")], False
        row = next((one for one in rows_of(said.whole, "numbers") if one.get("msisdn") == number.written[1:]), None)
        if row is None:
            return [
                at.error(
                    "the account has no such number: consumers cannot answer", "check the channel's number and api_key"
                )
            ], False
        features = row.get("features")
        if isinstance(features, list) and features and "SMS" not in features:
            return [at.error("the number cannot send SMS", "buy one that can")], False
        if a_text(row.get("moHttpUrl")):
            where = "Vonage dashboard, Numbers, the number, Inbound SMS webhook"
            return [self._compared("the number's webhook", row.get("moHttpUrl"), self._inbound, at, where, LOST)], True
        application = a_text(row.get("app_id")) or a_text(row.get("messagesCallbackValue"))
        if application and application != (self._fields.application_id or "").lower():
            return [
                at.warning(
                    "the number is linked to an application that bridge.yaml does not name, whose address may count",
                    "unlink it, or set application_id",
                )
            ], False
        return [at.ok("the number is in the account, and the default address counts")], False

    async def _application(self, application_id: str) -> Sequence[Finding]:
        said = await self._company.get(f"{self._fields.messages_url}/v2/applications/{application_id}")
        if said.http == 404:
            return [self._at.error("the account has no such application: files are not sent", "check application_id")]
        if not said.good:
            return [not_read(said, "the application", self._at, "api_key and api_secret")]
        messages = an_object(an_object(said.whole.get("capabilities")).get("messages"))
        if not messages:
            return [
                self._at.error(
                    "the application has no Messages capability: files are not sent",
                    "turn it on",
                    where="Vonage dashboard, Applications, Edit, Capabilities",
                )
            ]
        hooks, where = an_object(messages.get("webhooks")), "Vonage dashboard, Applications, Edit, Messages"
        return [
            self._compared(
                "the application's inbound URL", _address(hooks, "inbound_url"), self._inbound, self._at, where, LOST
            ),
            self._compared(
                "the application's status URL",
                _address(hooks, "status_url"),
                self._status,
                self._at,
                where,
                UNCONFIRMED,
            ),
        ]

    async def _settings(self) -> Sequence[Finding]:
        said = await self._company.post_nothing(f"{self._fields.base_url}/account/settings")
        if not said.good:
            return [not_read(said, "the account's settings", self._at, "api_key and api_secret")]
        whole = said.whole
        return [
            self._compared(
                "the account's default address for inbound SMS",
                whole.get("mo-callback-url"),
                self._inbound,
                self._at,
                SETTINGS,
                LOST,
            ),
            self._compared(
                "the account's default address for delivery receipts",
                whole.get("dr-callback-url"),
                self._status,
                self._at,
                SETTINGS,
                UNCONFIRMED,
            ),
        ]

    def _compared(self, what: str, theirs: object, ours: str, at: About, where: str, lost: str) -> Finding:
        return compared(what, theirs, ours, at, where, lost=lost, secrets=self._secrets)


def _address(hooks: Mapping[str, Any], name: str) -> str:
    return a_text(an_object(hooks.get(name)).get("address"))
