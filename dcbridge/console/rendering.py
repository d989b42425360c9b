"""Templates, and what all of them know: the person, the token of their forms, the page that is shown.

Everything is escaped, and a name that a handler did not give is an error and no empty text.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dcbridge.console.access import TABLE, Role
from dcbridge.console.context import SignedIn
from dcbridge.console.filters import FILTERS

HERE = Path(__file__).parent
STATIC = HERE / "static"


@cache
def environment() -> Environment:
    """Read once: templates do not change while a process runs."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals["static"] = static
    return made


@cache
def static(name: str) -> str:
    """Where a file of static/ is; another one after a change, so browsers may keep it."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """`template` with `values`, and in every template:

    `person` (None before sign-in), `csrf_token`, `path` of this page, and `may("POST", "/messages/{ref}/cancel")`.
    """
    signed_in: SignedIn | None = getattr(request.state, "signed_in", None)
    person = signed_in.person if signed_in else None

    def may(method: str, path: str) -> bool:
        rule = TABLE.get((method, path))
        return rule is not None and person is not None and person.role >= rule.role

    known = {
        "person": person,
        "csrf_token": signed_in.csrf if signed_in else "",
        "path": request.url.path,
        "may": may,
        "Role": Role,
    }
    return HTMLResponse(environment().get_template(template).render(known | values), status)
