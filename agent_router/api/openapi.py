"""The OpenAPI 3.1 document: the fixed routes, and one path per method with its own schemas."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent_router import __version__
from agent_router.catalogue.manifest import Manifest
from agent_router.catalogue.registry import Registry
from agent_router.schema.subschemas import moved


@lru_cache(1)
def _base() -> str:
    return (Path(__file__).parent / "openapi.json").read_text()


def document(registry: Registry, url: str) -> dict[str, Any]:
    """The whole document; methods that are not ready are left out."""
    shown: dict[str, Any] = json.loads(_base())
    shown["info"]["version"] = __version__
    shown["servers"] = [{"url": url}]
    for method in registry.all():
        if method.state == "ready" and method.manifest is not None:
            _add(shown, method.name, method.manifest)
    return shown


def _add(shown: dict[str, Any], name: str, manifest: Manifest) -> None:
    schemas = shown["components"]["schemas"]
    for side in ("request", "response"):
        place = f"{name}.{side}"
        schemas[place] = moved(getattr(manifest, side).schema, f"#/components/schemas/{place}")
    data = manifest.data
    errors = "".join(f"\n- `{code}`: {text}" for code, text in data.get("errors", {}).items())
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": data["title"],
        "description": data.get("description", data["title"]) + ("\n\nErrors:" + errors if errors else ""),
        "tags": [name.split(".")[0]],
        "parameters": [{"$ref": f"#/components/parameters/{key}"} for key in ("wait", "plan", "id", "timeout_s")],
        "requestBody": {"required": True, "content": _content(f"{name}.request")},
        "responses": {
            "200": {"description": "The response of the plugin", "content": _content(f"{name}.response")},
            "202": {"description": "wait=false: the running command", "content": _content("Command")},
            "default": {"$ref": "#/components/responses/Error"},
        },
        "x-effects": manifest.effects,
    }
    shown["paths"][f"/v1/methods/{name}"] = {"post": operation}


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
