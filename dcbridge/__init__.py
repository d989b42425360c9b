"""The bridge between Genesys Digital Channels and SMS and email providers."""

import sys

# redis-py loads the metrics SDK of OpenTelemetry wherever it is installed: 150 modules, a third of its time to start,
# and nothing here uses it. Whoever has loaded it before (opentelemetry-instrument) keeps it.
sys.modules.setdefault("opentelemetry.sdk.metrics", None)  # type: ignore[arg-type]  # as the documentation of sys.modules has it
