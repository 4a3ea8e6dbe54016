"""Named locks of running commands. `node` stands for the whole machine: it conflicts with every other."""

from agent_router.runner.command import Command

NODE = "node"


class Locks:
    def __init__(self) -> None:
        self._holders: dict[str, Command] = {}

    def holder(self, names: list[str]) -> Command | None:
        """A command that stands in the way of taking `names`, or None."""
        if not names or not self._holders:
            return None
        if NODE in names:
            return next(iter(self._holders.values()))
        for name in (NODE, *names):
            if name in self._holders:
                return self._holders[name]
        return None

    def take(self, command: Command) -> None:
        for name in command.head.get("locks", ()):
            self._holders[name] = command

    def release(self, command: Command) -> None:
        for name in command.head.get("locks", ()):
            if self._holders.get(name) is command:
                del self._holders[name]
