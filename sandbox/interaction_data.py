"""What Genesys says of one interaction: a chat session's data, and the attached data of a secure email.

Stricter than the reference: GET …?read=true, which stops an email from being routed, and any DELETE are broken rules.
The answer about a chat session is not printed; here it comes bare and under `data` in turn.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.authentication import has_key
from sandbox.config import GenesysAccount
from sandbox.connection import wait_for_disconnect
from sandbox.world import World

WHO = "Interaction data"


class InteractionData:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account

    def routes(self) -> list[Route]:
        root = "/nexus/v3"
        return [
            Route(f"{root}/chat/sessions/{{session}}/{{id}}", self.session, methods=["GET"]),
            Route(f"{root}/securemail/count", self.count, methods=["GET"]),
            Route(f"{root}/securemail/{{id}}/userdata", self.user_data, methods=["GET"]),
            Route(f"{root}/securemail/{{id}}", self.one, methods=["GET", "DELETE"]),
        ]

    async def session(self, request: Request) -> Response:
        said: dict[str, object] = {"firstName": "Jo", "nickname": "jo", "userData": self._attached(request)}
        bare = self.world.counts["interaction_data"] % 2 == 1
        return await self._answer(request, said if bare else {"status": {"code": 0}, "data": said})

    async def user_data(self, request: Request) -> Response:
        said = {"referenceId": "r", "status": {"code": "SUCCESS"}, "data": self._attached(request)}
        return await self._answer(request, said)

    async def count(self, request: Request) -> Response:
        return await self._answer(request, {"status": {"code": "SUCCESS"}, "data": {"count": 3}})

    async def one(self, request: Request) -> Response:
        if request.query_params.get("read", "") not in ("", "false"):
            self.world.violation(WHO, "an email is never marked as read", "GET")
        if request.method == "DELETE":
            self.world.violation(WHO, "an email is never deleted", "DELETE")
        return await self._answer(request, {"status": {"code": "SUCCESS"}, "secureMail": {}})

    def _attached(self, request: Request) -> dict[str, str]:
        return self.world.attached.get(request.path_params["id"], {"segment": "gold"})

    async def _answer(self, request: Request, said: Mapping[str, object]) -> Response:
        started, mode = time.perf_counter(), self.world.switches.genesys.mode
        self.world.counts["interaction_data"] += 1
        if not has_key(request, self.account):
            self.world.violation(WHO, "x-api-key is ours", request.method)
            answer = _json(403, {"message": "Forbidden"})
        elif mode == "silent":
            await wait_for_disconnect(request)
            return Response(status_code=500)
        else:
            answer = _json(503, {"status": {"code": 503}}) if mode == "500" else _json(200, said)
        path, status = request.url.path, answer.status_code
        self.world.exchange(WHO, True, request.method, path, started, status, b"", bytes(answer.body), "API key")
        return answer


def _json(status: int, said: object) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
