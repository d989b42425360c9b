"""The HTTP entry point: verify, name, queue, answer."""

import dcbridge  # noqa: F401  (before redis: what it keeps out is loaded with that)
