"""The node of this machine, from Ironic's lookup: for commands that need its disk hints but are sent without it.

{"uuid": text, "properties": {…}, "instance_info": {…}, "driver_internal_info": {…}} in a file below the agent's
state directory, which lives as long as the boot. It is always replaced as a whole and never holds secrets.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.linux import files

FILE = "node.json"
KEYS = ("properties", "instance_info", "driver_internal_info")
# Keys of secrets, at any depth: agent_secret_token, image_server_password, image_request_authorization, configdrive …
SECRET = re.compile(
    r"token|passw|passphrase|secret|credential|authorization|configdrive|config_drive|user_data|private|auth_?key",
    re.IGNORECASE,
)
# In a URL: a user name before the host, and the query, where object stores put the signature.
USER, QUERY = re.compile(r"(?<=://)[^/@\s]*@"), re.compile(r"\?\S*")

Node = dict[str, Any]


def remember(node: Node, state: Path | None = None) -> None:
    """Replace the known node by this one of Ironic's API. Does nothing without a state directory."""
    state = state or _state()
    if state is None:
        return
    kept = {"uuid": str(node.get("uuid") or "")}
    kept |= {key: without_secrets(node[key]) if isinstance(node.get(key), dict) else {} for key in KEYS}
    files.replace(state / FILE, json.dumps(kept), 0o600)


def recall(state: Path | None = None) -> Node | None:
    """The node, with all four keys; None if it is unknown. Plugins get the state directory from the agent."""
    state = state or _state()
    if state is None:
        return None
    try:
        found: Node = json.loads((state / FILE).read_text())
        return {"uuid": found["uuid"], **{key: dict(found[key]) for key in KEYS}}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, LookupError):  # without its hints another disk might be taken
        message = f"{state / FILE} is damaged; give root_device and skip_block_devices with the request, or reboot"
        raise plugin.Failed("state_damaged", message) from None


def with_hints(request: dict[str, Any]) -> dict[str, Any]:
    """A request for storage.root_device, completed with the known node's hints where it has none."""
    hinted = "root_device" in request or "instance_root_device" in request
    if (hinted and "skip_block_devices" in request) or (known := recall()) is None:
        return request
    properties = known["properties"]
    found = {"skip_block_devices": properties.get("skip_block_devices")}
    if not hinted:
        found["root_device"] = properties.get("root_device")
        found["instance_root_device"] = known["instance_info"].get("root_device")
    return {**found, **request}


def without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_secrets(one) for key, one in value.items() if not SECRET.search(key)}
    if isinstance(value, list):
        return [without_secrets(one) for one in value]
    if isinstance(value, str) and "://" in value:
        return QUERY.sub("", USER.sub("", value))
    return value


def _state() -> Path | None:
    state = os.environ.get("AGENT_STATE_DIR", "")
    return Path(state) if state else None
