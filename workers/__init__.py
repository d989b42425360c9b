"""The RQ worker and the jobs it runs."""

import dcbridge  # noqa: F401  (before redis: what it keeps out is loaded with that)
