"""CPU time of one image by thread; the names of the threads say what they do.

image_profile.py URL FORMAT SHA256 DEVICE     prints {"what": CPU seconds} as JSON
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from agent_router.image import write  # noqa: E402
from agent_router.image.engine import pipeline  # noqa: E402

NAMES = {"HASH.update": "digest"}


def seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> int:
    url, form, digest, device = sys.argv[1:]
    os.environ["AGENT_DEVICES"] = device
    found: dict[str, float] = {"start": seconds(resource.RUSAGE_SELF)}
    run = pipeline.Worker.run

    def measured(self: pipeline.Worker) -> None:
        run(self)
        what = getattr(getattr(self, "_do", None), "__qualname__", type(self).__name__)
        found[NAMES.get(what, "unpack, find zeros, write")] = seconds(resource.RUSAGE_THREAD)

    pipeline.Worker.run = measured  # type: ignore[method-assign]
    before = seconds(resource.RUSAGE_THREAD)
    write.image_write({"device": device, "sources": [url], "format": form, "digest": f"sha256:{digest}"})
    found["receive, begin, flush"] = seconds(resource.RUSAGE_THREAD) - before
    # Threads of a pool (qcow2) and of libraries.
    found["unpack in other threads"] = max(seconds(resource.RUSAGE_SELF) - sum(found.values()), 0.0)
    print(json.dumps({what: round(spent, 2) for what, spent in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
