"""Row 4: growth after 10,000 commands and 10,000 more. Row 12: GET of a history of 10,000."""

import itertools
import json
import time

import client
import meters
from report import Figure, median
from rows_calls import TEXT
from servers import Lab, Server

COMMANDS, CLIENTS = 10_000, 8


def run(lab: Lab) -> list[Figure]:
    with lab.ours() as ours:
        call = client.call_message("bench.c", TEXT)
        client.times_ms(ours.port, call, 50)
        client.get(ours.port, "/v1/commands/")
        ours.settle()
        sizes = [_size(ours)]
        begin = time.perf_counter()
        _many(ours, call, COMMANDS - 51)
        seconds = time.perf_counter() - begin
        ours.settle()
        sizes.append(_size(ours))
        _many(ours, call, COMMANDS)
        ours.settle()
        sizes.append(_size(ours))
        _many(ours, call, 16)  # the history may exceed its limit by a quarter; this trims it again
        listing, count, length = _listing_ms(ours, lab.rounds(15, 7))
    grown = [sum(size.values()) - sum(sizes[0].values()) for size in sizes[1:]]
    raw = {"mib": sizes, "commands_per_s": COMMANDS / seconds, "listing_bytes": length, "listing_ms": listing}
    parts = [
        "processes {:+.1f}, state {:+.1f}".format(*(now[key] - before[key] for key in now))
        for before, now in itertools.pairwise(sizes)
    ]
    return [
        Figure("4", f"growth after {COMMANDS:,} commands", grown[0], 4, 3, "MiB", parts[0], raw=raw),
        Figure("4", f"  and after {COMMANDS:,} more (flat)", grown[1] - grown[0], 1, 0.5, "MiB", parts[1]),
        Figure("12", f"GET of a history of {count:,}", median(listing), 2, 0.5, "ms", f"{length / 2**20:.1f} MiB"),
    ]


def _many(server: Server, call: bytes, count: int) -> None:
    """Make `count` calls, CLIENTS at a time."""
    for _ in range(-(-count // CLIENTS)):
        crowd = client.Crowd(server.port, [call] * CLIENTS).run(60)
        crowd.close()
        if any(status != 200 or b"SUCCEEDED" not in body for status, _, body in crowd.answers):
            raise RuntimeError(f"a call failed: {crowd.answers[-1]}")


def _size(server: Server) -> dict[str, float]:
    return {
        "processes": meters.pss_kib(server.pids()) / 1024,
        "state": meters.tmpfs_bytes(server.state) / 2**20,
    }


def _listing_ms(server: Server, rounds: int) -> tuple[list[float], int, int]:
    """CPU ms of each GET, number of commands in the response, its size in bytes."""
    found = []
    for _ in range(rounds + 1):
        before = server.cpu()
        status, body = client.get(server.port, "/v1/commands/")
        time.sleep(0.02)
        found.append((server.cpu() - before) * 1e3)
        if status != 200:
            raise RuntimeError(f"the listing returned {status}")
    return found[1:], len(json.loads(body)["commands"]), len(body)
