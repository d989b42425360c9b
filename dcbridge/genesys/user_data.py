"""Genesys' User Data Management API, base path /udm/v10 (contract/user-data-management.txt): export jobs, without I/O.

    POST /export/jobs                       202, a job                 GET /export/jobs?title=…     those with a title
    GET  /export/history/{id}/progress      progress 0–100, status
    GET  /files/{name}                      303 to where the file is   DELETE /files/{name}, /export/jobs/{id}

A title is ours and says the period, so a job whose answer was lost is found by it. Names differ between the versions of
the API (fileName, filename), so their case says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx
import orjson

from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from dcbridge.genesys.paths import segment
from dcbridge.json_values import a_list, a_text, an_object

CREATE, LIST, PROGRESS, FILE, DELETE_FILE, DELETE_JOB = (
    Operation("user-data", name, bearer=True)
    for name in ("create", "list", "progress", "file", "delete-file", "delete-job")
)
_FAILED = frozenset({"failed", "error", "cancelled", "canceled"})
_DONE = frozenset({"completed", "complete", "finished", "done", "success", "succeeded"})
LONGEST = 300


@dataclass(frozen=True, slots=True)
class Job:
    """An export. `file`: "" until there is one."""

    id: str
    title: str
    file: str
    status: str

    @property
    def failed(self) -> bool:
        return self.status.casefold() in _FAILED


@dataclass(frozen=True, slots=True)
class UserData:
    """Requests. `url`: with /udm/v10, without a slash at the end."""

    url: str

    def create(
        self, title: str, since: float, until: float, source: str, kind: str, media: Sequence[str]
    ) -> httpx.Request:
        said = {
            "source": source,
            "type": source,
            "title": title,
            "timeFrame": {"dateFrom": _iso(since), "dateTo": _iso(until)},
            "schedulerParam": {"immediately": True},
            "jobParams": {"type": kind, "media": [*media], "exportAttachments": False},
            "suspended": False,
        }
        headers = {"Content-Type": "application/json"}
        return httpx.Request("POST", f"{self.url}/export/jobs", headers=headers, content=orjson.dumps(said))

    def list(self, title: str) -> httpx.Request:
        query = urlencode({"title": title, "from": 0, "size": 100})
        return httpx.Request("GET", f"{self.url}/export/jobs?{query}")

    def progress(self, job: str) -> httpx.Request:
        return httpx.Request("GET", f"{self.url}/export/history/{segment(job)}/progress")

    def file(self, name: str) -> httpx.Request:
        return httpx.Request("GET", f"{self.url}/files/{segment(name)}")

    def delete_file(self, name: str) -> httpx.Request:
        return httpx.Request("DELETE", f"{self.url}/files/{segment(name)}")

    def delete_job(self, job: str) -> httpx.Request:
        return httpx.Request("DELETE", f"{self.url}/export/jobs/{segment(job)}")


def job_of(value: object) -> Job | None:
    """Of an answer, or of one in a list; None for what has no id."""
    job = {name.casefold(): one for name, one in an_object(value).items()}
    name = a_text(job.get("id"))
    if not 0 < len(name) <= LONGEST:
        return None
    file, status = a_text(job.get("filename")), a_text(job.get("status"))[:LONGEST]
    return Job(name, a_text(job.get("title")), file if len(file) <= LONGEST else "", status)


def found(reading: Reading, title: str) -> Job | None:
    """The job of exactly this title."""
    jobs = [job_of(one) for one in a_list(reading.whole.get("items"))]
    return next((one for one in jobs if one is not None and one.title == title), None)


def is_done(reading: Reading) -> bool:
    """Of a progress."""
    said: Mapping[str, object] = reading.whole
    progress = said.get("progress")
    if isinstance(progress, int | float) and not isinstance(progress, bool) and progress >= 100:
        return True
    return a_text(said.get("status")).casefold() in _DONE


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
