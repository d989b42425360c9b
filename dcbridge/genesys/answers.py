"""What Digital Channels answers to our posts, read in any shape that is documented."""

from __future__ import annotations

from dcbridge.genesys.payloads import NotJson, read_json, word

MAX_IDS = 500  # of an answer; they are logged


def read_answer(body: bytes) -> tuple[int | None, list[str], str]:
    """(status code, ids, what it says) of a Digital Channels answer, in any shape that is documented.

    ids are texts or {"id": …}; an error can be in `status`, `error`, `message` or be plain text.
    The code is None where there is none. What it says is cut to 500 characters.
    """
    try:
        value = read_json(body)
    except NotJson:
        return None, [], body[:500].decode("utf-8", "replace")
    if not isinstance(value, dict):
        return None, [], ""
    status = value.get("status")
    code, said = None, ""
    if isinstance(status, dict):
        code = status.get("code") if isinstance(status.get("code"), int) else None
        said = word(status.get("message"))
    for name in ("error_description", "error", "message"):
        said = said or word(value.get(name))
    data = value.get("data")
    listed = data.get("ids") if isinstance(data, dict) else None
    ids = []
    for item in listed[:MAX_IDS] if isinstance(listed, list) else []:
        found = word(item.get("id")) if isinstance(item, dict) else word(item)
        if found:
            ids.append(found)
    return code, ids, said[:500]
