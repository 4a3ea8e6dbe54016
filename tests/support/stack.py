"""A made-up machine for what looks at sysfs: partitions and holders by kernel name, disks as storage.disks has them."""

from typing import Any

import pytest

from agent_router.plugin import Failed
from agent_router.storage import blockdev, disks, stacks

GIB = 1 << 30


def described(name: str, size_gib: float = 10, kind: str = "disk", **more: Any) -> dict[str, Any]:
    node = {"kname": name, "type": kind, "size": int(size_gib * GIB)}
    return {**disks.describe(node, {}, {}, {}), **more}


class Stack:
    """`tool` stands for plugin.tool: dmsetup and mdadm take a layer away unless it is `stubborn` or has one above."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holders: dict[str, list[str]]) -> None:
        self.parts: dict[str, list[str]] = {}
        self.mounted: dict[str, list[str]] = {}
        self.stubborn: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self._holders = holders
        monkeypatch.setattr(blockdev, "partitions", lambda name, *_: self.parts.get(name, []))
        monkeypatch.setattr(blockdev, "holders", lambda name, *_: sorted(self._holders.get(name, [])))
        monkeypatch.setattr(blockdev, "mountpoints", lambda name, *_: self.mounted.get(name, []))
        monkeypatch.setattr(stacks.plugin, "tool", self.tool)
        monkeypatch.setattr(stacks, "PATIENCE_S", 0)

    def tool(self, *argv: str, **_: Any) -> str:
        layer = argv[-1].removeprefix("/dev/")
        if argv[0] in ("dmsetup", "mdadm"):
            if layer in self.stubborn or self._holders.get(layer):
                raise Failed("tool_failed", f"{argv[0]} exited with status 1: {layer} is busy")
            self._holders = {name: [up for up in above if up != layer] for name, above in self._holders.items()}
        self.calls.append(argv)
        return ""
