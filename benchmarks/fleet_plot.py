"""Draw docs/fleet.svg and docs/fleet.png from the results of fleet.py; needs matplotlib.

fleet_plot.py RESULT.json DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# The colour-blind-safe palette of Okabe and Ito.
WAYS = {"http": ("#D55E00", "s"), "torrent": ("#0072B2", "o"), "multicast": ("#009E73", "^")}


def main() -> None:
    result, directory = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    runs = [run for run in result["runs"] if not run["trouble"] and run["last_s"]]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for way in WAYS:
        curve(left, way, [(run["nodes"], run["last_s"] / run["ideal_s"]) for run in runs if run["way"] == way])
        curve(right, way, [(run["nodes"], run["images_sent"]) for run in runs if run["way"] == way])
    counts = sorted({run["nodes"] for run in runs})
    label(left, counts, "last machine, times the ideal")
    label(right, counts, "images sent by the origin")
    left.legend(frameon=False)
    figure.suptitle(f"{result['image_mib']} MiB to machines with ports of {result['rate_mbit']} Mbit/s", fontsize=10)
    for kind in ("svg", "png"):
        # Without a date, so that the same figures produce the same file.
        figure.savefig(directory / f"fleet.{kind}", dpi=120, metadata={"Date": None} if kind == "svg" else None)


def curve(axes: Any, way: str, points: list[tuple[int, float]]) -> None:
    colour, marker = WAYS[way]
    axes.plot(*zip(*sorted(points), strict=True), color=colour, marker=marker, label=way)


def label(axes: Any, counts: list[int], what: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.minorticks_off()
    axes.set_xlabel("machines at once")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()
