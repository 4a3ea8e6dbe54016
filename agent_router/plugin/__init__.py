"""What authors of Python plugins import; the contract is docs/plugin-protocol.md.

    #!/usr/bin/env python3
    from agent_router import plugin

    def disk_count(request):
        return {"count": len(plugin.tool("lsblk", "-dn").splitlines())}

    if __name__ == "__main__":
        plugin.main(disk_count)

Imports nothing of the router: a plugin is a program of its own.
"""

from agent_router.plugin.errors import (
    Failed,
    Incompatible,
    InvalidRequest,
    Refused,
    Retry,
)
from agent_router.plugin.events import critical, log, progress, warn
from agent_router.plugin.main import main
from agent_router.plugin.tools import tool

__all__ = [
    "Failed", "Incompatible", "InvalidRequest", "Refused", "Retry",
    "critical", "log", "main", "progress", "tool", "warn",
]  # fmt: skip
