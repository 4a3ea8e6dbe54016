"""Row 8: what an idle live plugin costs us."""

import time

import client
import meters
from report import Figure
from servers import Lab, Server

LIVE, WARM_UP = 256, 16


def run(lab: Lab) -> list[Figure]:
    with lab.ours() as ours:
        _start(ours, WARM_UP, 1)  # loading at first use is not a cost of a plugin
        ours.settle()
        time.sleep(2.5)
        ours_only = ours.pids()
        before = meters.pss_kib(ours_only), meters.tmpfs_bytes(ours.state)
        idle_before = _idle_ms(ours, lab.rounds(5, 3))
        _start(ours, LIVE, 120)
        ours.settle()
        alive = len(set(ours.pids()) - set(ours_only))
        after = meters.pss_kib(ours_only), meters.tmpfs_bytes(ours.state)
        idle = _idle_ms(ours, lab.rounds(10, 4))
    memory = (after[0] - before[0]) / LIVE
    raw = {
        "alive": alive,
        "pss_kib": (before[0], after[0]),
        "tmpfs_bytes": (before[1], after[1]),
        "idle_ms_per_s": {"none live": idle_before, "live": idle},
    }
    tmpfs = f"+{(after[1] - before[1]) / LIVE / 1024:.1f} KiB tmpfs"
    good = alive == LIVE
    return [
        Figure("8", f"our memory for each of {alive} live plugins", memory, 8, 2, "KiB", tmpfs, raw=raw, good=good),
        Figure("8", "  our CPU per idle second meanwhile", idle, 1, 0.3, "ms", f"{idle_before:.2f} ms with none"),
    ]


def _start(ours: Server, count: int, seconds: int) -> None:
    data = client.call_message("bench.sleep", {"seconds": seconds}, "wait=false")
    for _ in range(count):
        status, body = client.send(ours.port, data)
        if status != 200 or b"RUNNING" not in body:
            raise RuntimeError(f"not started: {status} {body[:200]!r}")


def _idle_ms(server: Server, seconds: int) -> float:
    """CPU ms in a second without requests."""
    before = server.cpu()
    time.sleep(seconds)
    return (server.cpu() - before) / seconds * 1e3
