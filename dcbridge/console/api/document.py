"""The document of the API, by OpenAPI 3.1: written from what the operations declare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules
from typing import Any

from pydantic.json_schema import models_json_schema

from dcbridge.console import api
from dcbridge.console.api.operation import OPERATIONS, ROOT, Answer, Call, Nothing, Operation, reads
from dcbridge.console.context import Role
from dcbridge.console.problems import MEDIA_TYPE

_REFERENCE = "#/components/schemas/{model}"
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


class Document(Answer):
    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]


@reads(f"{ROOT}/openapi.json", Role.VIEWER, Document, "This document.")
async def openapi(_call: Call) -> Mapping[str, Any]:
    return document()


@cache
def document() -> Mapping[str, Any]:
    """Of all operations."""
    for module in iter_modules(api.__path__, f"{api.__name__}."):
        import_module(module.name)
    models = {
        model for one in OPERATIONS.values() for model in (one.query, one.body, one.answer) if model is not Nothing
    }
    by_name = sorted(models, key=lambda model: model.__qualname__)
    _, found = models_json_schema([(model, "validation") for model in by_name], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), one in sorted(OPERATIONS.items()):
        paths.setdefault(path, {})[method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dcbridge",
            "version": version("dcbridge"),
            "description": "What the console shows and does.",
        },
        "paths": paths,
        "components": {
            "schemas": found.get("$defs", {}) | {"Problem": PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of `dcbridge console token create`."}
            },
        },
        "security": [{"token": []}],
    }


def _operation(of: Operation) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", of.path)
    ]
    schema = of.query.model_json_schema(ref_template=_REFERENCE)
    in_query = [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": field}
        for name, field in schema.get("properties", {}).items()
    ]
    said: dict[str, Any] = {
        "operationId": _name(of),
        "summary": of.summary,
        "description": f"For the role {of.role} and those above it.",
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": _schema(of.answer)}}},
            "default": {
                "description": "Why not; `errors` names each field.",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if in_path or in_query:
        said["parameters"] = [*in_path, *in_query]
    if of.method == "POST":
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(of.body)}}}
    return said


def _schema(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _name(of: Operation) -> str:
    words = re.findall(r"\w+", of.path.removeprefix(ROOT)) or ["root"]
    return "_".join([of.method.lower(), *words])


ROUTES = [openapi]
