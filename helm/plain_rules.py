"""The alert rules for a Prometheus without Kubernetes: those of the chart, with its usual thresholds.

`python -m helm.reference` writes monitoring/alerts.yaml.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

HERE = Path(__file__).parent
FILE = HERE.parent / "monitoring" / "alerts.yaml"
BRIDGE = "dcbridge"  # as the label `bridge` of monitoring/prometheus.yaml says
_HEAD = """\
# Written by `python -m helm.reference` from helm/dcbridge/files/alerts.yaml: change that file.
# Prometheus reads it as it is: see monitoring/prometheus.yaml. The label `pod` is the name of a process.
"""


def text() -> str:
    """What the file should be."""
    chart = HERE / "dcbridge"
    rules = (chart / "files" / "alerts.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    body = "".join(line for line in rules.splitlines(keepends=True) if not line.startswith("#"))
    for name, value in values["monitoring"]["rules"]["thresholds"].items():
        body = body.replace(re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper(), f"{value:g}")
    return _HEAD + body.replace("BRIDGE", f'bridge="{BRIDGE}"').replace("RUNBOOKS", "docs/runbooks")
