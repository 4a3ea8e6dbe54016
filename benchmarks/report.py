"""Figures, their targets, and the table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

median = statistics.median
COLUMNS = ("row", "what", "ours", "peer", "figure", "target", "stretch", "verdict")


@dataclass
class Figure:
    """One line of the table. target and stretch are upper limits for `figure`, in `unit`."""

    row: str
    what: str
    figure: float | None
    target: float | None = None
    stretch: float | None = None
    unit: str = "x"
    ours: str = ""
    peer: str = ""
    raw: dict[str, Any] = field(default_factory=dict)
    good: bool = True  # False: something other than the figure is wrong, as `what` says

    @property
    def verdict(self) -> str:
        if self.figure is None:
            return "failed"
        if self.target is None:
            return ""
        if not self.good or self.figure > self.target:
            return "MISSED"
        return "stretch" if self.stretch is not None and self.figure <= self.stretch else "met"

    def cells(self) -> list[str]:
        shown = [_number(value, self.unit) for value in (self.figure, self.target, self.stretch)]
        return [self.row, self.what, self.ours, self.peer, *shown, self.verdict]


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text + (unit if unit in ("x", "%") else f" {unit}" if unit else "")


def table(figures: list[Figure]) -> str:
    rows = [list(COLUMNS), *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def ratio(pairs: list[tuple[float, float]]) -> float:
    """Median of the per-round ratios."""
    return median(ours / peer for ours, peer in pairs if peer)


def versions(ipa: Path | None) -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release(), "cpus": str(os.cpu_count())}
    for name in ("agent-router", "flask", "gunicorn", "jsonschema", "jsonschema-rs", "gunicorn-h1c"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    found["webhook"] = _output(["webhook", "-version"]).rpartition(" ")[2]
    if ipa:
        code = "from importlib.metadata import version as v; print(v('ironic-python-agent'))"
        found["ironic-python-agent"] = _output([str(ipa / "bin/python"), "-c", code])
    return found


def _output(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return "not installed"


def save(path: Path, figures: list[Figure], facts: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [{**vars(figure), "verdict": figure.verdict} for figure in figures]
    text = json.dumps({"argv": sys.argv[1:], "ended": time.time(), **facts, "rows": rows}, indent=1, default=str)
    path.write_text(text + "\n")
