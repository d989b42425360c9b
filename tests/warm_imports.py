"""What a process of tests/warm.py has imported when it begins: whatever one of ours imports, at its start or later."""

import gc
import importlib

import phonenumbers
import typer.main

for name in (
    "benchmarks.door_server",
    "benchmarks.receivers",
    "benchmarks.worlds",
    "dcbridge.cli.app",
    "dcbridge.cli.books",
    "dcbridge.cli.check",
    "dcbridge.cli.dev.sandbox_process",
    "dcbridge.operations.doctor.journal",
    "dcbridge.cli.status",
    "dcbridge.cli.trace",
    "rich._emoji_codes",
    "rq.cli",
    "sandbox.app",
    "service.main",
    "tests.faults.crash_table",
    "tests.stampede",
    "workers.jobs",
    "workers.main",
):
    importlib.import_module(name)

typer.main.get_command(importlib.import_module("dcbridge.cli.app").app)
phonenumbers.parse("+15557650123")

# A child's garbage collector would write to each of these objects, and so copy all memory that it shares.
gc.collect()
gc.freeze()
