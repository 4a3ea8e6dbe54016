"""The agent-router command. `serve` and `ramdisk` stay lean; the interactive commands load click."""

import sys


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        from agent_router.cli import serve

        raise SystemExit(serve.main(sys.argv[2:]))
    if sys.argv[1:2] == ["ramdisk"]:
        from agent_router.cli import ramdisk

        raise SystemExit(ramdisk.main(sys.argv[2:]))
    from agent_router.cli import commands

    commands.main()
