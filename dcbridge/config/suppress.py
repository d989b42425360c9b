"""Which consumers an email channel writes to no more: those who unsubscribe, complain, or whose mailbox is gone."""

from __future__ import annotations

from pydantic import Field

from dcbridge.messages import Suppression
from dcbridge.settings.types import Model


class Suppress(Model):
    """Suppressions of an email channel; they are opt-outs as `dcbridge consent` shows them."""

    link: bool = Field(
        False, description="Whether each email has a link to unsubscribe in its List-Unsubscribe field (RFC 8058)."
    )
    bounces: bool = Field(True, description="Whether a mailbox that does not exist gets no more emails.")
    complaints: bool = Field(True, description="Whether a consumer who reported an email as spam gets no more.")

    def counts(self, why: Suppression) -> bool:
        """Whether this is a reason here; an unsubscription always is."""
        return {"bounce": self.bounces, "complaint": self.complaints}.get(why, True)
