"""A rolling update: mail is stored while older workers still run, which have never heard of the job `mail`."""

from __future__ import annotations

from dcbridge.ledger.fields import TaskState
from dcbridge.mail_intake import MailEnvelope, store
from tests.mail.writing import plain
from tests.stack import quiet_port
from tests.workers import test_worker
from tests.workers.test_worker import Work, said_so, working

work = test_worker.work  # the fixture


async def test_a_mail_that_an_older_worker_leaves_is_read_by_a_newer_one(work: Work) -> None:
    yaml = work.folder / "bridge.yaml"
    inbound = "provider: post, inbound: {addresses: [care@company.com]}}"
    yaml.write_text(yaml.read_text().replace("provider: post}", inbound, 1))
    older = work.run("-m", "tests.workers.older_worker", "worker")
    mail = await store(
        work.context.ledger, plain("Hello\r\n"), MailEnvelope("company.com", None, "ana@example.org"), keep=600.0
    )
    assert mail.outcome == "accepted"
    await said_so(older, "job_refused")
    assert (await work.context.ledger.tasks.entry(mail.task_id)).state == TaskState.WAITING
    work.environment["DCBRIDGE_WORKER_PORT"] = str(quiet_port())
    async with working(work):  # beside it

        async def is_done() -> bool:
            return (await work.context.ledger.tasks.entry(mail.task_id)).state == TaskState.DONE

        await work.until(is_done)
    older.kill()
    older.wait()
