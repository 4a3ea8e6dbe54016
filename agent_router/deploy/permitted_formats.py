"""Which image formats Ironic permits, from its lookup, for the plugins that write images.

The conductor link writes a file below the agent's state directory, which lives as long as the boot.
"""

import json
import os
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.linux import files

FILE = "image-policy.json"
# Formats whose structure could refer to other files. A raw image has none, compressed or not: as in
# ironic-python-agent, the list does not apply to it.
STRUCTURED = ("qcow2",)


def remember(config: dict[str, Any], state: Path) -> None:
    """`config` is that of Ironic's lookup."""
    listed = config.get("permitted_image_formats")
    # The option that disables all of these checks.
    holds = isinstance(listed, list) and not config.get("disable_deep_image_inspection")
    files.replace(state / FILE, json.dumps({"permitted_image_formats": listed if holds else None}))


def refuse(form: str) -> None:
    """Raise Refused("format_not_permitted") for an image that is declared as something Ironic does not permit."""
    listed = _listed()
    if form in STRUCTURED and listed is not None and form not in listed:
        permitted = ", ".join(map(str, listed)) or "empty"
        message = (
            f"Ironic does not permit {form} images: permitted_image_formats in [conductor] of its configuration is "
            f"{permitted}; add {form} there, or deploy a raw image"
        )
        raise plugin.Refused("format_not_permitted", message)


def _listed() -> list[Any] | None:
    """None if it is unknown, or everything is permitted."""
    path = Path(os.environ.get("AGENT_STATE_DIR") or "/nonexistent", FILE)
    try:
        found: list[Any] | None = json.loads(path.read_text())["permitted_image_formats"]
    except FileNotFoundError:
        return None
    return found
