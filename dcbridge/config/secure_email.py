"""Email into Genesys by the Secure Email API, whose request Genesys documents as {object}: a site writes its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from dcbridge.config.interface_pace import InterfacePace
from dcbridge.config.own_texts import Found
from dcbridge.genesys import mail_template
from dcbridge.settings.types import Model, Url

TRY = "`dcbridge genesys probe`"


def _of_a_mail(value: dict[str, Any]) -> dict[str, Any]:
    used = mail_template.names(value, mail_template.MAIL)
    for name in mail_template.NEEDED:
        if name not in used:
            raise ValueError(f"does not use {{{name}}}, without which an email says nothing to an agent")
    return value


def _of_a_file(value: dict[str, Any]) -> dict[str, Any]:
    if "base64" not in mail_template.names(value, mail_template.FILE):
        raise ValueError("does not use {base64}, which is the file")
    return value


class SecureFiles(Model):
    """Files in the request itself."""

    field: str = Field(
        min_length=1, max_length=100, description="Field beside those of `fields` that has the list of files."
    )
    each: Annotated[dict[str, Any], AfterValidator(_of_a_file)] = Field(
        description="What is in that list for each file: any JSON with {file_name}, {mimetype} and {base64}."
    )
    most: int = Field(
        10_000_000,
        ge=1,
        le=20_000_000,
        description="Bytes of all files of an email; files of one that has more are links in its text.",
    )


class SecureEmail(Model):
    """How an email of a consumer is written for the Secure Email API."""

    base_url: Url | None = Field(
        None,
        description="URL of Secure Email, up to /nexus/v3.",
        json_schema_extra={"default": "`base_url` of `genesys` with /nexus/v3"},
    )
    securebox: str | None = Field(None, pattern=r"^[A-Za-z0-9]{3,16}$", description="Name of the secure box.")
    fields: Annotated[dict[str, Any], AfterValidator(_of_a_mail)] = Field(
        description="What stands under `data` of the request: any JSON, whose texts may have {address}, {name},"
        " {first_name}, {last_name}, {subject}, {text}, {mailbox}, {channel}, {reference} and {time}. {name|Unknown} is"
        " Unknown where there is no name. A field that becomes empty is left out."
    )
    files: SecureFiles | None = Field(
        None, description="Files in the request; without it, they are links in the text of the email."
    )
    verified: str | None = Field(
        None,
        pattern=r"^t-[0-9a-f]{12}$",
        description="Code of these fields, which says that you have seen such an email in your own Genesys:"
        f" {TRY} prints it. `inbound.to: securemail` needs it.",
    )
    pace: InterfacePace = Field(InterfacePace(), description="How fast emails are submitted.")

    @property
    def file_field(self) -> str:
        """ "" where files are links."""
        return self.files.field if self.files else ""

    @property
    def file_template(self) -> Mapping[str, object]:
        return self.files.each if self.files else {}

    @property
    def fingerprint(self) -> str:
        files = {"field": self.files.field, "each": self.files.each} if self.files else None
        return fingerprint(self.securebox, self.fields, files)


def fingerprint(securebox: object, fields: object, files: object) -> str:
    """Of what is written into a request."""
    return mail_template.fingerprint(securebox, fields, files)


def way(path: tuple[str | int, ...], tree: Mapping[str, Any]) -> Iterator[Found]:
    """What a channel with `inbound.to: securemail` needs. `path`: of its `to`."""
    genesys = tree.get("genesys")
    genesys = genesys if isinstance(genesys, Mapping) else {}
    if genesys.get("api_key") is None:
        what = "is missing: a channel has inbound.to: securemail, which is sent to Genesys with an API key"
        yield ("genesys", "api_key"), what, "write genesys with base_url and api_key", True
    section = genesys.get("secure_email")
    at = ("genesys", "secure_email")
    if not isinstance(section, Mapping):
        what = "needs genesys.secure_email: Genesys documents the request as {object}, so you write its fields"
        yield (
            path,
            what,
            "write genesys.secure_email as docs/secure-messages.md says, or use text, email or openmedia",
            True,
        )
        return
    verified = section.get("verified")
    if verified is None:
        what = "is missing: nobody has seen an email with these fields in your Genesys, and an unknown field is lost"
        yield (
            (*at, "verified"),
            what,
            f"run {TRY}, look at the email in Genesys, and write the code that it prints",
            True,
        )
        return
    files = section.get("files")
    parts = {"field": files.get("field"), "each": files.get("each")} if isinstance(files, Mapping) else None
    if verified != fingerprint(section.get("securebox"), section.get("fields"), parts):
        what = "is not the code of these fields: they were changed since they were tried"
        yield (*at, "verified"), what, f"run {TRY} once more, and write the code that it prints", True
