"""What of the chart is written: the schema and the table of its README, from values and settings; the dashboard; and
the alert rules for a Prometheus without it.
python -m helm.reference
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dcbridge.settings.process import Settings
from helm import dashboard, plain_rules

HERE = Path(__file__).parent
CHART = HERE / "dcbridge"
BEGIN, END = "<!-- values: written by python -m helm.reference -->", "<!-- end of values -->"

Json = dict[str, Any]


def schema() -> Json:
    """values.schema.json."""
    found: Json = yaml.safe_load((HERE / "values.schema.yaml").read_text(encoding="utf-8"))
    # What else was there YAML has put where it is used.
    found["$defs"] = {"settings": {"type": "object", "additionalProperties": False, "properties": dict(_settings())}}
    return found


def _settings() -> Iterator[tuple[str, Json]]:
    """Each setting as values may give it: its own type and bounds, or null for the program's default."""
    for name, field in Settings.model_json_schema()["properties"].items():
        told = {key: value for key, value in field.items() if key not in ("title", "default", "format", "writeOnly")}
        if field["type"] == "string" and "enum" not in field:
            told["type"] = ["string", "null"]
        elif "enum" in field:
            told = {"enum": [*field["enum"], None], "description": field["description"]}
        else:
            told["type"] = [field["type"], "null"]
        yield name, told


def rows() -> Iterator[tuple[str, str, str]]:
    """(path, default, meaning) of every value, in the order of the schema."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    yield from _rows("", schema(), values)


def _rows(path: str, described: Json, values: Json) -> Iterator[tuple[str, str, str]]:
    for name, inner in described["properties"].items():
        at = f"{path}{name}"
        if at == "settings":
            yield at, _shown(values[name]), inner["description"]
        elif "properties" in inner and not inner.get("x-whole"):
            yield from _rows(f"{at}.", inner, values[name])
        elif name != "global":
            yield at, _shown(values[name]), inner["description"]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


def table() -> str:
    """The part of README.md between its two marks."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    lines += [f"| `{path}` | {default.replace('|', chr(92) + '|')} | {meaning} |" for path, default, meaning in rows()]
    return "\n".join([BEGIN, *lines, END])


def readme() -> str:
    """README.md with the table as it should be."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + table() + rest.partition(END)[2]


def schema_text() -> str:
    return json.dumps(_plain(schema()), indent=1, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Without the marks that are ours."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if not name.startswith("x-")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(schema_text(), encoding="utf-8")
    (CHART / "files" / "dashboard.json").write_text(dashboard.text(), encoding="utf-8")
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
    plain_rules.FILE.write_text(plain_rules.text(), encoding="utf-8")
