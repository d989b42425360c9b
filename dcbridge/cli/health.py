"""Whether this container's process answers: the health check of plain Docker.

python -m dcbridge.cli.health    exit code 0 when the operator's page of a service or of a worker says it is alive
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping

PORTS = {"DCBRIDGE_OPERATOR_PORT": 8081, "DCBRIDGE_WORKER_PORT": 8082}  # a container runs one of the two


def healthy(environ: Mapping[str, str], timeout: float = 4.0) -> bool:
    """True when one of the two operator ports answers /healthz with 200."""
    return any(_alive(int(environ.get(name, default)), timeout) for name, default in PORTS.items())


def _alive(port: int, timeout: float) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(os.environ) else 1)
