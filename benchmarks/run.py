"""Measure the targets of this project and print one table; `make bench` sets up what it needs.

run.py [--rows 1,2,6] [--name NAME]       BENCH_QUICK=1: a quick run, in five minutes
BENCH_IPA: an environment with ironic-python-agent; BENCH_CPU: v1, v2 or proc;
BENCH_OURS: a directory with another version of agent-router (pip install --target)
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import meters
import report
from servers import BUILT, HERE, Lab

# The rows that each module measures.
GROUPS = {
    "rows_calls": (1, 2, 10),
    "rows_start": (3, 5),
    "rows_load": (6, 7),
    "rows_live": (8,),
    "rows_flood": (9,),
    "rows_history": (4, 12),
    "rows_catalogue": (11,),
    "rows_document": (13,),
    "rows_size": (14,),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="only the groups with these rows, e.g. 1,6")
    parser.add_argument("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="results/NAME.json")
    args = parser.parse_args()
    rows = {int(row) for row in args.rows.split(",") if row} or set(range(1, 15))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
    lab = Lab(quick, Path(tempfile.mkdtemp(prefix="agent-router-bench-", dir="/dev/shm")), _ipa())
    lab.meter_name, lab.new_meter = meters.choose(os.environ.get("BENCH_CPU", ""))
    facts = {"quick": quick, "cpu_by": lab.meter_name, "versions": report.versions(lab.ipa)}
    facts["load_before"] = os.getloadavg()
    begin = time.monotonic()
    try:
        figures = measure(lab, rows)
    finally:
        stop_all(lab)
        shutil.rmtree(lab.work, ignore_errors=True)
    facts |= {"load_after": os.getloadavg(), "seconds": round(time.monotonic() - begin)}
    figures.sort(key=lambda figure: int(figure.row))
    print("\n" + report.table(figures))
    print(
        f"\nCPU by {lab.meter_name}; load {facts['load_before'][0]:.2f} to {facts['load_after'][0]:.2f}; "
        f"{facts['seconds']} s{' (quick)' if quick else ''}; {facts['versions']}"
    )
    path = HERE / f"results/{args.name}.json"
    report.save(path, figures, facts)
    print(f"raw numbers: {path}")
    return 0


def stop_all(lab: Lab) -> None:
    while lab.servers:
        lab.servers.pop().stop()


def _ipa() -> Path | None:
    path = Path(os.environ.get("BENCH_IPA") or BUILT / "ipa")
    return path if (path / "bin/ironic-python-agent").exists() else None


def measure(lab: Lab, rows: set[int]) -> list[report.Figure]:
    """The figures of every group with one of these rows; a failing group does not stop the others."""
    figures = []
    for module, numbers in GROUPS.items():
        if not rows & set(numbers):
            continue
        begin = time.monotonic()
        try:
            found = importlib.import_module(module).run(lab)
        except Exception as error:
            traceback.print_exc()
            found = [report.Figure(str(row), f"{type(error).__name__}: {error}"[:90], None) for row in numbers]
        stop_all(lab)
        print(f"{module}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        figures += found
    return figures


if __name__ == "__main__":
    sys.exit(main())
