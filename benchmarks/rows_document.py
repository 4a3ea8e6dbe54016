"""Row 13: a valid document of 100 KB, and how long one large document delays other clients."""

import json
import threading
import time
from typing import Any

import client
from report import Figure, median
from servers import Lab, Server

MIB = 1 << 20
CAP_MIB = 8


def document(size: int) -> dict[str, Any]:
    """A valid request of about `size` bytes."""
    item = {"name": "item-000000", "size": 4096, "tags": ["one", "two", "three"]}
    count = max(1, (size - 200) // (len(json.dumps(item)) + 2))
    return {"items": [{**item, "name": f"item-{number:06d}"} for number in range(count)]}


def large(size: int) -> dict[str, bytes]:
    """Requests of about `size` bytes that are expensive in different ways."""
    valid = document(size)
    broken = document(size)
    broken["items"][-1]["size"] = "much"
    all_wrong = {"items": [1] * (size // 3 - 100)}
    text = client.call_message("bench.document", valid)
    strings = {"items": [{"name": "x" * (size - 400), "size": 1, "tags": []}]}
    return {
        "valid": text,
        "echoed": client.call_message("bench.bigecho", valid),
        "one thing wrong": client.call_message("bench.document", broken),
        "all wrong": client.call_message("bench.document", all_wrong),
        "one long string": client.call_message("bench.document", strings),
        "not JSON": text[:-2] + b"!!",
        "numbers": client.call_message("bench.document", {"items": [0.5] * (size // 5 - 100)}),
    }


def run(lab: Lab) -> list[Figure]:
    raw: dict[str, Any] = {}
    with lab.ours() as ours:
        small = client.call_message("bench.document", document(100_000))
        tiny = client.call_message("bench.document", document(300))
        client.times_ms(ours.port, small, 5)
        rounds = lab.rounds(40, 20)
        times, tiny_times = (client.times_ms(ours.port, data, rounds) for data in (small, tiny))
        sizes = (5, CAP_MIB - 0.1)
        for size in sizes:
            for name, data in large(int(size * MIB)).items():
                raw[f"{name}, {size:g} MiB"] = _pauses(ours, data, lab.rounds(3, 1))
    answers = [name for name in raw if "echoed" in name]
    worst, answer = (max(names, key=lambda name: raw[name]["worst"]) for names in (raw.keys() - answers, answers))
    valid = max(raw[name]["worst"] for name in raw if name.startswith("valid,"))
    return [
        Figure(
            "13",
            f"valid document of {len(small) // 1000} KB, response time",
            median(times),
            5,
            2.5,
            "ms",
            f"tiny one {median(tiny_times):.1f} ms",
            raw={"ms": times, "tiny_ms": tiny_times},
        ),
        Figure(
            "13",
            f"  longest delay caused by one request ({worst})",
            raw[worst]["worst"],
            50,
            20,
            "ms",
            f"valid: {valid:.0f} ms",
            raw=raw,
        ),
        Figure("13", f"  longest delay caused by one response ({answer})", raw[answer]["worst"], 50, 20, "ms"),
    ]


def _pauses(server: Server, data: bytes, rounds: int) -> dict[str, Any]:
    """Longest GET /v1/status (ms) while the document is processed, the processing time, and its status."""
    found: dict[str, Any] = {"pauses": [], "took_ms": [], "status": []}
    status = client.message("GET", "/v1/status")
    for _ in range(rounds):
        server.settle()
        worker = threading.Thread(target=_post, args=(server.port, data, found))
        pauses = []
        worker.start()
        while worker.is_alive():
            begin = time.perf_counter()
            client.send(server.port, status)
            pauses.append((time.perf_counter() - begin) * 1e3)
        worker.join()
        found["pauses"].append(round(max(pauses), 1))
    return {**found, "worst": max(found["pauses"])}


def _post(port: int, data: bytes, found: dict[str, Any]) -> None:
    begin = time.perf_counter()
    try:
        found["status"].append(client.send(port, data)[0])
    except OSError as error:
        found["status"].append(str(error))
    found["took_ms"].append(round((time.perf_counter() - begin) * 1e3))
