"""Spans of OpenTelemetry, where an operator wants them; nothing of it is imported where nobody does."""
