"""What the dashboard shows of Genesys' interfaces beside Digital Channels: expressions and their legends."""

from __future__ import annotations

GENESYS = (
    (
        "sum by (grant, outcome) (rate(dcbridge_genesys_token_grants_total{B}[5m]))",
        "{{grant}} {{outcome}}",
    ),
    (
        "sum by (operation, outcome) (rate(dcbridge_genesys_requests_total{B}[5m]))",
        "{{operation}} {{outcome}}",
    ),
    ("sum by (operation) (rate(dcbridge_genesys_new_fields_total{B}[1h]))", "{{operation}} new fields"),
    ("sum by (outcome) (rate(dcbridge_enrichments_total{B}[5m]))", "data of interactions {{outcome}}"),
    ("sum by (outcome) (rate(dcbridge_text_back_total{B}[5m]))", "text-back line {{outcome}}"),
    ("sum by (outcome) (rate(dcbridge_secure_messages_total{B}[5m]))", "secure messages {{outcome}}"),
    ("sum by (result) (increase(dcbridge_reconciled_total{B}[1d]))", "books of a day {{result}}"),
)
