"""What `dcbridge dev` needs and an installation for production does not have."""

from __future__ import annotations

from importlib.util import find_spec

_NEEDED = ("sandbox.app", "aiosmtpd", "httpx_aiohttp", "jinja2", "joserfc")


def missing_for_dev() -> str:
    """One line for whoever has to install something; nothing when all is there."""
    missing = [name.partition(".")[0] for name in _NEEDED if not _there(name)]
    if not missing:
        return ""
    return (
        f"the sandbox is not installed ({', '.join(missing)} missing); install the extra `dev`:"
        " pip install 'dcbridge[dev]'. The image for production does not have it"
    )


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False
