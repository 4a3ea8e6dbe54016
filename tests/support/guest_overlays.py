"""Overlays and sticks for the guest: a vendor's plugin with its binary, a shell for the tests, and broken ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.tiny_image import static_busybox

# Any static program will do as a vendor's binary: busybox under another name, which wants to be called by its own.
VENDOR_PLUGIN = """#!/bin/bash
# acme.show: ask the vendor's tool.
. "${AGENT_LIB:?}/plugin.sh"
sum=$(echo -n "$PARAM_text" | (exec -a busybox /opt/acme/bin/acmecli md5sum))
reply md5 "${sum%% *}"
"""
SHELL_PLUGIN = """#!/usr/bin/env python3
import subprocess

from agent_router import plugin


def shell(request):
    done = subprocess.run(["/bin/sh", "-c", request["script"]], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return {"status": done.returncode, "output": done.stdout.decode(errors="replace")}


if __name__ == "__main__":
    plugin.main(shell)
"""
ECHO_PLUGIN = "#!/bin/sh\necho '{\"name\": \"'$AGENT_METHOD'\"}'\n"


def manifest(**keys: Any) -> str:
    return json.dumps({
        "protocol": 1, "title": "Of the acceptance tests", "version": "1", "effects": "read",
        "request": {"type": "object"}, "response": {"type": "object"}, "timeout_s": 300, **keys,
    })  # fmt: skip


def requiring(key: str) -> dict[str, Any]:
    return {"type": "object", "required": [key], "additionalProperties": False, "properties": {key: {"type": "string"}}}


def plugin(directory: Path, name: str, script: str, **keys: Any) -> None:
    for place, text, mode in ((f"plugins.d/{name}", script, 0o755), (f"schemas/{name}.json", manifest(**keys), 0o644)):
        path = directory / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


def vendor_overlay(directory: Path) -> Path:
    """Packed as an operator would, with the command line."""
    plugin(directory, "acme.show", VENDOR_PLUGIN, request=requiring("text"))
    plugin(directory, "test.shell", SHELL_PLUGIN, request=requiring("script"))
    binary = directory / "root/opt/acme/bin/acmecli"
    binary.parent.mkdir(parents=True)
    shutil.copy(static_busybox(), binary)
    return packed(directory)


def packed(directory: Path) -> Path:
    target = directory.with_suffix(".cpio.gz")
    command = [sys.executable, "-m", "agent_router", "overlay", str(directory), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def broken_overlay(directory: Path) -> Path:
    """An archive that a download has cut off in the middle; what it holds cannot be compressed, so it is all lost."""
    plugin(directory, "acme.lost", ECHO_PLUGIN + f"# {os.urandom(50000).hex()}\n")
    whole = packed(directory).read_bytes()
    target = directory.with_suffix(".cut.gz")
    target.write_bytes(whole[: len(whole) // 2])
    return target


def stick_content(directory: Path, name: str) -> Path:
    plugin(directory, name, ECHO_PLUGIN)
    return directory


def network_data(directory: Path, mac: str, address: str) -> Path:
    """The content of a config drive that gives one interface a static address in QEMU's network."""
    document = {
        "links": [{"id": "link0", "type": "phy", "ethernet_mac_address": mac}],
        "networks": [
            {
                "id": "network0",
                "link": "link0",
                "type": "ipv4",
                "ip_address": address,
                "netmask": "255.255.255.0",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"}],
            }
        ],
        "services": [{"type": "dns", "address": "10.0.2.3"}],
    }
    place = directory / "openstack/latest/network_data.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(document))
    return directory
