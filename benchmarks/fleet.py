"""Deploy one image to many machines at once, by HTTP, BitTorrent and multicast; `make bench-fleet`, as root.

    fleet.py [--nodes 1,2,4,8,16] [--ways multicast] [--trouble none,loss] [--repeat N] [--name NAME]

BENCH_QUICK=1: 1 and 4 machines, a smaller image. Runs with trouble use the largest of the given numbers up to 8.
Each machine is a real agent in a network namespace with a loop disk. They are connected by a switch whose ports all
have the same rate; the origin is `agent-router seed`. Ideal is the time to transfer the image through one port.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fleet_net
import report
from fleet_node import MIB, ROOT, Deployment, Node
from report import Figure, median

HERE = Path(__file__).resolve().parent
# The compressed image, which is staged while it is unpacked, has the size of the raw one: only the method differs.
PACKED = "torrent zst"
WAYS = ("http", "torrent", PACKED, "multicast")
TROUBLES = ("none", "loss", "late", "killed", "stalled", "slow")
RATE_MBIT = 50
IMAGE_MIB, QUICK_IMAGE_MIB = 40, 16
GROUP, PORT = "239.99.0.1", 8000
LOSS_PERCENT = 0.5
LATE_S, KILL_S, STALL_S = 4.0, 2.0, 5.0
SLOW_BYTES_S = 2 * MIB
LIMIT_S = 300.0
# With 16 machines: limit for the last machine, as a multiple of the ideal, and for the images sent by the origin.
TARGETS = {("torrent", "last"): (2.5, 2.0), ("multicast", "last"): (1.85, 1.5), ("torrent", "sent"): (2.2, 1.3)}


@dataclass
class Outcome:
    """One run. `special`: the machine that had the trouble."""

    way: str
    nodes: int
    trouble: str
    ideal_s: float
    last_s: float | None = None
    median_s: float | None = None
    images_sent: float = 0.0
    special_s: float | None = None
    good: bool = False
    why: str = ""
    all_s: list[float | None] = field(default_factory=list)
    transports: list[str] = field(default_factory=list)


class Fleet:
    def __init__(self, work: Path, image: Path, nodes: int) -> None:
        self.work, self.image = work, image
        self.packed = image.with_name(f"{image.name}.zst")
        subprocess.run(["zstd", "--quiet", "--fast=1", str(image), "-o", str(self.packed)], check=True)
        self.digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (image, self.packed)}
        self.ideal_s = image.stat().st_size * 8 / (RATE_MBIT * 1e6)
        self.nodes: list[Node] = []
        for number in range(1, nodes + 1):
            self.nodes.append(Node(number, work, 2 * image.stat().st_size // MIB + 8))

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            wait = threading.Thread(target=node.ready)
            wait.start()
            wait.join()

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()

    def run(self, way: str, count: int, trouble: str = "") -> Outcome:
        """One deployment to the first `count` machines. Trouble: one of TROUBLES."""
        outcome = Outcome(way, count, trouble, self.ideal_s)
        nodes, special = self.nodes[:count], self.nodes[count // 2]
        for node in nodes:
            node.forget()
        found = [Deployment() for _ in nodes]
        over = threading.Event()
        with self._origin(way, count - (trouble == "late")), self._prepared(trouble, nodes, special) as can:
            if not can:
                outcome.why = "this kernel cannot throttle a disk"
                return outcome
            before, begun = fleet_net.sent(fleet_net.ORIGIN), time.monotonic()
            threads = []
            for node, result in zip(nodes, found, strict=True):
                late = trouble == "late" and node is special
                argv = (node, self._request(way), begun, result, over, LATE_S if late else 0.0)
                threads.append(threading.Thread(target=_deploy, args=argv, daemon=True))
                threads[-1].start()
            if trouble == "killed":
                time.sleep(KILL_S)
                special.kill()
            if trouble == "stalled":
                time.sleep(KILL_S)
                special.stand_still(STALL_S)
            others = [one for node, one in zip(nodes, found, strict=True) if trouble != "killed" or node is not special]
            while time.monotonic() - begun < LIMIT_S and any(one.done_s is None and not one.why for one in others):
                time.sleep(0.1)
            outcome.images_sent = (fleet_net.sent(fleet_net.ORIGIN) - before) / self.image.stat().st_size
            over.set()
            for thread in threads:
                thread.join(60)
        self._judge(outcome, nodes, special, found)
        return outcome

    def _judge(self, outcome: Outcome, nodes: list[Node], special: Node, found: list[Deployment]) -> None:
        alone = outcome.trouble in ("late", "killed", "stalled", "slow")
        plain = [result for node, result in zip(nodes, found, strict=True) if not (alone and node is special)]
        outcome.all_s = [result.done_s for result in found]
        outcome.transports = [result.answer.get("transport", "") for result in found]
        outcome.special_s = found[nodes.index(special)].done_s if alone else None
        outcome.why = "; ".join(sorted({result.why for result in plain if result.why}))[:500]
        times = [result.done_s for result in plain if result.done_s is not None]
        healthy = [node for node in nodes if not (outcome.trouble == "killed" and node is special)]
        outcome.good = len(times) == len(plain) and all(node.holds(self.image) for node in healthy)
        if times:
            outcome.last_s, outcome.median_s = max(times), median(times)
        if outcome.trouble == "killed":
            special.start()
            wait = threading.Thread(target=special.ready)
            wait.start()
            wait.join()

    @contextlib.contextmanager
    def _prepared(self, trouble: str, nodes: list[Node], special: Node) -> Iterator[bool]:
        if trouble == "loss":
            for node in nodes:
                fleet_net.lose(node.namespace, LOSS_PERCENT)
        can = special.slow_down(SLOW_BYTES_S) if trouble == "slow" else True
        try:
            yield can
        finally:
            if trouble == "loss":
                for node in nodes:
                    fleet_net.lose_nothing(node.namespace)
            if trouble == "slow" and can:
                special.kill()
                special.start()
                wait = threading.Thread(target=special.ready)
                wait.start()
                wait.join()

    @contextlib.contextmanager
    def _origin(self, way: str, receivers: int) -> Iterator[None]:
        argv: list[object] = [sys.executable, "-m", "agent_router", "seed", self._published(way)]
        argv += ["--bind", fleet_net.ORIGIN_ADDRESS]
        if not way.startswith("torrent"):
            argv.append("--no-torrent")
        if way == "multicast":
            # Slightly below the port's rate, because packets dropped by the switch must be sent again.
            argv += ["--multicast", "--group", GROUP, "--interface", "eth0", "--receivers", receivers, "--wait", 5,
                     "--multicast-rate", RATE_MBIT * 9 // 10]  # fmt: skip
        with (self.work / "origin.log").open("ab") as log:
            process = subprocess.Popen(
                fleet_net.inside(fleet_net.ORIGIN, *argv),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert process.stdout is not None
            try:
                if not any("ready at" in line for line in process.stdout):
                    raise RuntimeError((self.work / "origin.log").read_text()[-1000:])
                yield
            finally:
                process.terminate()
                process.wait(30)

    def _published(self, way: str) -> Path:
        return self.packed if way == PACKED else self.image

    def _request(self, way: str) -> dict[str, Any]:
        published = self._published(way)
        url = f"http://{fleet_net.ORIGIN_ADDRESS}:{PORT}/{published.name}"
        first = {"multicast": [f"udpcast://{GROUP}:9000?wait_s=12"], "http": []}.get(way, [f"{url}.torrent"])
        return {
            "sources": [*first, url],
            "digest": f"sha256:{self.digests[published]}",
            "format": "zst" if way == PACKED else "raw",
            "linger_s": 600 if way.startswith("torrent") else 0,
        }


def _deploy(
    node: Node, request: dict[str, Any], begun: float, result: Deployment, over: threading.Event, late_s: float
) -> None:
    time.sleep(late_s)
    node.deploy(request, begun, result, over)
    if result.done_s is None and not result.why:
        result.why = "the agent was lost"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
    parser.add_argument("--nodes", default="1,4" if quick else "1,2,4,8,16")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--trouble", default=",".join(TROUBLES), help="what to run: %(default)s")
    parser.add_argument("--image-mib", type=int, default=QUICK_IMAGE_MIB if quick else IMAGE_MIB)
    parser.add_argument("--repeat", type=int, default=1, help="how often to run each")
    parser.add_argument("--name", default=time.strftime("fleet-%Y%m%d-%H%M%S"), help="results/NAME.json")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    counts, ways = [int(word) for word in args.nodes.split(",")], args.ways.split(",")
    work = Path(tempfile.mkdtemp(prefix="agent-router-fleet-", dir="/dev/shm"))
    begin, load = time.monotonic(), os.getloadavg()
    image = work / "disk.img"
    image.write_bytes(os.urandom(args.image_mib * MIB))
    outcomes: list[Outcome] = []
    try:
        with fleet_net.rack(max(counts), RATE_MBIT):
            fleet = Fleet(work, image, max(counts))
            try:
                fleet.start()
                for way, count, trouble in plan(ways, counts, args.trouble.split(",")) * args.repeat:
                    outcomes.append(fleet.run(way, count, trouble))
                    print(line(outcomes[-1]), file=sys.stderr, flush=True)
            finally:
                fleet.remove()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = verdicts(outcomes, max(counts))
    print("\n" + "\n".join(map(line, outcomes)) + "\n\n" + report.table(figures))
    facts = {
        "quick": quick,
        "image_mib": args.image_mib,
        "rate_mbit": RATE_MBIT,
        "load_before": load,
        "load_after": os.getloadavg(),
        "seconds": round(time.monotonic() - begin),
        "runs": [asdict(one) for one in outcomes],
    }
    report.save(HERE / f"results/{args.name}.json", figures, facts)
    print(f"\n{facts['seconds']} s; load {load[0]:.2f} to {facts['load_after'][0]:.2f}")
    return 0 if all(one.good for one in outcomes) else 1


def plan(ways: list[str], counts: list[int], troubles: list[str]) -> list[tuple[str, int, str]]:
    troubled = max((count for count in counts if 2 <= count <= 8), default=0)
    found = [(way, count, "") for count in counts for way in ways if "none" in troubles]
    return found + [
        (way, troubled, trouble)
        for trouble in troubles
        if trouble != "none" and troubled
        for way in ways
        if way != PACKED
    ]


def line(one: Outcome) -> str:
    def times(seconds: float | None) -> str:
        return "   -  " if seconds is None else f"{seconds / one.ideal_s:5.2f}x"

    special = f"  that one {times(one.special_s)}" if one.special_s is not None else ""
    failed = "" if one.good else f"  FAILED {one.why}"
    return (
        f"{one.way:10} {one.nodes:3} machines {one.trouble:7} last {times(one.last_s)}  median {times(one.median_s)}  "
        f"origin sent {one.images_sent:5.2f} images{special}{failed}"
    )


def verdicts(outcomes: list[Outcome], count: int) -> list[Figure]:
    found = []
    for one in outcomes:
        if one.nodes != count or one.trouble or one.last_s is None:
            continue
        for key, what, figure in (
            ("last", "last machine, x ideal", one.last_s / one.ideal_s),
            ("sent", "images sent by the origin", one.images_sent),
        ):
            target, stretch = TARGETS.get((one.way, key), (None, None)) if count == 16 else (None, None)
            found.append(Figure(one.way, f"{count} machines: {what}", figure, target, stretch, good=one.good))
    return found


if __name__ == "__main__":
    sys.exit(main())
