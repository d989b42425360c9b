"""The product's own values, where the other tests make waits short: what a busy machine does to them is no fault."""

from __future__ import annotations

from dcbridge.config.accounts import Retry
from dcbridge.config.models import Channel
from dcbridge.settings.process import Settings
from tests.stack import SETTINGS


def settings() -> dict[str, str]:
    fields = Settings.model_fields
    return {name: str(fields[name.removeprefix("DCBRIDGE_").lower()].default) for name in SETTINGS}


def channel() -> dict[str, object]:
    """What bridge.yaml says of a channel."""
    return {"unknown_grace": Channel.model_fields["unknown_grace"].default, "retry": Retry().model_dump()}
