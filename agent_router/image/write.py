"""image.write: an image from one of its sources to a disk or a tree; it is there only if it is the right one."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_router.image.engine import digest
from agent_router.image.engine.attempts import Attempts, Outcome
from agent_router.image.protocols import Destination
from agent_router.image.request import refuse_contradictions, source_specs, understand
from agent_router.storage import blockdev, lsblk


def image_write(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.write; request and response as in its manifest."""
    started = time.monotonic()
    image, destination, name = understand(request)
    try:
        outcome = Attempts(destination, name, image).run(source_specs(request, bool(image.wanted)))
    finally:
        destination.close()
    digest.warn(outcome.wanted)
    return {**_asked(request), **_answer(destination, outcome), "seconds": round(time.monotonic() - started, 3)}


def clean_up(request: dict[str, Any]) -> None:
    """After a command was killed: what it unpacked is removed; a disk is not bootable as it is."""
    if request.get("tree"):
        from agent_router.image.destinations import tree

        tree.clean_up(Path(request["tree"]))


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """What image_write() would try and what would be lost; no source is contacted, the disk is only looked at."""
    refuse_contradictions(request)
    specs = source_specs(request, bool(request.get("digest")))
    lost = what_would_be_lost(request["device"]) if request.get("device") else []
    return {
        **_asked(request), "source": specs[0].name, "transport": specs[0].transport, "bytes_read": 0,
        "bytes_written": 0, "bytes_zeroed": 0, "digests": {}, "seconds": 0, "resumed": 0, "failed": [], "stats": {},
        "plan": {"sources": [spec.name for spec in specs], "lost": lost},
    }  # fmt: skip


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    where = "device" if request.get("device") else "tree"
    return {where: request[where], "format": request.get("format", "raw")}


def _answer(destination: Destination, outcome: Outcome) -> dict[str, Any]:
    return {
        "source": outcome.source, "transport": outcome.transport, "bytes_read": outcome.bytes_read,
        "bytes_written": destination.written, "bytes_zeroed": destination.zeroed, "digests": outcome.digests,
        "resumed": outcome.resumed, "failed": outcome.failed, "stats": outcome.stats,
    }  # fmt: skip


def what_would_be_lost(device: str) -> list[str]:
    """One sentence for the disk and for each partition and file system on it that lsblk finds."""
    found = [sentence for node in lsblk.tree(device) for sentence in _sentences(node)]
    uses = blockdev.uses(blockdev.kernel_name(device))
    return found + [f"it would be refused now: {use}" for use in uses]


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
