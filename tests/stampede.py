"""Many coroutines of one process that all want the one token at one moment: `-m tests.stampede REDIS URL COUNT LOCK`.

It says "ready", waits for a word in Redis, and prints which tokens its coroutines got, in hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import Counter

from redis.asyncio import Redis

from dcbridge.errors import Unreachable
from dcbridge.genesys.authentication import Credentials
from dcbridge.interfaces import SharedToken
from dcbridge.ledger import Ledger
from dcbridge.ledger.vault import Vault
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.sender import Sender

KEY, START, READY = b"0123456789abcdef", "stampede:start", "stampede:ready"


def credentials(url: str) -> Credentials:
    return Credentials(f"{url}/auth/v3", "client_credentials", "dcbridge", "the-client-secret", "the-api-key")


async def main(redis_url: str, url: str, count: int, lock: float) -> None:
    async with Redis.from_url(redis_url) as redis, Sender() as sender:
        ledger = Ledger(redis, keep=60, keep_dead=60)
        token = SharedToken(credentials(url), ledger, Vault(KEY), sender, Metrics(), lock=lock)

        async def one() -> str:
            while True:
                try:
                    return await token.token()
                except Unreachable:
                    await asyncio.sleep(0.1)

        await redis.incr(READY)
        await redis.blpop([START], 60)
        got = Counter(await asyncio.gather(*(one() for _ in range(count))))
        hashed = {hashlib.sha256(name.encode()).hexdigest(): n for name, n in got.items()}
        sys.stdout.write(f"{json.dumps(hashed)}\n")
        await token.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
