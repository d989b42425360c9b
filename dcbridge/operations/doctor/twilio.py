"""Twilio's own settings, against ours: the account, the numbers, the messaging service.

https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource
https://www.twilio.com/docs/messaging/api/service-resource
https://www.twilio.com/docs/usage/api/applications
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dcbridge.operations.doctor.asking import Company, Said, basic, not_read, rows_of
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.operations.doctor.numbers import MOST_NUMBERS, Number
from dcbridge.operations.doctor.urls import compared
from dcbridge.providers.base import callback_url
from dcbridge.providers.http_words import a_text
from dcbridge.providers.twilio import TwilioFields
from dcbridge.transport.sender import Sender

POOL = "Twilio console, Messaging, Services, Sender Pool"
LOST = "what consumers write does not arrive"
UNCONFIRMED = "no delivery is ever confirmed"
_POOLS = (
    ("PhoneNumbers", "phone_numbers", "phone_number"),
    ("ShortCodes", "short_codes", "short_code"),
    ("AlphaSenders", "alpha_senders", "alpha_sender"),
)


class Twilio:
    """One account."""

    def __init__(
        self, sender: Sender, name: str, fields: TwilioFields, public_url: str, numbers: Sequence[Number]
    ) -> None:
        self._fields, self._numbers = fields, numbers
        user = fields.api_key_sid or fields.account_sid
        password = (fields.api_key_secret or fields.auth_token).get_secret_value()
        self._company = Company(sender, basic(user, password))
        self._login = "api_key_sid and api_key_secret" if fields.api_key_sid else "account_sid and auth_token"
        self._account = f"{fields.base_url}/2010-04-01/Accounts/{fields.account_sid}"
        self._inbound = callback_url(public_url, name, "inbound")
        self._status = callback_url(public_url, name, "status")
        self._at = About(f"providers.{name}")

    async def check(self) -> Sequence[Finding]:
        """The account first: with a login that is refused, nothing else is asked."""
        account = await self._company.get(f"{self._account}.json")
        found = self._of_account(account)
        if account.http in (0, 401):
            return found
        service, pool = await self._service(found)
        looked = self._numbers[:MOST_NUMBERS]
        for one in await asyncio.gather(*(self._number(number, service, pool) for number in looked)):
            found += one
        if len(self._numbers) > len(looked):
            found.append(
                self._at.note(
                    f"{len(self._numbers) - len(looked)} more numbers were not looked at",
                    "look at one channel's with --channel",
                )
            )
        return found

    def _of_account(self, said: Said) -> list[Finding]:
        if not said.good:
            if self._fields.api_key_sid and said.http in (401, 403, 404):
                return []  # standard API keys may not read it; whether they work shows at the numbers
            return [not_read(said, "the account", self._at, self._login)]
        status, kind = a_text(said.whole.get("status")), a_text(said.whole.get("type"))
        found = []
        if status and status != "active":
            found.append(self._at.error("the account is not active: nothing is sent", "look at it in Twilio's console"))
        if kind == "Trial":
            found.append(self._at.warning("the account is a trial: it sends to verified numbers alone", "upgrade it"))
        return found or [self._at.ok("the account is active, and the login works")]

    async def _service(self, found: list[Finding]) -> tuple[Mapping[str, Any] | None, frozenset[str]]:
        """The messaging service and what is in its pool; its own findings are added."""
        sid = self._fields.messaging_service_sid
        if not sid:
            return None, frozenset()
        base = f"{messaging_base(self._fields.base_url)}/v1/Services/{sid}"
        said = await self._company.get(base)
        if said.http == 404:
            found.append(
                self._at.error("there is no such messaging service: nothing can be sent", "check messaging_service_sid")
            )
            return None, frozenset()
        if not said.good:
            found.append(not_read(said, "the messaging service", self._at, self._login))
            return None, frozenset()
        where = "Twilio console, Messaging, Services, Integration"
        if not said.whole.get("use_inbound_webhook_on_number"):
            url = said.whole.get("inbound_request_url")
            found.append(compared("the messaging service's webhook", url, self._inbound, self._at, where, lost=LOST))
        if not self._fields.status_callbacks:
            url = said.whole.get("status_callback")
            found.append(
                compared(
                    "the messaging service's delivery status callback",
                    url,
                    self._status,
                    self._at,
                    where,
                    lost=UNCONFIRMED,
                )
            )
        pools = await asyncio.gather(
            *(self._company.get(f"{base}/{path}", {"PageSize": "100"}) for path, _, _ in _POOLS)
        )
        senders = frozenset(
            a_text(row.get(field))
            for pool, (_, rows, field) in zip(pools, _POOLS, strict=True)
            for row in rows_of(pool.whole, rows)
        )
        complete = all(pool.good and not _more(pool) for pool in pools)
        if complete and not senders:
            found.append(
                self._at.error(
                    "the messaging service has no sender: nothing can be sent", "add the number to its pool", where=POOL
                )
            )
        elif complete:
            found += [
                self._at.warning(
                    f"the number of channel {one.channel} is not in the pool of the messaging service",
                    "add it, or consumers get messages from another number",
                    one.written,
                    POOL,
                )
                for one in self._numbers
                if one.written not in senders
            ]
        return said.whole, senders

    async def _number(
        self, number: Number, service: Mapping[str, Any] | None, pool: frozenset[str]
    ) -> Sequence[Finding]:
        at = About(f"{self._at.name}, channel {number.channel}")
        if number.is_number:
            url, query, rows, field = "IncomingPhoneNumbers", "PhoneNumber", "incoming_phone_numbers", "phone_number"
        elif number.is_short_code:
            url, query, rows, field = "SMS/ShortCodes", "ShortCode", "short_codes", "short_code"
        else:
            return [at.note("a name or another channel's address is the sender, whose settings are not looked at")]
        said = await self._company.get(f"{self._account}/{url}.json", {query: number.written, "PageSize": "20"})
        if not said.good:
            return [not_read(said, "the number", at, self._login)]
        row = next((one for one in rows_of(said.whole, rows) if one.get(field) == number.written), None)
        if row is None:
            return [
                at.error(
                    "the account has no such number: nothing can be sent from it",
                    "check the channel's number and account_sid",
                )
            ]
        able = row.get("capabilities")
        if isinstance(able, Mapping) and able.get("sms") is False:
            return [at.error("the number cannot send SMS", "buy one that can")]
        if service is not None and number.written in pool and not service.get("use_inbound_webhook_on_number"):
            return [at.ok("the number is in the pool of the messaging service, whose webhook counts")]
        return await self._webhook(row, at)

    async def _webhook(self, row: Mapping[str, Any], at: About) -> Sequence[Finding]:
        application = a_text(row.get("sms_application_sid"))
        what, where = "the number's webhook", "Twilio console, Phone Numbers, the number, Messaging, A message comes in"
        if application:
            if not re.fullmatch(r"AP[0-9a-f]{32}", application):
                return [at.error("the number belongs to an application with an id that is none")]
            said = await self._company.get(f"{self._account}/Applications/{application}.json")
            if not said.good:
                return [not_read(said, "the number's application (TwiML App)", at, self._login)]
            row = said.whole
            what, where = (
                "the webhook of the number's application",
                "Twilio console, TwiML Apps, Request URL of Messaging",
            )
        found = [compared(what, row.get("sms_url"), self._inbound, at, where, lost=LOST)]
        if a_text(row.get("sms_method")).upper() == "GET":
            found.append(
                at.warning(
                    f"{what} is called by GET, so texts stand in addresses, which proxies log",
                    "choose HTTP POST",
                    where=where,
                )
            )
        return found


def messaging_base(base_url: str) -> str:
    """messaging.twilio.com beside api.twilio.com, whatever edge and region stand between; else the same host."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    if not host.startswith("api.") or not host.endswith(".twilio.com"):
        return base_url
    return f"{url.scheme}://messaging.{host.removeprefix('api.')}"


def _more(said: Said) -> bool:
    """Whether there is another page."""
    meta = said.whole.get("meta")
    return isinstance(meta, Mapping) and bool(meta.get("next_page_url"))
