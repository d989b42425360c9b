"""What a process of tests/warm.py has imported when it begins: whatever one of ours imports."""

import importlib

for name in (
    "benchmarks.receivers",
    "dcbridge.cli.app",
    "dcbridge.cli.books",
    "dcbridge.cli.check",
    "dcbridge.cli.dev.sandbox_process",
    "dcbridge.cli.status",
    "dcbridge.cli.trace",
    "sandbox.app",
    "service.main",
    "tests.faults.crash_table",
    "workers.jobs",
    "workers.main",
):
    importlib.import_module(name)
