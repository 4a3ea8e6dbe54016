"""Ironic's step catalogue, computed from manifests alone: nothing is run to make it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from agent_router.catalogue.method import READY
from agent_router.catalogue.registry import Registry

PHASES = ("clean", "deploy", "service")


def catalogue(registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """{"clean": [step, …], "deploy": […], "service": […]}, highest priority first.

    A step has interface, step, priority, reboot_requested, abortable, argsinfo and the method.
    """
    found: dict[str, list[dict[str, Any]]] = {phase: [] for phase in PHASES}
    for offer in offers(registry):
        for phase in offer.step["phases"]:
            found[phase].append(_step(offer.method, offer.manifest, offer.step, phase))
    for steps in found.values():
        steps.sort(key=lambda step: (-step["priority"], step["interface"], step["step"]))
    return found


@dataclass(slots=True)
class Offer:
    """One entry of `steps` in the manifest of a ready method."""

    method: str
    manifest: dict[str, Any]
    step: dict[str, Any]


def offers(registry: Registry) -> list[Offer]:
    return [
        Offer(method.name, method.manifest.data, step)
        for method in registry.all()
        if method.state == READY and method.manifest is not None
        for step in method.manifest.data.get("steps", ())
    ]


def find(registry: Registry, phase: str, interface: str, step: str) -> Offer | None:
    """Who offers this step in this phase. The registry lets no two plugins offer the same one."""
    for offer in offers(registry):
        one = offer.step
        if (one["interface"], one["step"]) == (interface, step) and phase in one["phases"]:
            return offer
    return None


def digest(registry: Registry) -> str:
    """Twelve hexadecimal digits that change when the catalogue does."""
    return hashlib.sha256(json.dumps(catalogue(registry), sort_keys=True).encode()).hexdigest()[:12]


def _step(name: str, manifest: dict[str, Any], step: dict[str, Any], phase: str) -> dict[str, Any]:
    shown = {
        "step": step["step"],
        "interface": step["interface"],
        "priority": step.get("priority", {}).get(phase, 0),
        "reboot_requested": step.get("reboot_requested", False),
        "abortable": step.get("abortable", manifest.get("abortable", True)),
        "method": name,
    }
    arguments = _arguments(manifest["request"], step.get("input", {}))
    if arguments:
        shown["argsinfo"] = arguments
    return shown


def _arguments(schema: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        key: {
            "description": part.get("description", "") if isinstance(part, dict) else "",
            "required": key in required and key not in given,
        }
        for key, part in schema.get("properties", {}).items()
    }
