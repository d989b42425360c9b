"""Genesys' exports: what a line is read as, and what is wrong with a file, by line and field."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from dcbridge.genesys import exports
from dcbridge.genesys.exports import BadExport, KeptMessage

CHANNEL = "0123456789"
LISTED = {"messages": [{"messageId": "m-1", "date": "2026-11-26T10:00:00Z"}, {"id": 17}, "no object"]}


def read(path: Path) -> list[KeptMessage | str]:
    found: list[KeptMessage | str] = []
    try:
        found += [str(one) if isinstance(one, BadExport) else one for one in exports.messages(path)]
    except BadExport as problem:
        found.append(str(problem))
    return found


def written(folder: Path, *rows: object, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else orjson.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "ids", "channel", "at"),
    [
        ({"ixnId": "i", "externalId": "m-1"}, [("m-1", "i")], "", None),
        ({"IXNID": "i", "EXTERNALID": "m-1"}, [("m-1", "i")], "", None),
        ({"ixnId": "i", "channelId": CHANNEL}, [("i",)], CHANNEL, None),
        ({"ixnId": "i", "channel": {"id": CHANNEL}}, [("i",)], CHANNEL, None),
        ({"ixnId": "i", "allAttributes": {"ChannelId": CHANNEL}}, [("i",)], CHANNEL, None),
        ({"ixnId": "i", "channelId": ["no text"]}, [("i",)], "", None),
        ({"ixnId": "i", "startDate": "2015-08-05 08:31:20.78"}, [("i",)], "", 1438763480.78),
        ({"ixnId": "i", "startDate": "2015-08-05T10:31:20+02:00"}, [("i",)], "", 1438763480),
        ({"ixnId": "i", "startDate": 1438763480780}, [("i",)], "", 1438763480.78),
        ({"ixnId": "i", "startDate": ""}, [("i",)], "", None),
        ({"ixnId": "i", "startDate": 1438763480780} | LISTED, [("m-1",), ("17",)], "", None),
        ({"ixnId": "i", "structuredText": orjson.dumps(LISTED).decode()}, [("m-1",), ("17",)], "", None),
        ({"ixnId": "i", "structuredText": orjson.dumps(LISTED["messages"]).decode()}, [("m-1",), ("17",)], "", None),
        ({"ixnId": "i", "allAttributes": LISTED}, [("m-1",), ("17",)], "", None),
        ({"ixnId": "i", "structuredText": "<chatTranscript/>", "messages": []}, [("i",)], "", None),
        ({"ixnId": "i", "messages": [{"text": "without an id"}]}, [()], "", None),
        ({"ixnId": "i", "externalId": "x" * 201}, [("i",)], "", None),
        ({"ixnId": 7}, [("7",)], "", None),
    ],
)
def test_what_an_interaction_is_read_as(
    tmp_path: Path, row: dict[str, Any], ids: list[tuple[str, ...]], channel: str, at: float | None
) -> None:
    found = read(written(tmp_path, row))
    assert [one.ids for one in found if isinstance(one, KeptMessage)] == ids
    [first, *_] = found
    assert isinstance(first, KeptMessage)
    assert (first.place, first.interaction, first.channel) == ("a.jsonl:1", str(row.get("ixnId", "i")), channel)
    if len(ids) == 1:
        assert first.at == at
    else:
        assert first.at == 1795687200.0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"{", "a.jsonl:2: should be one JSON object"),
        (b"[]", "a.jsonl:2: should be one JSON object"),
        (b"[" * 5000, "a.jsonl:2: should be one JSON object"),
        (b"\xff", "a.jsonl:2: should be one JSON object"),
        ({"externalId": "m-1"}, "a.jsonl:2: ixnId: should be a text of at most 200 characters"),
        ({"ixnId": True}, "a.jsonl:2: ixnId: should be a text of at most 200 characters"),
        ({"ixnId": "i", "startDate": "soon"}, "a.jsonl:2: startDate: should be a time, such as 2026-11-26T10:00:00Z"),
        ({"ixnId": "i", "startDate": True}, "a.jsonl:2: startDate: should be a time, such as 2026-11-26T10:00:00Z"),
        ({"ixnId": "i", "startDate": 1e30}, "a.jsonl:2: startDate: should be a time, such as 2026-11-26T10:00:00Z"),
        ({"ixnId": "i", "startDate": [1]}, "a.jsonl:2: startDate: should be a time, such as 2026-11-26T10:00:00Z"),
        (
            {"ixnId": "i", "messages": [{"date": "9999-99-99"}]},
            "a.jsonl:2: messages.date: should be a time, such as 2026-11-26T10:00:00Z",
        ),
    ],
)
def test_a_bad_line_is_named_and_those_behind_it_are_read(tmp_path: Path, row: object, says: str) -> None:
    first, problem, last = read(written(tmp_path, {"ixnId": "i"}, row, b"", {"ixnId": "j"}))
    assert (isinstance(first, KeptMessage), problem) == (True, says)
    assert isinstance(last, KeptMessage)
    assert last.place == "a.jsonl:4"


def test_a_zip_is_read_file_by_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("one.jsonl", b'\xef\xbb\xbf{"ixnId": "i"}\n')
        packed.writestr("empty/", b"")
        packed.writestr("two.jsonl", b'{"ixnId": "j"}\nno json')
    first, second, problem = read(path)
    assert isinstance(first, KeptMessage)
    assert isinstance(second, KeptMessage)
    assert (first.place, second.place, problem) == ("a.zip[1]:1", "a.zip[2]:1", "a.zip[2]:2: should be one JSON object")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_damaged_inside(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("one.jsonl", b'{"ixnId": "i"}\n' * 200)
    raw = bytearray(path.read_bytes())
    raw[50:60] = bytes(one ^ 0xFF for one in raw[50:60])
    path.write_bytes(raw)
    with pytest.raises((BadExport, OSError)):
        list(exports.messages(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x30\x82\x01", "is encrypted: decrypt it with the key of your certificate first"),
        (b"-----BEGIN CMS-----", "is encrypted: decrypt it with the key of your certificate first"),
        (b"PK\x03\x04 and no more", "cannot be unpacked (BadZipFile)"),
        (b'{"ixnId": "' + b"x" * exports.LONGEST_LINE, "1: is longer than 8 MiB"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    [problem] = read(path)
    assert isinstance(problem, str)
    assert problem.endswith(says)


def test_a_zip_of_very_many_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(exports.MOST_MEMBERS + 1):
            packed.writestr(f"{number}", b"")
    assert read(path) == ["a.zip: holds more than 1000 files"]


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_that_takes_as_much_memory_as_it_says_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("one.jsonl", b'{"ixnId": "i"}')
    assert read(path) == ["a.zip: is packed in another way than Deflate: pack it anew"]


def test_the_files_of_one_zip_are_bounded_together(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"{number}", b'{"ixnId": "i"}\n' * 4)  # 60 bytes
    found = list[object]()
    with pytest.raises(BadExport, match=r"a.zip\[3\]:3: the file is longer"):
        found += exports.messages(path, most=160)
    assert len(list(exports.messages(path, most=180))) == 12
