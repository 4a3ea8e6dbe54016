"""python -m agent_router: the same as the agent-router command."""

from agent_router.cli import main

main()
