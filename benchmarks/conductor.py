"""Cost of the real Ironic's workflows with our agent and with ironic-python-agent; `make bench-conductor`.

conductor.py [--name NAME]      BENCH_QUICK=1: one round
BENCH_IPA: an environment with ironic-python-agent; AGENT_ROUTER_IRONIC: one with Ironic
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import conductor_box
import meters
import report
from conductor_box import Bench, Ironic
from report import Figure, median

from agent_router.conductor import addresses

STEP = {"interface": "deploy", "step": "acme_burn_in", "args": {"seconds": 1}}
Sample = dict[str, float]
Samples = dict[str, list[tuple[Sample, Sample]]]


def inspection(machine: Bench) -> None:
    machine.node.provision("inspect", "manageable")


def cleaning(machine: Bench) -> None:
    machine.node.provision("clean", "manageable", clean_steps=[STEP])


def service(machine: Bench) -> None:
    machine.node.provision("service", "active", service_steps=[STEP])


def inspection_and_cleaning(machine: Bench) -> None:
    machine.node.provision("inspect", "manageable")
    machine.node.until(lambda node: "agent_url" in node["driver_internal_info"], "a heartbeat after the inspection")
    machine.node.provision("clean", "manageable", clean_steps=[STEP])
    assert len(machine.boots) == 1, "fast track needs no second boot"


FLOWS: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "inspect": ("inspection", inspection),
    "clean": ("manual cleaning, one step that waits 1 s", cleaning),
    "service": ("service, one step that waits 1 s", service),
    "fast": ("fast track: inspection and cleaning in one boot", inspection_and_cleaning),
}


class Watch:
    """Times one workflow; called while waiting for it, records the first heartbeat."""

    def __init__(self, machine: Bench) -> None:
        self._machine, self._trouble = machine, machine.node.trouble
        self.sample: Sample = {}

    def look(self) -> str:
        if "beat_cpu" not in self.sample and "agent_url" in self._machine.node.get()["driver_internal_info"]:
            self._note("beat_")
        return self._trouble()

    def end(self) -> Sample:
        self._note("")
        return self.sample

    def _note(self, what: str) -> None:
        self.sample[f"{what}wall"] = time.monotonic() - self._machine.ramdisk.at
        self.sample[f"{what}cpu"] = self._machine.meter.seconds()


def measure(box: Ironic, place: Path, flow: str, ipa: Path | None, new_meter: Callable[[], meters.Meter]) -> Sample:
    """One workflow on a new node; wall time starts at power-on."""
    options = {"fast_track": True} if flow == "fast" else {}
    machine = Bench(box, place, new_meter(), addresses.macs(), ipa, **options)
    try:
        if flow == "service":
            image = {"image_source": f"{box.files_url}/kernel", "image_checksum": "0" * 32}
            machine.node.patch("/instance_info", image)
            machine.node.provision("adopt", "active")
        watch = Watch(machine)
        if flow == "clean":
            machine.node.trouble = watch.look
        FLOWS[flow][1](machine)
        return watch.end()
    except AssertionError:
        print(machine.ramdisk.output[-3000:] if machine.boots else "it never booted", file=sys.stderr)
        raise
    finally:
        machine.close()
        shutil.rmtree(place, ignore_errors=True)


def rounds(box: Ironic, work: Path, ipa: Path, count: int, new_meter: Callable[[], meters.Meter]) -> Samples:
    """Pairs of our result and the peer's; the order alternates."""
    samples: Samples = {flow: [] for flow in FLOWS}
    for number in range(count):
        for flow, pairs in samples.items():
            place = work / f"{flow}{number}"
            order = (None, ipa) if number % 2 == 0 else (ipa, None)
            done = {who: measure(box, place.with_suffix(f".{bool(who)}"), flow, who, new_meter) for who in order}
            pairs.append((done[None], done[ipa]))
    return samples


def figures(samples: Samples) -> list[Figure]:
    found = []
    kinds = [("cpu", "CPU s"), ("wall", "wall s")]
    for flow, pairs in samples.items():
        more = [("beat_cpu", "CPU s until the first heartbeat"), ("beat_wall", "wall s until the first heartbeat")]
        for key, unit in [*kinds, *(more if flow == "clean" else [])]:
            values = [(ours[key], peer[key]) for ours, peer in pairs]
            ours, peer = (f"{median(side):.2f}" for side in zip(*values, strict=True))
            what = f"{FLOWS[flow][0]}: {unit}"
            found.append(Figure("", what, report.ratio(values), ours=ours, peer=peer, raw={"pairs": values}))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="conductor", help="results/NAME.json")
    args = parser.parse_args()
    ipa = Path(os.environ.get("BENCH_IPA") or conductor_box.ROOT / ".bench/ipa")
    cpu_by, new_meter = meters.choose(os.environ.get("BENCH_CPU", ""))
    if reason := conductor_box.missing(ipa, cpu_by):
        sys.exit(reason)
    quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
    facts = {"quick": quick, "cpu_by": cpu_by, "versions": report.versions(ipa), "load_before": os.getloadavg()}
    work = Path(tempfile.mkdtemp(prefix="agent-router-bench-", dir="/dev/shm"))
    box, begin = Ironic(work / "ironic"), time.monotonic()
    try:
        found = figures(rounds(box.start(), work, ipa, 1 if quick else 3, new_meter))
    finally:
        box.stop()
        shutil.rmtree(work, ignore_errors=True)
    facts |= {"load_after": os.getloadavg(), "seconds": round(time.monotonic() - begin)}
    print(report.table(found))
    print(f"\nCPU by {cpu_by}; {facts['seconds']} s{' (quick)' if quick else ''}; {facts['versions']}")
    report.save(conductor_box.HERE / f"results/{args.name}.json", found, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
