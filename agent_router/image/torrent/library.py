"""libtorrent, where it is installed and new enough: an optional part of the ramdisk."""

import importlib
from typing import Any

from agent_router import plugin

# Older ones cannot be told to write with plain pwrite(2), and others fail to truncate a block device.
OLDEST = (2, 1)
NEEDS = f"libtorrent {'.'.join(map(str, OLDEST))} or newer"
CURE = f'install it (pip install "libtorrent>={".".join(map(str, OLDEST))}"), or name an http source'


def load() -> Any:
    """The module; raises Incompatible("no_source") with what to do about it."""
    try:
        found = importlib.import_module("libtorrent")
    except ImportError:
        raise plugin.Incompatible("no_source", f"BitTorrent needs {NEEDS}, which is not here: {CURE}") from None
    numbers = tuple(int(part) for part in found.version.split(".")[:2])
    if numbers < OLDEST:
        message = f"BitTorrent needs {NEEDS}, here is {found.version}, which cannot write to a disk: {CURE}"
        raise plugin.Incompatible("no_source", message)
    return found
