"""What an image on a disk would cost: what is there now, told in sentences. Nothing is opened for writing."""

from collections.abc import Iterator
from typing import Any

from agent_router.storage import blockdev, lsblk


def lost(device: str) -> list[str]:
    """One sentence for the disk and for each partition and file system on it that lsblk finds."""
    found = [sentence for node in lsblk.tree(device) for sentence in _sentences(node)]
    uses = blockdev.uses(blockdev.kernel_name(device))
    return found + [f"it would be refused as things are: {use}" for use in uses]


def _sentences(node: dict[str, Any]) -> Iterator[str]:
    yield f"/dev/{node['kname']}: {_size(lsblk.number(node.get('size')) or 0)}, {_content(node)}"
    for child in node.get("children", []):
        yield from _sentences(child)


def _content(node: dict[str, Any]) -> str:
    parts = []
    for key, words in (
        ("pttype", "partition table {}"),
        ("fstype", "{}"),
        ("label", "labelled {}"),
        ("partlabel", "named {}"),
        ("uuid", "UUID {}"),
    ):
        value = lsblk.text(node.get(key))
        # lsblk gives the table of the whole disk to each of its partitions, too.
        if value and not (key == "pttype" and node.get("type") == "part"):
            parts.append(words.format(value))
    return ", ".join(parts) or "nothing known on it"


def _size(size: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:.4g} TiB"
