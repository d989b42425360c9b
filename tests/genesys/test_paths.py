"""Names that others gave stay one segment of a path, or no request is made."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from dcbridge.errors import Refused
from dcbridge.genesys.user_data import UserData

DATA = UserData("https://x/udm/v10")
REQUESTS: dict[str, Callable[[str], httpx.Request]] = {
    "/udm/v10/export/history/%/progress": DATA.progress,
    "/udm/v10/files/%": DATA.file,
    "/udm/v10/files/% ": DATA.delete_file,
    "/udm/v10/export/jobs/%": DATA.delete_job,
}


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("name", [".", "..", ""])
def test_a_name_that_leads_elsewhere_is_refused(path: str, name: str) -> None:
    with pytest.raises(Refused):
        REQUESTS[path](name)


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize(
    ("name", "written"), [("...", "..."), ("../jobs", "..%2Fjobs"), ("a?b#c", "a%3Fb%23c"), ("%2e%2e", "%252e%252e")]
)
def test_any_other_name_is_one_segment(path: str, name: str, written: str) -> None:
    assert REQUESTS[path](name).url.raw_path.decode() == path.strip().replace("%", written)
