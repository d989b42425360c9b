"""`dcbridge trigger`: call a trigger as the system outside would, with its secret out of bridge.yaml."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Annotated

import orjson
import typer

from dcbridge.cli.terminal import ConfigOption, no_such, out, read_all, say_error, typed
from dcbridge.errors import SendError
from dcbridge.events.sinks.signing import key_of, signature
from dcbridge.printable import printable

WITHIN = 15.0  # seconds


def trigger(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the trigger in bridge.yaml.")],
    to: Annotated[str, typer.Option(help='The consumer\'s number. "-" reads it from standard input.')],
    var: Annotated[list[str] | None, typer.Option(help="A variable, as name=value; may be repeated.")] = None,
    call_id: Annotated[
        str | None, typer.Option("--id", help="Id of the call; a repeated one sends nothing. Default: a new one.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Base URL of the service. Default: public_url of bridge.yaml.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Call a trigger, to try it: sign a call with its first secret, and post it to the service.

    Exit code 0 if the call is accepted (202); 1 if it is refused, or the service does not answer.
    """
    configuration = read_all(config, warnings=False)[1]
    known = configuration.triggers.get(name)
    if known is None:
        say_error(no_such("trigger", name, configuration.triggers))
        raise typer.Exit(1)
    if any("=" not in one for one in var or ()):
        raise typer.BadParameter("should be name=value", param_hint="--var")
    values = dict(one.partition("=")[::2] for one in var or ())
    call = {"id": call_id or f"try-{secrets.token_hex(6)}", "to": typed(to), "vars": values}
    body, message_id, now = orjson.dumps(call), f"msg_{secrets.token_hex(12)}", int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature([key_of(known.secrets[0])], message_id, now, body),
    }
    where = f"{(url or configuration.public_url).rstrip('/')}/triggers/{name}"
    raise typer.Exit(asyncio.run(_post(where, body, headers)))


async def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    import httpx

    from dcbridge.transport.sender import Sender

    async with Sender(connect_timeout=WITHIN, read_timeout=WITHIN) as sender:
        try:
            answer = await sender.http(httpx.Request("POST", url, content=body, headers=headers))
        except SendError as error:
            say_error(f"the service did not answer ({error.outcome}) at {url}: is it running there? See --url")
            return 1
    out.print(printable(f"{answer.status_code} {answer.text[:500]}"), markup=False)
    return 0 if answer.status_code == 202 else 1
