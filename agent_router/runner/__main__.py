"""python -m agent_router.runner STATE [KEEP]: a runner alone, for the command line's local calls.

Its environment is what the plugins get. If its parent dies it stays until the last plugin has
ended, then it removes STATE and goes.
"""

import os
import sys

from agent_router.linux import libc, trees
from agent_router.runner import service

parent = os.getppid()
libc.set_title("agent-router: runner")
service.run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000, dict(os.environ), parent)
trees.remove(sys.argv[1])
