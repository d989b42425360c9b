"""AWS End User Messaging SMS: signed requests out, notifications of SNS in, which a certificate proves.

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html
https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html
https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import httpx
import orjson
from pydantic import Field, StringConstraints

from dcbridge.errors import (
    AccountFault,
    OutcomeUnknown,
    Refused,
    RouteRefused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words, segmentation, sns
from dcbridge.providers.base import Adapter, Answer, Callback, Can, Part, Submission, Turn, named_by
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.opt_outs import ListedOptOut, OptOutPage, moment
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.sigv4 import SigV4Login
from dcbridge.providers.sms_fields import SmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret, Secret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request; AWS takes 1,600 characters
TopicArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}$")]


class AwsSmsFields(SmsFields):
    """End User Messaging SMS in one region of an AWS account."""

    senders = SENDERS

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", description="Region, eu-west-1.")
    access_key_id: str = Field(pattern=r"^[A-Za-z0-9]{4,128}$", description="Id of an access key.")
    secret_access_key: Secret = Field(description="The access key's secret.")
    session_token: HeaderSecret | None = Field(None, description="Session token, of credentials that end.")
    configuration_set: str = Field(
        pattern=r"^[A-Za-z0-9_:/-]{1,256}$", description="Configuration set whose events come to the topic."
    )
    message_type: Literal["TRANSACTIONAL", "PROMOTIONAL"] | None = Field(None, description="Type of every message.")
    topic_arns: tuple[TopicArn, ...] = Field(
        min_length=1, description="SNS topics of events and of consumer messages; those of others are refused."
    )
    successful_is: Literal["sent", "delivered"] = Field(
        "sent", description="What TEXT_SUCCESSFUL means, a carrier's word where it does not report delivery."
    )
    validity_period: int | None = Field(
        None, ge=5, le=259200, description="Seconds that AWS may try to deliver a message, 5 to 259200."
    )
    signature_age: float = Field(
        86400.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds by which the time of a notification may differ from now.",
    )
    opt_out_list: str = Field(
        "Default",
        pattern=r"^[A-Za-z0-9_:/-]{1,256}$",
        description="Opt-out list of the numbers that messages are sent from, for `dcbridge consent sync`.",
    )
    base_url: CompanyUrl | None = Field(None, description="URL of the API; by default that of the region.")
    sns_url: CompanyUrl | None = Field(None, description="URL of SNS; by default that of the region.")


# The Reason of an answer, else its type.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "ThrottlingException TooManyRequestsException"),
    **codes(OutcomeUnknown, Reason.GENERAL, "InternalServerException InternalFailure ServiceUnavailable"),
    **codes(
        AccountFault,
        Reason.GENERAL,
        "AccessDeniedException INSUFFICIENT_ACCOUNT_REPUTATION ACCOUNT_DISABLED UnrecognizedClientException"
        " InvalidSignatureException ExpiredTokenException IncompleteSignature InvalidClientTokenId"
        " MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT ServiceQuotaExceededException",
    ),
    **codes(
        Refused,
        Reason.NOT_ALLOWED,
        "DESTINATION_PHONE_NUMBER_OPTED_OUT PRICE_OVER_THRESHOLD"
        " DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_C DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROT",  # 40 characters of them
    ),
    **codes(  # a sender or a country that this account may not use
        RouteRefused,
        Reason.NOT_ALLOWED,
        "DESTINATION_PHONE_NUMBER_NOT_VERIFIED DESTINATION_COUNTRY_BLOCKED COUNTRY_NOT_ENABLED"
        " INTERNATIONAL_SENDING_NOT_SUPPORTED SENDER_ID_NOT_REGISTERED SENDER_ID_NOT_SUPPORTED"
        " SENDER_ID_REQUIRES_REGISTRATION INVALID_IDENTITY_FOR_DESTINATION_COUNTRY",
    ),
    **codes(Refused, Reason.UNSUPPORTED, "ATTACHMENT_TYPE_NOT_SUPPORTED MEDIA_TYPE_NOT_SUPPORTED"),
    **codes(
        Refused,
        Reason.INVALID_STRUCTURE,
        "ValidationException SerializationException FIELD_VALIDATION_FAILED INVALID_PARAMETER INVALID_REQUEST"
        " MISSING_PARAMETER MAXIMUM_SIZE_EXCEEDED CANNOT_PARSE",
    ),
    **codes(Refused, Reason.INVALID_DESTINATION, "DestinationPhoneNumber"),
}
# https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html
_FAILED = {
    **reasons(Reason.INVALID_DESTINATION, "TEXT_INVALID TEXT_UNREACHABLE TEXT_CARRIER_UNREACHABLE"),
    **reasons(Reason.INVALID_STRUCTURE, "TEXT_INVALID_MESSAGE"),
    **reasons(Reason.NOT_ALLOWED, "TEXT_BLOCKED TEXT_CARRIER_BLOCKED TEXT_SPAM TEXT_PROTECT_BLOCKED"),
    **reasons(Reason.EXPIRED, "TEXT_TTL_EXPIRED"),
    **reasons(Reason.GENERAL, "TEXT_UNKNOWN"),
}
_ID = re.compile(r"[0-9A-Za-z._-]{1,200}", re.ASCII)


class AwsSms(Adapter):
    """One region."""

    kind = "aws-sms"
    fields_model = AwsSmsFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": http_words.MOST_FORM},
        opt_out="theirs",
        opt_out_codes=frozenset({"DESTINATION_PHONE_NUMBER_OPTED_OUT"}),
        templates=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: AwsSmsFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        url = fields.base_url or f"https://sms-voice.{fields.region}.amazonaws.com"
        self._sns = fields.sns_url or f"https://sns.{fields.region}.amazonaws.com"
        target = (b"X-Amz-Target", b"PinpointSMSVoiceV2.SendTextMessage")
        self._posts = Posts(httpx.URL(f"{url}/"), [(b"Content-Type", b"application/x-amz-json-1.0"), target])
        self.opt_out_list = AwsOptOuts(httpx.URL(f"{url}/"), fields.opt_out_list)
        secret, session = fields.secret_access_key.get_secret_value(), fields.session_token
        token = session.get_secret_value() if session else ""
        self.login: SigV4Login = SigV4Login(fields.access_key_id, secret, token, fields.region, "sms-voice")
        self.account = f"{url} {fields.topic_arns[0].split(':')[4]}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields = self._fields
        body: dict[str, object] = {
            "DestinationPhoneNumber": fields.recipient(turn.message),
            "OriginationIdentity": fields.sender(turn.message),
            "MessageBody": http_words.writable(turn.part.text),
            "ConfigurationSetName": fields.configuration_set,
            "Context": {"dcbridge": turn.key},
        }
        if fields.message_type:
            body["MessageType"] = fields.message_type
        if fields.validity_period is not None:
            body["TimeToLive"] = fields.validity_period
        if one := turn.template:
            body["DestinationCountryParameters"] = {"IN_ENTITY_ID": one.entity_id, "IN_TEMPLATE_ID": one.id}
        return self._posts.with_body(orjson.dumps(body))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if answer.is_success:
            provider_id = a_text(said.get("MessageId"))
            if not _ID.fullmatch(provider_id):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(provider_id)
        raise _error_of(answer, said)

    def key_wanted(self, callback: Callback) -> httpx.Request:
        return sns.certificate_request(callback, self._sns, self._fields.topic_arns)

    def verify(self, callback: Callback) -> str:
        sns.verify(callback, self._fields.signature_age)
        return ""  # the id is signed as well

    def follow(self, callback: Callback) -> httpx.Request | None:
        return sns.confirmation_request(callback, self._sns)

    def event_id(self, callback: Callback) -> str:
        return a_text(sns.said(callback).get("MessageId"))

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        message = sns.said(callback)
        if message.get("Type") == sns.CONFIRMATION:
            return ()
        if message.get("Type") != sns.NOTIFICATION:
            raise UnreadableEvent("the subscription was cancelled")
        event = sns.notified(message)
        return [self._update(event) if "eventType" in event else self._consumer_message(event)]

    def _update(self, event: Mapping[str, object]) -> DeliveryUpdate:
        provider_id, word = a_text(event.get("messageId")), a_text(event.get("eventType"))
        if not _ID.fullmatch(provider_id) or not word:
            raise UnreadableEvent("no event of a message")
        status, reason = UpdateStatus.SENT, _FAILED.get(word)
        if reason is not None:
            status = UpdateStatus.FAILED
        elif word == "TEXT_DELIVERED" or (word == "TEXT_SUCCESSFUL" and self._fields.successful_is == "delivered"):
            status = UpdateStatus.DELIVERED
        ref, part = named_by(a_text(an_object(event.get("context")).get("dcbridge")))
        detail = code(word) if reason is not None else ""
        return DeliveryUpdate(self.name, provider_id, status, ref, part, reason, detail)

    def _consumer_message(self, event: Mapping[str, object]) -> ConsumerMessage:
        provider_id, text = a_text(event.get("inboundMessageId")), event.get("messageBody")
        if not _ID.fullmatch(provider_id) or not isinstance(text, str):
            raise UnreadableEvent("no id or no text")
        sender, to = a_text(event.get("originationNumber")), a_text(event.get("destinationNumber"))
        return consumer_message(self.name, self._fields, provider_id, sender, to, text)


class AwsOptOuts:
    """https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_DescribeOptedOutNumbers.html"""

    PAGE = 100  # AWS gives no more

    def __init__(self, url: httpx.URL, name: str) -> None:
        target = (b"X-Amz-Target", b"PinpointSMSVoiceV2.DescribeOptedOutNumbers")
        self._posts = Posts(url, [(b"Content-Type", b"application/x-amz-json-1.0"), target])
        self._name = name

    def page_request(self, page: str) -> httpx.Request:
        body = {"OptOutListName": self._name, "MaxResults": self.PAGE} | ({"NextToken": page} if page else {})
        return self._posts.with_body(orjson.dumps(body))

    def parse_page(self, answer: httpx.Response) -> OptOutPage:
        said = json_object(answer.content)
        if not answer.is_success:
            raise _error_of(answer, said)
        if not isinstance(said.get("OptedOutNumbers"), list):
            raise Unreadable("no list")
        found = [an_object(one) for one in a_list(said["OptedOutNumbers"])]
        rows = [ListedOptOut(a_text(one.get("OptedOutNumber")), moment(one.get("OptedOutTimestamp"))) for one in found]
        return OptOutPage(rows, a_text(said.get("NextToken"))[:1024])


def _error_of(answer: httpx.Response, said: Mapping[str, object]) -> SendError:
    # "com.amazonaws…#ValidationException:http://…": the word between
    kind = code(re.split(r"[#:]", a_text(said.get("__type")).partition("#")[2] or a_text(said.get("__type")))[0])
    reason = code(a_text(said.get("Reason"))[:40]) or kind
    fields = said.get("Fields")
    if reason == "FIELD_VALIDATION_FAILED" and isinstance(fields, list):
        named = {a_text(an_object(one).get("Name")) for one in fields}
        reason = "DestinationPhoneNumber" if named == {"DestinationPhoneNumber"} else reason
    return http_words.error_of(answer, reason if reason in _CODES or kind not in _CODES else kind, _CODES, trusted=True)
