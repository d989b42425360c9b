"""Records what version 0.1.0 leaves in Redis, which is layout 1: `layout-1.jsonl` beside this file.

    git worktree add ../dcbridge-0.1.0 9ec64d7    # and its dependencies, by `make install` there
    cd ../dcbridge-0.1.0 && .venv/bin/python <path of this file> > <path of layout-1.jsonl>

The service, the worker and the sandbox of that version run as processes. The worker is killed, and the ledger of that
version moves messages on into every state that a worker may leave behind. One line a key, after a line that names
the entries. A moment is written as "@<ms since the recording>".
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

sys.path.insert(0, ".")
SMS, MAIL, STRAY, CRM = "0123456789", "company.com", "9999999999", "crm"
NEAR = 100 * 86_400_000  # ms: a number that is no further from now is a moment
_NUMBER = re.compile(r"[0-9]{13}(\.[0-9]+)?")


def main() -> None:
    """To standard output."""
    stack_of = importlib.import_module("tests.stack").Stack
    with stack_of() as stack:
        names = with_a_worker(stack)
        stack.kill("worker")
        names |= without_a_worker(stack)
        names |= asyncio.run(by_verbs(stack, names))
        stack.kill("service")
        written = asyncio.run(everything(stack, names))
    sys.stdout.write("\n".join([*written, ""]))


def with_a_worker(stack: Any) -> dict[str, str]:
    """What has ended as it should, and deliveries whose subscriber fails."""
    until = importlib.import_module("tests.stack").until
    done = stack.agent_writes("16502530001", message_id="1613000000001-0")
    mailed = stack.agent_mails("one@example.org", "two@example.org")
    stack.sandbox("consumer/sms", {"from": "+16502530001", "text": "Consumer text", "wait": True})
    stack.sandbox("interaction", {"event": "STARTED", "id": "delivered-interaction", "wait": True})
    until(lambda: any(one["status"] == 204 for one in stack.sandbox("heard")), "an event is delivered")
    stack.settled()
    stack.control(subscriber={"mode": "failing"})
    for number in range(3):
        stack.sandbox("interaction", {"event": "STARTED", "id": f"failing-interaction-{number}", "wait": True})
    until(lambda: len(stack.sandbox("heard")) >= 4, "three events were refused")
    return {"delivered": stack.ref(done), "mailed": stack.ref(mailed, MAIL)}


def without_a_worker(stack: Any) -> dict[str, str]:
    """What the service has accepted, and nobody has looked at."""
    names = {}
    for number, name in enumerate(
        (
            *("accepted", "job lost", "sending", "sent", "in parts", "retry", "unknown", "asked about"),
            *("answered meanwhile", "paced", "held", "held too", "parked", "receipt owed", "receipt taken"),
            *("receipt refused", "confirmed late", "other head"),
        )
    ):
        message_id = f"16130000001{number:02d}-0"
        text = "Two parts. " * 160 if name == "in parts" else "Agent message text"
        names[name] = stack.ref(stack.agent_writes(f"165025301{number:02d}", text, message_id=message_id))
    names["behind"] = stack.ref(stack.agent_writes("16502530117", message_id="1613000000200-0"))
    mail = stack.agent_mails("three@example.org", "four@example.org", "five@example.org")
    names |= {"copy 1": stack.ref(mail, MAIL), "copy 2": f"{stack.ref(mail, MAIL)}-1"}
    names["copy 3"] = f"{stack.ref(mail, MAIL)}-2"
    body = importlib.import_module("tests.stack").sms_body
    stack.webhook(body("1613000000300-0", "no number at all"))
    names |= {"bad number": stack.ref("1613000000300-0"), "stray": stack.ref("1613000000301-0", STRAY)}
    stray = body("1613000000301-0", "16502530399")
    stray["channel"]["id"] = STRAY
    stack.webhook(stray)
    stack.webhook(b'{"neither": "a message"}')
    stack.sandbox("consumer/sms", {"from": "+16502530001", "text": "Consumer text, unread", "wait": True})
    stack.sandbox("interaction", {"event": "STARTED", "id": "unsplit-interaction", "wait": True})
    return names


async def by_verbs(stack: Any, names: Mapping[str, str]) -> dict[str, str]:
    """As a worker does that dies in the middle."""
    redis = importlib.import_module("redis.asyncio").Redis.from_url(stack.redis.url)
    module = importlib.import_module("bridge.ledger")
    events_module = importlib.import_module("bridge.ledger.events")
    pack = importlib.import_module("bridge.callbacks").pack
    callback = importlib.import_module("bridge.providers.base").Callback
    ledger = module.Ledger(redis, keep=7 * 86400.0, keep_dead=14 * 86400.0, worker="gone")
    events = events_module.Events(ledger, keep=7 * 86400.0, partner_within=86400.0)
    await ledger.alive()

    async def claim(name: str) -> str:
        assert (await ledger.claim(names[name], "gone.1", 60.0)).ours, name
        return names[name]

    async def taken(name: str, part: int = 0, count: int = 1, delivered: bool = False) -> str:
        provider_id = f"SM{names[name].ljust(32, '0')}"
        return str(
            await ledger.taken(names[name], "gone.1", part, count, provider_id, delivered=delivered, confirm_within=3.0)
        )

    # messages
    await redis.lrem("rq:queue:outbound", 0, f"send-{names['job lost']}-1")
    await redis.delete(f"rq:job:send-{names['job lost']}-1")
    await claim("sending")
    await claim("sent")
    assert await taken("sent") == "sent"
    await claim("in parts")
    await ledger.parts(names["in parts"], "gone.1", 2)
    assert await taken("in parts", 0, 2) == "next"
    await ledger.retry(await claim("retry"), "gone.1", 2.0, lane_limit=900.0, reason=310, code="20429")
    await ledger.unknown(await claim("unknown"), "gone.1", 2.0, "timeout")
    await ledger.unknown(await claim("asked about"), "gone.1", 0.0, "timeout")
    assert await ledger.ask(names["asked about"], 900.0) == "asking"
    assert (await ledger.question(names["asked about"], "gone.2", 5.0)).ours
    await claim("answered meanwhile")
    await ledger.update(names["answered meanwhile"], 0, "sent", "SMmeanwhile", "", "", 3.0)
    await claim("confirmed late")
    await taken("confirmed late")
    assert await ledger.update(names["confirmed late"], 0, "delivered", "SMlate", "", "", 3.0) == "delivered"
    await taken_mail(ledger, names)

    # receipts
    for name in ("receipt refused", "receipt taken", "receipt owed"):
        await ledger.fail(await claim(name), "gone.1", 530, "21211")
        if name == "receipt refused":
            await ledger.receipts_refused(SMS, names[name], "400", receipt(name))
        if name == "receipt taken":
            assert [one.ref for one in await ledger.receipts_take(SMS, 100, 5.0)]

    # limits: a pace, places in flight, an open breaker, a pause
    line = await redis.hget("dcb:limits", SMS)
    provider = line.decode().split(" ")[0]
    crm = {f"subscribers/{CRM}": f"subscribers/{CRM} 0 1 3 0 1 0"}
    await ledger.limits({SMS: f"{provider} 0 1 0 0.2 1 0 asked {provider}"} | crm)
    for name in ("other head", "paced"):
        assert (await ledger.claim(names[name], "gone.1", 60.0)).why in ("go", "paced"), name
    await ledger.limits({SMS: f"{provider} 0 1 1 0 1 0 asked {provider}"} | crm)
    await redis.zadd(f"dcb:flight:p-{provider}", {names["sending"]: (await now(redis)) + 3000})
    for name in ("held", "held too"):
        assert (await ledger.claim(names[name], "gone.1", 60.0)).why == "held", name
    await ledger.trouble(provider, names["sending"], "login", at_once=True, threshold=3, first=1.0, most=2.0)
    assert (await ledger.claim(names["parked"], "gone.1", 60.0)).why == "parked"
    await ledger.pause("mail", 2.0)

    # tasks
    def raw(kind: str, text: str) -> bytes:
        sid = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        body = f"MessageSid=SM{sid}&From=%2B16502530001&To=%2B15557650123&Body={text}&MessageStatus=sent".encode()
        came = callback(kind=kind, method="POST", url="http://127.0.0.1/", query=b"", headers={}, body=body)
        return bytes(pack("twilio", came))

    task = module.NewTask
    consumer = json.dumps({"from": "+16502530001", "text": "Consumer text", "media": [], "provider": "twilio"}).encode()
    for name in ("waiting", "running", "retry", "done", "dead"):
        await ledger.put_tasks([task(f"b-{name}", "callback", "", raw("status", name))])
        if name != "waiting":
            assert (await ledger.claim_task(f"b-{name}", "gone.3", 60.0)).ours
    await ledger.task_retry("b-retry", "gone.3", 2.0, "redis")
    await ledger.task_done("b-done", "gone.3", 86400.0)
    await ledger.task_dead("b-dead", "gone.3", "no channel has this address", raw("inbound", "dead"), 86400.0)
    await ledger.put_tasks([task("c-dead", "consumer", "", consumer, channel_id=SMS)])
    assert (await ledger.claim_task("c-dead", "gone.3", 60.0)).ours
    await ledger.task_dead("c-dead", "gone.3", "400", consumer, 86400.0)

    # dead letters of the other kinds
    await ledger.bury("u-1", "delivery update", SMS, "nobody knows the message", raw("status", "unknown"))
    await ledger.bury(
        "e-1", "interaction entity", "", "no interaction and no event", b'{"endpoint":"main","entity":{}}'
    )
    batch = b'[{"neither":"id nor event"'
    made_up = importlib.import_module("bridge.wire").made_up_id("main", batch)
    await ledger.bury(f"i-{made_up}", "interaction batch", "", "not JSON", batch)

    # deliveries: those of the sandbox wait for their next attempt; another subscriber has some in every state
    await events.subscribers({CRM: 86400.0})
    new = events_module.NewEvent
    content = (await anext(events.stored(await events.ids())))[1].split(b" ", 2)[2]
    received = await now(redis)
    some = [f"evt_{number:024x}" for number in range(1, 6)]
    await events.put([new(one, received, f"interaction-{one[-1]}", "s", content, {CRM: ""}) for one in some])
    for one, delay in ((some[0], None), (some[1], 2.0)):
        claimed = await events.claim(f"{one}-{CRM}", "gone.4", 60.0)
        assert claimed.ours, claimed
        failure = events_module.Failure("500", delay, "event", True, 9, 1.0, 2.0, 0.0)
        await events.failed(f"{one}-{CRM}", "gone.4", failure)
    assert (await events.claim(f"{some[2]}-{CRM}", "gone.4", 60.0)).ours
    await ledger.farewell()
    await redis.aclose()
    return {"delivery dead": f"{some[0]}-{CRM}", "delivery running": f"{some[2]}-{CRM}"}


async def taken_mail(ledger: Any, names: Mapping[str, str]) -> None:
    """Of three copies one is sent, one is under way, and one waits."""
    assert (await ledger.claim(names["copy 1"], "gone.1", 60.0)).ours
    await ledger.taken(names["copy 1"], "gone.1", 0, 1, "queued", delivered=False, confirm_within=3.0)
    assert (await ledger.claim(names["copy 2"], "gone.1", 60.0)).ours


def receipt(name: str) -> bytes:
    """The bytes of a refused request."""
    channel = {"id": SMS, "from": {"id": SMS}, "to": {"id": "16502530115"}}
    return json.dumps({"messages": [{"channel": channel, "for": name}]}).encode()


async def now(redis: Any) -> int:
    """Milliseconds since 1970 by Redis' clock."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def everything(stack: Any, names: Mapping[str, str]) -> list[str]:
    """One line a key, by name."""
    redis = importlib.import_module("redis.asyncio").Redis.from_url(stack.redis.url)
    began = await now(redis)
    lines = [json.dumps({"layout": 1, "version": "0.1.0", "recorded_at": began, "named": dict(sorted(names.items()))})]
    for key in sorted([key async for key in redis.scan_iter("*")]):
        if not key.startswith((b"dcb:", b"rq:")) or key.startswith((b"rq:worker", b"rq:clean", b"dcb:probe")):
            continue
        kind = (await redis.type(key)).decode()
        left = await redis.pttl(key)
        line = {"key": key.decode(), "type": kind, "value": await value_of(redis, key, kind, began)}
        lines.append(json.dumps(line | ({"ms": left} if left > 0 else {}), ensure_ascii=False))
    await redis.aclose()
    return lines


async def value_of(redis: Any, key: bytes, kind: str, began: int) -> Any:
    """As JSON."""
    match kind:
        case "hash":
            return {name.decode(): told(value, began) for name, value in sorted((await redis.hgetall(key)).items())}
        case "zset":
            rows = await redis.zrange(key, 0, -1, withscores=True)
            return {member.decode(): _moment(f"{score:.3f}".removesuffix(".000"), began) for member, score in rows}
        case "list":
            return [told(one, 0) for one in await redis.lrange(key, 0, -1)]
        case "set":
            return sorted(one.decode() for one in await redis.smembers(key))
        case "stream":
            rows = await redis.xrange(key)
            return [
                [
                    _moment(name.decode().removesuffix("-0"), began),
                    {f.decode(): told(v, began) for f, v in fields.items()},
                ]
                for name, fields in rows
            ]
        case _:
            return told(await redis.get(key), began)


def told(value: bytes, began: int) -> Any:
    """Text, its moments as what they are from the recording on; or {"base64": …}."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    return " ".join(_moment(word, began) for word in text.split(" "))


def _moment(word: str, began: int) -> str:
    if _NUMBER.fullmatch(word) and abs(float(word) - began) < NEAR:
        return f"@{float(word) - began:.3f}".removesuffix(".000")
    return word


if __name__ == "__main__":
    main()
