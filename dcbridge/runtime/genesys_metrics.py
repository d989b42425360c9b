"""Counters about Genesys' interfaces beside Digital Channels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class GenesysMetrics:
    """A part of a process' counters."""

    def __init__(self, r: CollectorRegistry) -> None:
        self.token_grants = Counter(
            "dcbridge_genesys_token_grants", "Tokens asked for at Genesys, by grant and what was answered.",
            ["grant", "outcome"], registry=r,
        )  # fmt: skip
        self.interface_requests = Counter(
            "dcbridge_genesys_requests", "Requests to Genesys' other interfaces, by what became of them.",
            ["operation", "outcome"], registry=r,
        )  # fmt: skip
        self.statistics = Counter(
            "dcbridge_genesys_statistics_steps",
            "What happened to the watch over statistics: sessions, subscriptions, failures, states of the service.",
            ["step"], registry=r,
        )  # fmt: skip
        self.new_fields = Counter(
            "dcbridge_genesys_new_fields", "Fields of their answers that were never seen before.", ["operation"],
            registry=r,
        )  # fmt: skip
        self.secure_messages = Counter(
            "dcbridge_secure_messages", "Texts that a secure message waits, by what became of each.", ["outcome"],
            registry=r,
        )  # fmt: skip
        self.reconciled = Counter(
            "dcbridge_reconciled", "Days compared with Genesys' export, by result.", ["result"], registry=r
        )
        self.text_back = Counter(
            "dcbridge_text_back", "What the text-back line heard and did.", ["outcome"], registry=r
        )
        self.enrichments = Counter(
            "dcbridge_enrichments", "Interactions asked about at Genesys for their events, by what became of it.",
            ["outcome"], registry=r,
        )  # fmt: skip
