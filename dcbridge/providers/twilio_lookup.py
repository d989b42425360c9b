"""Asking Twilio what became of a message.

https://www.twilio.com/docs/messaging/api/message-resource#fetch-a-message-resource
https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources

By its sid, where we have one. Else by going through the list of Messages to this recipient. Our own reference is no
help there: it travels in StatusCallback, and the Message resource does not show that field.

What the list promises, and what it does not:

* It can be filtered by To, From and DateSent. **DateSent is left alone**: a message has none until Twilio hands it on
  (`date_sent` is null in Twilio's own example of a queued one), so the filter may hide the very message that is asked
  for. The time is compared here instead, with `date_created`.
* It is sorted by DateSent, newest first. Where those without one stand is written nowhere, so "not there" needs the
  whole list to this recipient, and only a search that has found something stops early.
* It lags. Others have seen a message missing from it at once and there two seconds later; nobody documents a limit.
  `list_lag` in bridge.yaml is what an operator believes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

import httpx

from dcbridge.errors import Unreadable
from dcbridge.messages import AgentMessage, Cost, MessageStatus
from dcbridge.providers import http_words
from dcbridge.providers.base import Answer, ListedMessage, Page, Turn
from dcbridge.providers.http_words import a_text, json_object
from dcbridge.providers.phone import E164, address_key
from dcbridge.providers.prices import price
from dcbridge.providers.twilio_codes import ANY_SID, error_of, status_of

PAGE = 200  # rows; a thousand, Twilio's most, of long texts would be more than `dcbridge.transport.sender` reads
MOST_QUERY = 2048  # characters of a next page's; Twilio's have 200
SLACK = 10.0  # seconds by which `date_created` may seem to be before our request: whole seconds, and their own clocks

_VERSION = "/2010-04-01/"

Ends = Callable[[AgentMessage], Mapping[str, str]]


class TwilioLookup:
    """The questions to one account. `ends` gives To, From and MessagingServiceSid as they go out with a message."""

    def __init__(self, url: str, headers: Mapping[str, str], ends: Ends, lag: float, name: str) -> None:
        """`url` is that of Messages.json, `name` the account's in bridge.yaml."""
        self.lag, self._name = lag, name
        self._url, self._headers, self._ends = url, dict(headers), ends

    def status_request(self, provider_id: str) -> httpx.Request:
        return self._get(f"{self._url.removesuffix('.json')}/{quote(provider_id, safe='')}.json")

    def parse_status(self, answer: Answer) -> MessageStatus | None:
        assert isinstance(answer, httpx.Response)
        if answer.status_code == 404 and json_object(answer.content).get("code") == 20404:
            return None  # the account is there: we send with it, and with a wrong one every send is refused
        if not answer.is_success:
            raise error_of(answer)
        found = json_object(answer.content)
        if not _has_sid(found) or not isinstance(found.get("status"), str):
            raise Unreadable(f"HTTP {answer.status_code}")
        return replace(_fate(found), cost=_price(self._name, found))

    def list_request(self, turn: Turn) -> httpx.Request:
        ends = self._ends(turn.message)
        query = {"To": ends["To"]}
        if E164.fullmatch(ends.get("From", "")):  # another sender, "Company", may be listed in another spelling
            query["From"] = ends["From"]
        return self._get(f"{self._url}?{urlencode(query | {'PageSize': str(PAGE)})}")

    def parse_list(self, answer: Answer, turn: Turn, age: float) -> Page:
        assert isinstance(answer, httpx.Response)
        if not answer.is_success:
            raise error_of(answer)
        body, now = json_object(answer.content), _moment(answer.headers.get("Date"))
        listed = body.get("messages")
        if not isinstance(listed, list) or now is None:
            raise Unreadable("no list of messages")
        since, ends, text = now - age - SLACK, self._ends(turn.message), _plain(turn.part.text)
        rows, oldest = [], None
        for one in listed:
            if not isinstance(one, dict) or not _has_sid(one):
                raise Unreadable("a message without sid")
            sent = _moment(one.get("date_sent"))
            oldest = sent if sent is not None else oldest
            created = _moment(one.get("date_created"))
            if _is_between(one, ends) and (created is None or created >= since):
                rows.append(ListedMessage(_fate(one), same=_plain(str(one.get("body"))) == text))
        return Page(rows, self._following(body.get("next_page_uri")), older=oldest is not None and oldest < since)

    def _following(self, path: object) -> httpx.Request | None:
        """The next page. Raises Unreadable where it is not of this account's list: whatever it is would get our login.

        Twilio gives a path from its root; a company with a root of its own gives that too.
        """
        if path is None or path == "":
            return None
        resource, _, query = str(path).partition("?")
        if len(query) > MOST_QUERY or not resource.endswith(self._url[self._url.rindex(_VERSION) :]):
            raise Unreadable("the next page is elsewhere")
        return self._get(f"{self._url}?{query}")

    def _get(self, url: str) -> httpx.Request:
        return httpx.Request("GET", url, headers=self._headers)


def _has_sid(one: Mapping[str, object]) -> bool:
    """As strict as where a message is sent: the id becomes a key, and a part of the next lookup's URL."""
    sid = one.get("sid")
    return isinstance(sid, str) and ANY_SID.fullmatch(sid) is not None


def _is_between(one: Mapping[str, object], ends: Mapping[str, str]) -> bool:
    """True for what an API request sent from our sender to the recipient."""
    sender, service = ends.get("From"), ends.get("MessagingServiceSid")
    if address_key(str(one.get("to"))) != address_key(ends["To"]) or one.get("direction") not in ("outbound-api", None):
        return False
    if sender is not None:
        return str(one.get("from")).casefold() == sender.casefold()
    return one.get("messaging_service_sid") == service


def _fate(one: Mapping[str, object]) -> MessageStatus:
    status, reason, code = status_of(str(one.get("status")), str(one.get("error_code")))
    return MessageStatus(str(one["sid"]), status, reason, code)


def _price(provider: str, one: Mapping[str, object]) -> Cost | None:
    """A charge is below zero; null until it is known."""
    charged = a_text(one.get("price"))
    if not charged.startswith("-"):
        return None
    return price(provider, charged[1:], one.get("price_unit"), one.get("num_segments"))


def _plain(text: str) -> str:
    """A text as it is compared: as it goes over the wire, without the white space that may be cut off at its ends."""
    return http_words.writable(text).replace("\r\n", "\n").strip()


def _moment(date: object) -> float | None:
    """Seconds since 1970 of an RFC 2822 date; None for anything else."""
    try:
        moment = parsedate_to_datetime(str(date))
        utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # "-0000"
        return utc.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
