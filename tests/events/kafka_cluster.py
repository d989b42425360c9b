"""librdkafka's own pretended Kafka, in a process of its own: `python -m tests.events.kafka_cluster`.

It speaks Kafka's protocol over real sockets, makes topics as they are asked for and keeps records in memory. It knows
neither TLS nor SASL. No server of Kafka's own can be had from Debian's or Python's packages.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import IO

from tests.events.brokers import stands_still


@dataclass
class Cluster:
    """One broker of one pretended cluster."""

    process: subprocess.Popen[str] | None = None
    server: str = ""

    def start(self) -> None:
        arguments = [sys.executable, "-m", "tests.events.kafka_cluster"]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said: IO[str] | None = self.process.stdout
        assert said is not None
        self.server = said.readline().strip()
        assert self.server, "the cluster did not start"

    def stop_the_clock(self, stopped: bool) -> None:
        """SIGSTOP or SIGCONT: a broker that is there and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)
        if stopped:
            stands_still(self.process.pid)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def main() -> None:
    """Until standard input ends."""
    from confluent_kafka import Producer

    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    [broker] = owner.list_topics(timeout=20).brokers.values()
    sys.stdout.write(f"{broker.host}:{broker.port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
