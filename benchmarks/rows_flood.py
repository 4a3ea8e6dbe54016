"""Row 9: a plugin that writes 1 GiB to standard output or error and records when it died."""

import json
import struct

import client
import meters
from report import Figure, median
from servers import Lab

MIB = 1 << 20
# stream: descriptor and limit in bytes, the defaults of docs/plugin-protocol.md
STREAMS = {"stdout": (1, 1 * MIB), "stderr": (2, 4 * MIB)}
TOTAL_MIB = 1024


def run(lab: Lab) -> list[Figure]:
    figures = []
    with lab.ours() as ours:
        pids = ours.pids()
        for stream, (fd, cap) in STREAMS.items():
            over, late, grown, peak = [], [], [], []
            for number in range(-1, lab.rounds(10, 4)):
                ours.settle()
                before, resident = meters.pss_kib(pids), meters.pss_kib(pids, "Rss")
                meters.reset_peak(pids)
                written, crossed, last = _flood(lab, ours.port, fd, cap, f"flood-{stream}-{number + 1}")
                if number < 0:
                    continue  # the very first one loads the modules needed to judge failures
                peak.append((meters.peak_rss_kib(pids) - resident) / 1024)
                ours.settle()
                grown.append((meters.pss_kib(pids) - before) / 1024)
                over.append((written - cap) / MIB)
                late.append((last - crossed) / 1e6)
            raw = {"over_mib": over, "ms": late, "pss_grown_mib": grown, "peak_grown_mib": peak}
            figures += [
                Figure(
                    "9",
                    f"1 GiB on {stream}, tmpfs over the cap (worst)",
                    max(over),
                    8,
                    4,
                    "MiB",
                    f"median {median(over):.1f}",
                    raw=raw,
                ),
                Figure(
                    "9",
                    f"  {stream}: from the cap to its death (worst)",
                    max(late),
                    20,
                    8,
                    "ms",
                    f"median {median(late):.1f}",
                ),
                Figure(
                    "9",
                    f"  {stream}: permanent growth of our memory",
                    max(0.0, median(grown)),
                    0.5,
                    0.2,
                    "MiB",
                    f"peak +{max(peak):.1f} MiB",
                ),
            ]
    return figures


def _flood(lab: Lab, port: int, fd: int, cap: int, id: str) -> tuple[int, int, int]:
    """Bytes written, and the times (ns) of crossing the cap and of the last write."""
    note = lab.work / "note"
    note.write_bytes(bytes(4096))
    params = {"fd": fd, "mib": TOTAL_MIB, "cap": cap, "note": str(note)}
    status, body = client.send(port, client.call_message("bench.flood", params, f"wait=true&id={id}"))
    answer = json.loads(body)
    if status != 200 or "Limit" not in str(answer["command_error"]):
        raise RuntimeError(f"flood returned {status}: {body[:300]!r}")
    written, crossed, last = struct.unpack("3Q", note.read_bytes()[:24])
    return written, crossed or last, last  # killed before it could record the crossing
