"""Rows 1 and 2: CPU of a synchronous call and of GET /v1/status. Row 10: a Python plugin, warm and fresh."""

import json
import os
import subprocess
import time
from collections import defaultdict

import client
from report import Figure, median, ratio
from servers import BASE_PYTHON, BUILT, Lab, Server, environ

TEXT = {"text": "hello from the bench"}
# plugin, target and stretch against webhook
PLUGINS = (("c", 1.3, 1.0), ("bash", 1.2, 1.0), ("bashlib", None, None), ("python", 0.14, 0.1))
CALLS = {"c": 60, "bash": 40, "bashlib": 25, "python": 25}
FRESH = 6  # calls that start a fresh interpreter are expensive
NAMES = {"c": "C plugin", "bash": "bash plugin", "bashlib": "bash plugin with plugin.sh", "python": "Python plugin"}


def cpu_per_call(server: Server, data: bytes, calls: int) -> float:
    """CPU µs of the server and its plugins for one request."""
    before = server.cpu()
    for _ in range(calls):
        status, body = client.send(server.port, data)
        if status != 200 or b"FAILED" in body:
            raise RuntimeError(f"{server.name} returned {status}: {body[:300]!r}")
    time.sleep(0.02)  # work done after the response belongs to the call
    return (server.cpu() - before) / calls * 1e6


def cpu_of_command(argv: list[str], count: int) -> float:
    """CPU µs of a command that does one thing `count` times."""
    process = subprocess.Popen(argv, env=environ(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise RuntimeError(f"{argv} failed with {status}")
    return (usage.ru_utime + usage.ru_stime) / count * 1e6


def run(lab: Lab) -> list[Figure]:
    request = lab.work / "request.json"
    request.write_text(json.dumps(TEXT))
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with lab.ours() as ours, lab.webhook() as webhook, _ipa(lab) as ipa:
        messages = {
            kind: (
                client.call_message(f"bench.{kind}", TEXT),
                client.message("POST", f"/hooks/{kind}", request.read_bytes()),
            )
            for kind in CALLS
        }
        for number in range(-1, lab.rounds(24, 4)):
            if number == 0:
                found.clear()  # the first round is a warm-up
            for kind, (to_ours, to_webhook) in messages.items():
                calls = FRESH if kind == "python" else CALLS[kind]
                batches = [(ours, to_ours, CALLS[kind]), (webhook, to_webhook, calls)]
                found[kind].append(_alternately(batches, number))
                found["bare " + kind].append((found[kind][-1][0], _bare(kind, request)))
            status = client.message("GET", "/v1/status")
            batches = [(ours, status, 60), (ipa or ours, status, 60)]
            found["status"].append(_alternately(batches, number))
            to_fresh = client.call_message("bench.fresh", TEXT)
            found["fresh"].append((found["python"][-1][0], cpu_per_call(ours, to_fresh, FRESH)))
        raw = {"pss_mib_after_use": {server.name: server.pss_mib() for server in (ours, webhook, ipa) if server}}
    figures = [_figure("1", f"CPU of a call, {NAMES[kind]}; webhook", found, kind, t, s) for kind, t, s in PLUGINS]
    for kind in ("c", "bash"):
        # What the server adds to the plugin's cost, which in a virtual machine starting a program may dwarf.
        triples = zip(found[kind], found["bare " + kind], strict=True)
        found["added " + kind] = [(ours - bare, webhook - bare) for (ours, webhook), (_, bare) in triples]
        figures += [
            _figure("1", f"  the same, {NAMES[kind]}; bare spawn", found, "bare " + kind),
            _figure("1", f"  less the bare spawn, {NAMES[kind]}; webhook", found, "added " + kind),
        ]
    if ipa:
        figures.append(_figure("2", "CPU of GET /v1/status; IPA", found, "status", 0.5, 0.3))
    figures += [
        _figure("10", "Python plugin, warm; fresh interpreter, both through ours", found, "fresh", 0.1, 0.06),
        _figure("10", "  the same; fresh interpreter, bare spawn", found, "bare python"),
    ]
    figures[0].raw |= raw
    return figures


class _ipa:
    """IPA as a context manager, or None if it is not installed."""

    def __init__(self, lab: Lab) -> None:
        self._server = lab.new_ipa() if lab.ipa else None

    def __enter__(self) -> Server | None:
        return self._server.__enter__() if self._server else None

    def __exit__(self, *error: object) -> None:
        if self._server:
            self._server.stop()


def _alternately(batches: list[tuple[Server, bytes, int]], number: int) -> tuple[float, float]:
    """Measure both, alternating the order."""
    order = batches if number % 2 else batches[::-1]
    values = {id(batch): cpu_per_call(*batch) for batch in order}
    return values[id(batches[0])], values[id(batches[1])]


def _bare(kind: str, request: os.PathLike[str]) -> float:
    if kind == "python":
        plugin = str(BUILT / "plugins/bench.python")
        argv = ["/bin/sh", "-c", f'exec {BASE_PYTHON} "$0" <"$1"', plugin, str(request)]
        return median([cpu_of_command(argv, 1) for _ in range(3)])
    if kind == "bashlib":
        return 0.0
    return cpu_of_command([str(BUILT / "launch"), "100", str(request), str(BUILT / f"plugins/bench.{kind}")], 100)


def _figure(
    row: str,
    what: str,
    found: dict[str, list[tuple[float, float]]],
    key: str,
    target: float | None = None,
    stretch: float | None = None,
) -> Figure:
    pairs = found[key]
    ours, peer = (f"{median(pair[side] for pair in pairs):.0f} µs" for side in (0, 1))
    return Figure(row, what, ratio(pairs), target, stretch, "x", ours, peer, {"us": pairs})
