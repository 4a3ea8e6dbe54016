"""Write one image in all formats to a loop disk, with our plugin and with others; `make bench-image` sets up.

image.py [--rounds N] [--only WORD] [--name NAME]     BENCH_QUICK=1: one round, a smaller image
BENCH_IPA: an environment with ironic-python-agent; without it, its rows are left out
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import meters
import report
from image_box import MIB, Run, Site, loop_disk, measure, same
from image_cuts import CUT_MIB, Cutter
from image_peers import OURS, Peer, ours, peers
from report import Figure, median

HERE = Path(__file__).resolve().parent
IMAGE_MIB, DATA_MIB = 3072, 480
PROFILED = {"disk.raw": "raw", "disk.raw.zst": "zst", "disk.raw.gz": "gz", "disk.qcow2": "qcow2",
            "disk-zstd.qcow2": "qcow2"}  # fmt: skip
QUICK_IMAGE_MIB, QUICK_DATA_MIB = 1024, 160

Runs = dict[str, list[Run]]
Bench = Callable[[Peer], Run]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
    parser.add_argument("--rounds", type=int, default=1 if quick else 5)
    parser.add_argument("--only", default="", help="only peers or formats whose name contains this word")
    parser.add_argument("--name", default=time.strftime("image-%Y%m%d-%H%M%S"), help="results/NAME.json")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    meter_name, new_meter = meters.choose()
    ipa = Path(os.environ["BENCH_IPA"]) if os.environ.get("BENCH_IPA") else None
    work = Path(tempfile.mkdtemp(prefix="agent-router-bench-", dir="/dev/shm"))
    begin, load = time.monotonic(), os.getloadavg()
    size_mib, data_mib = (QUICK_IMAGE_MIB, QUICK_DATA_MIB) if quick else (IMAGE_MIB, DATA_MIB)
    try:
        site = Site(work, free_port(), size_mib, data_mib)
        try:
            runs, cut = rounds(site, work, args, ipa, new_meter)
            profiles = profile(site, work)
        finally:
            site.stop()
        sizes = {name: form.size for name, form in site.forms.items() if form.size > MIB}
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = [*compare(runs), *limits(runs), *cuts(cut)]
    print("\n" + report.table(figures) + "\n\n" + details(runs) + "\n\n" + profiled(profiles))
    facts = {"quick": quick, "image_mib": size_mib, "files": sizes, "meter": meter_name, "load_before": load,
             "load_after": os.getloadavg(), "seconds": round(time.monotonic() - begin),
             "versions": report.versions(ipa)}  # fmt: skip
    print(
        f"\n{size_mib} MiB image; {', '.join(f'{name} {size / 1e6:.0f} MB' for name, size in sizes.items())}; "
        f"CPU by {meter_name}; load {load[0]:.2f} to {facts['load_after'][0]:.2f}; {facts['seconds']} s"
    )
    facts["profiles"] = profiles
    facts["runs"] = {name: [asdict(one) for one in found] for name, found in runs.items()}
    report.save(HERE / f"results/{args.name}.json", figures, facts)
    return 0 if all(run.good for name, found in runs.items() if name.startswith(OURS) for run in found) else 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rounds(
    site: Site, work: Path, args: argparse.Namespace, ipa: Path | None, new_meter: Callable[[], meters.Meter]
) -> tuple[Runs, Run | None]:
    runs: Runs = {}
    size_mib = site.raw.size // MIB + 256

    def bench(peer_on: Callable[[str], Peer], check: bool) -> tuple[Peer, Run]:
        with loop_disk(work / "disk", size_mib) as device:
            peer = peer_on(device)
            done = measure(peer.argv, device, new_meter, work, peer.env, peer.stdin)
            if done.good and check:
                done.good = same(device, site.raw)
            said = "" if done.good else f" FAILED: {done.says[-500:]}"
            took = f"{done.wall_s:.1f} s, {done.cpu_s:.1f} CPU s, {done.pss_mib:.0f} MiB"
            print(f"{peer.key}: {took}{said}", file=sys.stderr, flush=True)
        return peer, done

    count = len(peers(site, "/dev/null", ipa))
    for number in range(args.rounds):
        for index in range(count):
            unmade = peers(site, "/dev/null", ipa)[index]
            if args.only not in unmade.key or (number and unmade.once):
                continue
            peer, done = bench(lambda device, at=index: peers(site, device, ipa)[at], check=number == 0)
            runs.setdefault(peer.key, []).append(done)
    if args.only:
        return runs, None
    with Cutter(site.forms["disk.raw.zst"].path) as cutter:
        _, cut = bench(lambda device: ours(site, "disk.raw.zst", "zst", device, cutter.url), check=True)
        cut.extra = {"cuts": cutter.cuts, "sent": cutter.sent, "size": site.forms["disk.raw.zst"].size}
    return runs, cut


def profile(site: Site, work: Path) -> dict[str, dict[str, float]]:
    """CPU seconds of each of our threads, by format; one run each, at the end."""
    found = {}
    for name, form in PROFILED.items():
        published = site.forms[name]
        with loop_disk(work / "disk", site.raw.size // MIB + 256) as device:
            argv = [sys.executable, str(HERE / "image_profile.py"), published.url, form, published.sha256, device]
            done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, cwd=work)
        found[name] = json.loads(done.stdout)
    return found


def profiled(profiles: dict[str, dict[str, float]]) -> str:
    lines = ["Our CPU seconds, by thread:"]
    for name, spent in profiles.items():
        lines.append(f"{name:18}" + "  ".join(f"{what} {seconds:.2f}" for what, seconds in spent.items() if seconds))
    return "\n".join(lines)


def compare(runs: Runs) -> list[Figure]:
    rows = [
        ("zst", "disk.raw.zst", "curl|sha256sum|zstd|dd", "wall_s", 1.0, 0.85),
        ("zst", "disk.raw.zst", "curl|sha256sum|zstd|dd", "cpu_s", 0.9, 0.75),
        ("gz", "disk.raw.gz", "curl|sha256sum|gzip|dd", "cpu_s", None, None),
        ("raw", "disk.raw", "IPA", "cpu_s", 0.30, 0.25),
        ("raw", "disk.raw", "curl|dd", "cpu_s", None, None),
        ("qcow2", "disk.qcow2", "IPA", "wall_s", 0.2, 0.15),
        ("qcow2", "disk.qcow2", "qemu-img", "wall_s", 1.1, 0.9),
        ("qcow2 zstd", "disk-zstd.qcow2", "qemu-img", "wall_s", 1.1, 0.9),
        ("bmap", "disk.raw.zst", "bmaptool", "cpu_s", 0.5, 0.4),
        ("raw", "disk.raw", "aria2", "cpu_s", None, None),
        ("torrent", "disk.raw.torrent", "aria2", "cpu_s", None, None),
        ("torrent", "disk.raw.torrent", "aria2", "wall_s", None, None),
    ]
    found = []
    for row, what, peer, key, target, stretch in rows:
        mine, other = runs.get(f"{OURS} {what}"), runs.get(f"{peer} {what}")
        if not mine or not other:
            continue
        # qemu-img's HTTP reader hangs occasionally; such a round has no ratio. Some take part in the first round only.
        both = [(a, b) for a, b in zip(mine, other, strict=False) if a.good and b.good]
        pairs = [(getattr(a, key), getattr(b, key)) for a, b in both]
        if not pairs:
            continue
        unit = "s" if key == "wall_s" else "CPU s"
        shown = [f"{median([pair[side] for pair in pairs]):.2f} {unit}" for side in (0, 1)]
        good = all(run.good for run in mine)
        found.append(
            Figure(
                row,
                f"{what}, {'wall' if key == 'wall_s' else 'CPU'}, against {peer}",
                report.ratio(pairs),
                target,
                stretch,
                ours=shown[0],
                peer=shown[1],
                good=good,
            )
        )
    return found


def limits(runs: Runs) -> list[Figure]:
    mine = {name: found for name, found in runs.items() if name.startswith(OURS)}
    plain = [run for name, found in mine.items() if not name.endswith(".torrent") for run in found]
    swarm = [run for name, found in mine.items() if name.endswith(".torrent") for run in found]
    figures = []
    if plain:
        memory, staged = max(run.pss_mib for run in plain), max(run.staged_mib for run in plain)
        figures += [
            Figure("memory", "our highest PSS, any format", memory, 48, 32, unit="MiB"),
            Figure("staged", "bytes that ours stages on a file system", staged, 0, 0, unit="MiB"),
        ]
    if swarm:
        what = "our highest PSS with a torrent, including libtorrent"
        figures.append(Figure("memory", what, max(run.pss_mib for run in swarm), unit="MiB"))
    return figures


def cuts(cut: Run | None) -> list[Figure]:
    if cut is None:
        return []
    again = (int(str(cut.extra["sent"])) / int(str(cut.extra["size"])) - 1) * 100
    what = f"bytes re-read, connection cut every {CUT_MIB} MiB ({cut.extra['cuts']} times)"
    return [Figure("cuts", what, again, 1.0, unit="%", good=cut.good)]


def details(runs: Runs) -> str:
    columns = ("wall_s", "cpu_s", "pss_mib", "stored_mib", "staged_mib")
    rows = [["median of", *columns]]
    for name, found in runs.items():
        good, bad = [run for run in found if run.good], [run for run in found if not run.good]
        cells = [f"{median([getattr(run, key) for run in good]):.2f}" if good else "" for key in columns]
        rows.append([name, *cells, f"failed {len(bad)} of {len(found)}" if bad else ""])
    return "\n".join("  ".join([row[0].ljust(34), *(cell.rjust(11) for cell in row[1:])]).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
