"""Boot our ramdisk and stock ironic-python-agent's in QEMU and compare them; `make bench-ramdisk` builds them first.

ramdisk.py [--rounds N] [--name NAME]     BENCH_QUICK=1: one round
BENCH_LOCK: a file to lock while a machine runs, if other programs start machines too
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import ramdisk_ironic
import report
from ramdisk_boot import MEMORY_MIB, Boot, Image, boot
from report import Figure, median

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / ".bench/ramdisk"
OURS = Image("ours", BUILT / "ours")
LEAN = Image("ours, lean init", BUILT / "ours", append="agent.init=lean")
LIVE = Image("IPA, our packing", BUILT / "stock-live")
CPIO = Image("IPA, its builder's packing", BUILT / "stock-cpio", live=False)
ALONE = Image("IPA standalone, our packing", BUILT / "stock-live", standalone=True)
IMAGES = (OURS, LEAN, LIVE, CPIO)
SMALL_MIB = 768
STEPS_MIB = (512, 640, 768, 1024)

Boots = dict[str, list[Boot]]


class Lab:
    """Boots machines, one at a time, and reports each."""

    def __init__(self, work: Path) -> None:
        self.work, self.ironic = work, ramdisk_ironic.serve()

    def boot(self, image: Image, memory_mib: int = MEMORY_MIB, report: bool = True) -> Boot:
        done = boot(image, self.work, self.ironic.server_port, memory_mib, report=report)
        took = f"{done.cpu_s['answer']:.1f} CPU s" if "answer" in done.cpu_s else f"FAILED: {done.failure}"
        print(f"{image.name}, {memory_mib} MiB: {took}", file=sys.stderr, flush=True)
        return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
    parser.add_argument("--rounds", type=int, default=1 if quick else 3)
    parser.add_argument("--name", default=time.strftime("ramdisk-%Y%m%d-%H%M%S"), help="results/NAME.json")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="agent-router-bench-", dir=BUILT))
    begin, load = time.monotonic(), os.getloadavg()
    try:
        lab = Lab(work)
        boots: Boots = {image.name: [] for image in IMAGES}
        for _ in range(args.rounds):
            for image in IMAGES:
                boots[image.name].append(lab.boot(image))
        boots[ALONE.name] = [lab.boot(ALONE)]
        small = {image.name: lab.boot(image, SMALL_MIB, report=False) for image in (LEAN, LIVE, CPIO)}
        steps = smallest(lab)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    small[OURS.name] = steps[SMALL_MIB] if SMALL_MIB in steps else Boot()
    figures = [*costs(boots), *sizes(boots), *small_memory(small, steps)]
    print("\n" + report.table(figures) + "\n\n" + details(boots))
    facts = {
        "quick": quick,
        "load_before": load,
        "load_after": os.getloadavg(),
        "seconds": round(time.monotonic() - begin),
        "versions": versions(),
    }
    print(f"\nload {load[0]:.2f} to {facts['load_after'][0]:.2f}; {facts['seconds']} s; {facts['versions']}")
    facts["boots"] = {name: [asdict(one) for one in found] for name, found in boots.items()}
    path = HERE / f"results/{args.name}.json"
    report.save(path, figures, facts)
    print(f"raw numbers: {path}")
    return 0


def smallest(lab: Lab) -> dict[int, Boot]:
    """Boot ours with less and less memory, until it does not respond."""
    found: dict[int, Boot] = {}
    for memory_mib in sorted(STEPS_MIB, reverse=True):
        found[memory_mib] = lab.boot(OURS, memory_mib, report=False)
        if found[memory_mib].failure:
            break
    return found


def costs(boots: Boots) -> list[Figure]:
    def cpu(row: str, what: str, mark: str, ours: Image, peer: Image, *targets: float) -> Figure:
        pairs = [
            (a.cpu_s[mark], b.cpu_s[mark])
            for a, b in zip(boots[ours.name], boots[peer.name], strict=True)
            if mark in a.cpu_s and mark in b.cpu_s
        ]
        return _ratio(row, what, pairs, "{:.1f} s", *targets)

    return [
        cpu("1", "CPU from QEMU start to first response; peer: IPA, our packing", "answer", OURS, LIVE, 0.4, 0.3),
        cpu("1a", "the same with the lean init", "answer", LEAN, LIVE, 0.4, 0.3),
        cpu("1b", "the same; peer: IPA, its builder's packing", "answer", OURS, CPIO),
        cpu("1c", "CPU from QEMU start to init; peer: IPA, its builder's packing", "init", OURS, CPIO),
    ]


def sizes(boots: Boots) -> list[Figure]:
    def of(row: str, what: str, name: str, form: str, ours: Image, peer: Image, *targets: float) -> Figure:
        pairs = [
            (getattr(a, name), getattr(b, name))
            for a, b in zip(boots[ours.name], boots[peer.name], strict=True)
            if getattr(a, name) and getattr(b, name)
        ]
        return _ratio(row, what, pairs, form, *targets)

    ours, cpio, live = (image.initramfs.stat().st_size / 1e6 for image in (OURS, CPIO, LIVE))
    return [
        of("2", "memory used; peer: IPA, its builder's packing", "taken_mb", "{:.0f} MB", OURS, CPIO, 0.28, 0.25),
        of("2a", "the same with the lean init", "taken_mb", "{:.0f} MB", LEAN, CPIO, 0.28, 0.25),
        of("2b", "the same; peer: IPA, our packing", "taken_mb", "{:.0f} MB", OURS, LIVE),
        of("2c", "MemTotal - MemAvailable; peer: IPA, its builder's packing", "used_mb", "{:.0f} MB", OURS, CPIO),
        of("3", "PSS of the agent's processes", "pss_mib", "{:.1f} MiB", OURS, LIVE),
        Figure("4", "initramfs; peer: IPA, its builder's packing", ours, 130, 110, "MB", peer=f"{cpio:.1f} MB"),
        Figure("4a", "the same; peer: IPA, our packing", ours / live, ours=f"{ours:.1f} MB", peer=f"{live:.1f} MB"),
    ]


def _ratio(
    row: str,
    what: str,
    pairs: list[tuple[float, float]],
    form: str,
    target: float | None = None,
    stretch: float | None = None,
) -> Figure:
    if not pairs:
        return Figure(row, what, None, target, stretch)
    shown = [form.format(median(side)) for side in zip(*pairs, strict=True)]
    return Figure(row, what, report.ratio(pairs), target, stretch, "x", *shown, {"pairs": pairs})


def small_memory(small: dict[str, Boot], steps: dict[int, Boot]) -> list[Figure]:
    """Which images respond with how little memory."""
    say = {name: "no" if done.failure or not done.cpu_s else "yes" for name, done in small.items()}
    least = min((memory for memory, done in steps.items() if not done.failure), default=None)
    peers = f"our packing {say[LIVE.name]}, its builder's {say[CPIO.name]}"
    return [
        Figure(
            "5",
            f"responds with {SMALL_MIB} MiB; peer: IPA",
            float(say[OURS.name] == "no"),
            0,
            unit="failures",
            ours=f"{say[OURS.name]}, lean init {say[LEAN.name]}",
            peer=peers,
        ),
        Figure(
            "5a",
            f"least memory that responds, of {STEPS_MIB} MiB",
            least,
            768,
            640,
            "MiB",
            raw={"failures": {memory: done.failure for memory, done in steps.items()}},
        ),
    ]


def details(boots: Boots) -> str:
    """One line per image: medians of everything."""
    columns = ("image", "scheme", "init, CPU s", "response, CPU s", "response, wall s", "memory used, MB",
               "MemTotal - MemAvailable, MB", "agent PSS, MiB", "initramfs, MB", "kernel, MB")  # fmt: skip
    lines = [columns]
    for image in (*IMAGES, ALONE):
        good = [one for one in boots[image.name] if not one.failure]
        if not good:
            lines.append((image.name, f"failed: {boots[image.name][0].failure}", *[""] * (len(columns) - 2)))
            continue
        numbers = (
            median(one.cpu_s["init"] for one in good),
            median(one.cpu_s["answer"] for one in good),
            median(one.wall_s["answer"] for one in good),
            median(one.taken_mb for one in good),
            median(one.used_mb for one in good),
            median(one.pss_mib for one in good),
            image.initramfs.stat().st_size / 1e6,
            image.kernel.stat().st_size / 1e6,
        )
        lines.append((image.name, good[0].scheme, *(f"{number:.1f}" for number in numbers)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def versions() -> dict[str, str]:
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False)
    level = (BUILT / "ours.made-for").read_text().split()[0] if (BUILT / "ours.made-for").exists() else "unknown"
    ipa = next(iter(sorted((BUILT / "wheels").glob("ironic_python_agent-*"))), Path("?-?")).name.split("-")[1]
    version = qemu.stdout.split("\n")[0].removeprefix("QEMU emulator version ")
    return {"qemu": version, "host": platform.release(), "squashfs zstd level": level, "ironic-python-agent": ipa}


if __name__ == "__main__":
    sys.exit(main())
