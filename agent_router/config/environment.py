"""The environment that every plugin gets, before what belongs to its command is added."""

import os
import sys

from agent_router.config.settings import Settings

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def search_path() -> str:
    """PATH: the agent's own interpreter first, so that `env python3` finds the one with the helper library."""
    return f"{os.path.dirname(sys.executable)}:{SYSTEM_PATH}"


def base(settings: Settings) -> dict[str, str]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return {
        "PATH": search_path(), "LANG": "C.UTF-8", "TERM": "dumb", "AGENT_PROTOCOL": "1",
        "AGENT_EVENTS": "/dev/fd/3", "AGENT_LIB": package + "/plugin",
        "AGENT_STATE_DIR": settings.state, "AGENT_DEVICES": ",".join(settings.devices),
    }  # fmt: skip
