"""Get an image from where it can be had to a disk or a tree; it is there only if it is the right one."""

import time
from pathlib import Path
from typing import Any

from agent_router.image import digest
from agent_router.image import plan as planning
from agent_router.image import request as asked
from agent_router.image.fallback import Outcome, Tries
from agent_router.image.protocols import Place


def image_write(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.write; request and response as in its manifest."""
    started = time.monotonic()
    asked.refuse_place(request)
    image = asked.image(request)
    place = asked.place(request)
    try:
        tries = Tries(place, request.get("device") or request["tree"], image)
        outcome = tries.run(asked.specs(request, bool(image.wanted)))
    finally:
        place.close()
    digest.warn(outcome.wanted)
    return {**_asked(request), **answer(place, outcome), "seconds": round(time.monotonic() - started, 3)}


def answer(place: Place, outcome: Outcome) -> dict[str, Any]:
    """What is told of an image that was written."""
    return {
        "source": outcome.source, "transport": outcome.transport, "bytes_read": outcome.bytes_read,
        "bytes_written": place.written, "bytes_zeroed": place.zeroed, "digests": outcome.digests,
        "resumed": outcome.resumed, "failed": outcome.failed, "stats": outcome.stats,
    }  # fmt: skip


def clean_up(request: dict[str, Any]) -> None:
    """After a command was killed: what it unpacked is taken away; a disk boots nothing as it is."""
    if request.get("tree"):
        from agent_router.image import tree

        tree.clean_up(Path(request["tree"]))


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """What image_write() would try and what would be lost; no source is asked, the disk is only looked at."""
    asked.refuse_place(request)
    specs = asked.specs(request, bool(request.get("digest")))
    lost = planning.lost(request["device"]) if request.get("device") else []
    return {
        **_asked(request), "source": specs[0].name, "transport": specs[0].transport, "bytes_read": 0,
        "bytes_written": 0, "bytes_zeroed": 0, "digests": {}, "seconds": 0, "resumed": 0, "failed": [], "stats": {},
        "plan": {"sources": [spec.name for spec in specs], "lost": lost},
    }  # fmt: skip


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    where = "device" if request.get("device") else "tree"
    return {where: request[where], "format": request.get("format", "raw")}
