"""The chart's processes without a cluster, told as a timeline.

python -m tests.helm.through probes         what the probes find through start, work, Redis' loss and SIGTERM
python -m tests.helm.through restart        every service and worker pod is replaced while agents write, and the books
python -m tests.helm.through image ROOT TRIAL   a signed message through the processes of two unpacked images
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.helm.container import why_not
from tests.helm.trial import REDIS, SANDBOX, SERVICE, WORKER, trial


def probes() -> int:
    """The story that test_running.py asserts."""
    from tests.helm.test_running import QUICK, probe_story

    with tempfile.TemporaryDirectory() as folder, trial(Path(folder), QUICK) as inside:
        print(probe_story(inside))  # noqa: T201 (a script prints)
    return 0


def restart() -> int:
    """Likewise."""
    from tests.helm.test_running import QUICK, restart_story

    with tempfile.TemporaryDirectory() as folder, trial(Path(folder), QUICK) as inside:
        pods = inside.start(REDIS, SANDBOX, SERVICE, WORKER)
        pods += inside.start(SERVICE, suffix="1")
        inside.ready(*pods)
        said = restart_story(inside, pods)
        print(inside.namespace.story, said, sep="\n")  # noqa: T201
    return 0


def through(image: Path, sandbox: Path) -> int:
    """0 when a receipt came back. `sandbox`: the image of its pod."""
    with tempfile.TemporaryDirectory() as folder, trial(Path(folder), images=(image, sandbox)) as inside:
        pods = inside.start(REDIS, SANDBOX, SERVICE, WORKER)
        inside.ready(*pods)
        _, checked = inside.namespace.run_job("Job", "dcbridge-check")
        code, said = inside.namespace.run_job("Pod", "dcbridge-test")
        ends = [pod.delete() for pod in reversed(pods)]
        changed = [path for pod in pods for path in pod.container.written()]
        print(checked, said, inside.namespace.story, f"exit codes {ends}, changed files {changed}", sep="\n")  # noqa: T201
    return code


if __name__ == "__main__":
    if why_not():
        sys.exit(why_not())
    sys.exit(
        {"probes": probes, "restart": restart}.get(sys.argv[1], lambda: through(Path(sys.argv[2]), Path(sys.argv[3])))()
    )
