"""What is wrong where processes have to share DCBRIDGE_TOKEN_KEY, and each has another."""

from __future__ import annotations

from dcbridge.cli import consent, genesys
from dcbridge.config.models import Configuration
from dcbridge.settings.process import Settings


def missing_keys(settings: Settings, configuration: Configuration) -> list[str]:
    found = [of.key_is_missing(settings, configuration) for of in (consent, genesys)]
    found += [of(settings, configuration) for of in (reply_key_is_missing, own_key_is_missing)]
    return [one for one in found if one]


def link_key_is_missing(settings: Settings, configuration: Configuration) -> str:
    links = any(one.suppress and one.suppress.link for one in configuration.channels.values())
    return consent.key_is_missing(settings, configuration) if links else ""


def own_key_is_missing(settings: Settings, configuration: Configuration) -> str:
    if not settings.token_key_is_random or not configuration.own_channels:
        return ""
    return (
        "DCBRIDGE_TOKEN_KEY: is not set, and messages of dcbridge's own are counted for each consumer by it; set the"
        " same value in every process"
    )


def reply_key_is_missing(settings: Settings, configuration: Configuration) -> str:
    inbound = (channel.inbound for channel in configuration.channels.values())
    if not settings.token_key_is_random or not any(one and one.reply_reference != "off" for one in inbound):
        return ""
    return (
        "DCBRIDGE_TOKEN_KEY: is not set, and reply_reference seals with it what an answer is found by; set the same"
        " value in every process"
    )
