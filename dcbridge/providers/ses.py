"""Amazon SES, API version 2: an email as MIME in a signed request, events by SNS, which a certificate proves.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html

SES gives each email a Message-ID of its own, made of the id in its answer. A tag comes back with each event of the
configuration set; events of mail that others send through it have nothing of ours, and are passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Self
from urllib.parse import quote

import httpx
import orjson
from pydantic import Field, StringConstraints, model_validator

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, RouteRefused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, DeliveryUpdate, Reason, Suppression, UpdateStatus
from dcbridge.providers import http_words, sns
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    MailStore,
    MediaLimits,
    Part,
    PostedMail,
    Submission,
    Turn,
    named_by,
)
from dcbridge.providers.email_fields import (
    MOST_RECIPIENTS,
    EmailFields,
    as_mime,
    bounced,
    email_parts,
    recipients_of,
    with_message_id,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object
from dcbridge.providers.phone import Senders
from dcbridge.providers.sigv4 import SigV4Login
from dcbridge.settings.types import CompanyUrl, HeaderSecret, Secret

MOST_ATTACHED = 15_000_000  # bytes of all files; a message may have 40 MB
TopicArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}$")]
_OLDEST_REGION = "us-east-1"  # whose Message-IDs have a domain of their own


class SesFields(EmailFields):
    """SES in one region of an AWS account."""

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", description="Region, eu-west-1.")
    access_key_id: str = Field(pattern=r"^[A-Za-z0-9]{4,128}$", description="Id of an access key.")
    secret_access_key: Secret = Field(description="The access key's secret.")
    session_token: HeaderSecret | None = Field(None, description="Session token, of credentials that end.")
    configuration_set: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Configuration set whose events come to the topic."
    )
    topic_arns: tuple[TopicArn, ...] = Field(
        min_length=1, description="SNS topics of events and of consumers' mail; those of others are refused."
    )
    signature_age: float = Field(
        86400.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds by which the time of a notification may differ from now.",
    )
    mail_bucket: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$",
        description="S3 bucket in which a receipt rule puts consumers' mail; that of others is refused.",
    )
    mail_delete: bool = Field(False, description="Whether a mail is deleted from that bucket when dcbridge has it.")
    mail_bucket_url: CompanyUrl | None = Field(
        None, description="URL of that bucket; by default that of its name in the region."
    )
    base_url: CompanyUrl | None = Field(None, description="URL of the API; by default that of the region.")
    sns_url: CompanyUrl | None = Field(None, description="URL of SNS; by default that of the region.")

    @model_validator(mode="after")
    def _of_a_bucket(self) -> Self:
        if not self.mail_bucket and (self.mail_delete or self.mail_bucket_url):
            raise ValueError("mail_bucket is missing: mail_delete and mail_bucket_url are about it")
        return self


# The type of an error.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "TooManyRequestsException LimitExceededException ThrottlingException"),
    **codes(OutcomeUnknown, Reason.GENERAL, "InternalServiceErrorException InternalFailure ServiceUnavailable"),
    **codes(
        AccountFault,
        Reason.GENERAL,
        "AccountSuspendedException SendingPausedException MailFromDomainNotVerifiedException NotFoundException"
        " AccessDeniedException UnrecognizedClientException InvalidSignatureException ExpiredTokenException"
        " IncompleteSignatureException InvalidClientTokenId MissingAuthenticationTokenException",
    ),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "MessageRejected"),  # of a sender that is not verified, mostly
    **codes(Refused, Reason.INVALID_STRUCTURE, "BadRequestException ValidationException SerializationException"),
}
_EVENTS = {
    "Delivery": UpdateStatus.DELIVERED,
    "Complaint": UpdateStatus.DELIVERED,  # which proves that it arrived
    "Bounce": UpdateStatus.FAILED,
    "Reject": UpdateStatus.FAILED,
    "Rendering Failure": UpdateStatus.FAILED,
}  # Send, DeliveryDelay, Open, Click, Subscription and whatever comes: not final
# `bounceSubType`, by `bounceType`; where a diagnostic code says more, that counts.
_BOUNCES: Mapping[tuple[str, str], tuple[Reason, Suppression | None]] = {
    ("Permanent", "General"): (Reason.INVALID_DESTINATION, "bounce"),
    ("Permanent", "NoEmail"): (Reason.INVALID_DESTINATION, "bounce"),
    ("Permanent", "Suppressed"): (Reason.NOT_ALLOWED, "bounce"),
    ("Permanent", "OnAccountSuppressionList"): (Reason.NOT_ALLOWED, "bounce"),
    ("Permanent", "UnsubscribedRecipient"): (Reason.NOT_ALLOWED, "unsubscribe"),
    ("Transient", "MailboxFull"): (Reason.GENERAL, None),
    ("Transient", "MessageTooLarge"): (Reason.UNSUPPORTED, None),
    ("Transient", "AttachmentRejected"): (Reason.UNSUPPORTED, None),
    ("Transient", "ContentRejected"): (Reason.NOT_ALLOWED, None),
    ("Transient", "CustomTimeoutExceeded"): (Reason.EXPIRED, None),
}
_OBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,1024}")
_ID = re.compile(r"[0-9A-Za-z-]{1,100}", re.ASCII)
_TAG = "dcbridge"


class Ses(Adapter):
    """One region."""

    kind = "ses"
    fields_model = SesFields
    can = Can(
        channel_types=frozenset({"email"}),
        callbacks={"status": http_words.MOST_FORM, "inbound": None},
        mail=0.02,  # a notification has 256 KiB
        media=MediaLimits(10, MOST_ATTACHED, {"": MOST_ATTACHED}, as_data=True),
    )
    senders = Senders()

    def __init__(self, name: str, fields: SesFields, public_url: str) -> None:
        """`public_url` is not used: the topic has the address of its subscription."""
        self.name, self._fields = name, fields
        base = fields.base_url or f"https://email.{fields.region}.amazonaws.com"
        self._sns = fields.sns_url or f"https://sns.{fields.region}.amazonaws.com"
        self._url = httpx.URL(f"{base}/v2/email/outbound-emails")
        self._domain = "email.amazonses.com"
        if fields.region != _OLDEST_REGION:
            self._domain = f"{fields.region}.amazonses.com"
        secret, session = fields.secret_access_key.get_secret_value(), fields.session_token
        token = session.get_secret_value() if session else ""
        self.login: SigV4Login = SigV4Login(fields.access_key_id, secret, token, fields.region, "ses")
        self.account = f"{self._url} {fields.topic_arns[0].split(':')[4]}"
        if bucket := fields.mail_bucket:
            host = f"s3.{fields.region}.amazonaws.com"
            # A certificate of AWS is for one label before the host.
            usual = f"https://{host}/{bucket}" if "." in bucket else f"https://{bucket}.{host}"
            login = SigV4Login(fields.access_key_id, secret, token, fields.region, "s3")
            self.mail_store = MailStore(fields.mail_bucket_url or usual, login, fields.mail_delete)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return email_parts(message)

    def build_request(self, turn: Turn) -> httpx.Request:
        content, recipient, message_id = as_mime(turn)
        body = {
            "Destination": {"ToAddresses": [recipient.addr_spec]},
            "Content": {"Raw": {"Data": base64.b64encode(content).decode()}},
            "EmailTags": [{"Name": _TAG, "Value": turn.message.ref}],  # no dot may stand in one; a part is all of it
            "ConfigurationSetName": self._fields.configuration_set,
        }
        headers = {"Content-Type": "application/json"}
        # Known under both: until the answer names SES', this one holds what is said in it.
        return with_message_id(
            httpx.Request("POST", self._url, headers=headers, content=orjson.dumps(body)), message_id
        )

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if answer.is_success:
            provider_id = a_text(said.get("MessageId"))
            if not _ID.fullmatch(provider_id):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(provider_id, message_id=f"{provider_id}@{self._domain}")
        # "BadRequestException:http://…" in the header, "…#BadRequestException" in the body
        word = answer.headers.get("x-amzn-ErrorType", "").partition(":")[0] or a_text(said.get("__type"))
        raise http_words.error_of(answer, code(word.rpartition("#")[2]), _CODES, trusted=True)

    def key_wanted(self, callback: Callback) -> httpx.Request:
        return sns.certificate_request(callback, self._sns, self._fields.topic_arns)

    def verify(self, callback: Callback) -> str:
        sns.verify(callback, self._fields.signature_age)
        return ""  # the id is signed as well

    def follow(self, callback: Callback) -> httpx.Request | None:
        return sns.confirmation_request(callback, self._sns)

    def proven_by_head(self, head: Callback) -> bool:
        return False  # the signature is in the notification

    def event_id(self, callback: Callback) -> str:
        return a_text(sns.said(callback).get("MessageId"))

    def mails(self, callback: Callback) -> Sequence[PostedMail] | None:
        """Of a receipt rule whose action is SNS, or S3 with a topic; None for what confirms its subscription."""
        message = sns.said(callback)
        if message.get("Type") != sns.NOTIFICATION:
            return None
        event = sns.notified(message)
        receipt, mail = an_object(event.get("receipt")), an_object(event.get("mail"))
        to = recipients_of(*a_list(receipt.get("recipients"))[:MOST_RECIPIENTS])
        content = a_text(event.get("content"))
        action, sender = an_object(receipt.get("action")), mail.get("source")
        envelope = sender if isinstance(sender, str) else None
        if not content and a_text(action.get("type")) == "S3":
            if not to:
                raise UnreadableEvent("no recipient")
            return [PostedMail(b"", envelope, to, self._object(action))]
        if not content:
            if a_text(message.get("Message")).startswith("Successfully validated SNS topic"):
                return ()
            raise UnreadableEvent("no content: a receipt rule has to hand it on in the notification")
        raw = content.encode("utf-8", "replace")
        if a_text(action.get("encoding")).upper() == "BASE64":
            try:
                raw = base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError):
                raise UnreadableEvent("content is no base64") from None
        if not to:
            raise UnreadableEvent("no recipient")
        return [PostedMail(raw, envelope, to)]

    def _object(self, action: Mapping[str, object]) -> str:
        """Where a mail is in the bucket."""
        bucket, key = a_text(action.get("bucketName")), a_text(action.get("objectKey"))
        if not self._fields.mail_bucket or bucket != self._fields.mail_bucket:
            raise UnreadableEvent("stored in a bucket that is not mail_bucket")
        # httpx takes "." and ".." out of a path.
        if not _OBJECT.fullmatch(key) or not {".", ".."}.isdisjoint(key.split("/")):
            raise UnreadableEvent("no key of an object")
        return quote(key, safe="/-_.~")

    def parse_callback(self, callback: Callback) -> Sequence[DeliveryUpdate]:
        message = sns.said(callback)
        if message.get("Type") == sns.CONFIRMATION:
            return ()
        if message.get("Type") != sns.NOTIFICATION:
            raise UnreadableEvent("the subscription was cancelled")
        event = sns.notified(message)
        word = a_text(event.get("eventType"))
        if not word:
            if a_text(message.get("Message")).startswith("Successfully validated SNS topic"):
                return ()
            raise UnreadableEvent("no event of a configuration set")
        mail = an_object(event.get("mail"))
        tags = a_list(an_object(mail.get("tags")).get(_TAG))
        ref, part = named_by(f"{a_text(tags[0])}.0") if tags else ("", 0)
        if not ref:
            return ()
        status, reason, detail, stop = _EVENTS.get(word, UpdateStatus.SENT), None, "", None
        if word == "Bounce":
            reason, detail, stop = _bounce(an_object(event.get("bounce")))
        elif word == "Complaint" and an_object(event.get("complaint")).get("complaintFeedbackType") != "not-spam":
            stop = "complaint"
        elif status is UpdateStatus.FAILED:
            detail = code(word.replace(" ", "-"))
            reason = Reason.NOT_ALLOWED if word == "Reject" else Reason.INVALID_STRUCTURE
        provider_id = a_text(mail.get("messageId"))
        return [
            DeliveryUpdate(
                self.name, provider_id if _ID.fullmatch(provider_id) else "", status, ref, part, reason, detail,
                recipients=recipients_of(*a_list(mail.get("destination"))[:1]), suppress=stop,
            )
        ]  # fmt: skip


def _bounce(bounce: Mapping[str, object]) -> tuple[Reason, str, Suppression | None]:
    """Why an email came back, the code that says so, and whether its consumer should get none any more."""
    kind, subkind = a_text(bounce.get("bounceType")), a_text(bounce.get("bounceSubType"))
    one = next(map(an_object, a_list(bounce.get("bouncedRecipients"))), {})
    reason, stop = _BOUNCES.get((kind, subkind), (Reason.GENERAL, None))
    told, detail = bounced(a_text(one.get("status")), a_text(one.get("diagnosticCode")))
    if subkind in ("General", "NoEmail", "Undetermined") and told is not Reason.GENERAL:
        reason = told
        stop = "bounce" if told is Reason.INVALID_DESTINATION and kind == "Permanent" else None
    return reason, detail or (code(f"{kind}.{subkind}") if kind else ""), stop
