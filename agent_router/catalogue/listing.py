"""Methods as JSON, for GET /v1/methods and the command line."""

from typing import Any

from agent_router.catalogue import notices
from agent_router.catalogue.method import Method
from agent_router.catalogue.registry import Registry


def listing(registry: Registry, *notices_dirs: str) -> dict[str, Any]:
    """Every method, and what went wrong before the agent started."""
    return {
        "methods": [entry(method) for method in registry.all()],
        "notices": [notice for directory in notices_dirs for notice in notices.read(directory)],
    }


def entry(method: Method, full: bool = False) -> dict[str, Any]:
    """One method: state and reason always; the manifest's facts if there is a valid one.

    `full` adds the whole manifest (schemas, errors, examples).
    """
    shown: dict[str, Any] = {
        "name": method.name,
        "state": method.state,
        "reason": method.reason,
        "executables": method.executables,
        "manifests": method.manifests,
        "sha256": method.sha256(),
    }
    manifest = method.manifest
    if manifest is not None:
        for key in ("title", "version", "effects", "errors", "examples"):
            if key in manifest.data and (full or key not in ("errors", "examples")):
                shown[key] = manifest.data[key]
        shown |= {
            "timeout_s": manifest.timeout_s,
            "abortable": manifest.abortable,
            "supports": sorted(manifest.supports),
            "locks": manifest.locks,
            "manifest_sha256": manifest.sha256,
        }
        if full:
            shown["manifest"] = manifest.data
    return shown
