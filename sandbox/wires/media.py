"""Files in a company's wire: the URLs that a message of the bridge names, and files of consumers at the company."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.records import SentByConsumer
from sandbox.wires.base import RefusedError
from sandbox.world import World

MOST = 10  # files of a message
LONGEST = 4096  # characters of a URL


def urls(value: object, most: int = MOST) -> tuple[str, ...]:
    """Those of a message. Raises RefusedError for anything that is no list of URLs."""
    listed = value if isinstance(value, list) else [None]
    found = tuple(one for one in listed if isinstance(one, str) and re.fullmatch(r"https?://\S+", one))
    if len(found) != len(listed) or len(found) > most or max(map(len, found), default=0) > LONGEST:
        raise RefusedError(400, 400, "files are a list of URLs")
    return found


class ConsumerFiles:
    """Where a company has them; `allowed` says whether a request shows the account's login."""

    def __init__(self, world: World, who: str, path: str, allowed: Callable[[Request], bool] = lambda _: True) -> None:
        self._world, self._who, self._path, self._allowed = world, who, path, allowed
        self.route = Route(f"{path}/{{file_id}}", self._one, methods=["GET"])

    def of(self, sent: SentByConsumer) -> Sequence[tuple[str, str]]:
        """URL and type of each file of a message."""
        return [(f"{self._world.own_url}{self._path}/{file_id}", mimetype) for file_id, mimetype in sent.files]

    async def _one(self, request: Request) -> Response:
        started, allowed = time.perf_counter(), self._allowed(request)
        file = self._world.files.get(request.path_params["file_id"]) if allowed else None
        status = 401 if not allowed else 404 if file is None else 200
        said = b"(%d bytes)" % len(file.data) if file else b""
        self._world.exchange(self._who, True, "GET", self._path, started, status, b"", said, "login" if allowed else "")
        return Response(status_code=status) if file is None else Response(file.data, media_type=file.mimetype)
