"""Row 6: 256 simultaneous clients. Row 7: GET /v1/status while 256 clients wait for 64 plugins."""

import json
import time
from collections import Counter

import client
from report import Figure, median, ratio
from rows_calls import TEXT
from servers import Lab, Server

CLIENTS, BURSTS = 256, 5
LIVE = 64


def run(lab: Lab) -> list[Figure]:
    return [*bursts(lab), status_under_load(lab)]


def bursts(lab: Lab) -> list[Figure]:
    last: list[tuple[float, float]] = []
    answers: dict[str, Counter[str]] = {"ours": Counter(), "webhook": Counter()}
    with lab.ours() as ours, lab.webhook() as webhook:
        to_ours = client.call_message("bench.c", TEXT)
        to_webhook = client.message("POST", "/hooks/c", json.dumps(TEXT).encode())
        pair = [(ours, to_ours), (webhook, to_webhook)]
        for server, data in pair:
            client.times_ms(server.port, data, 20)
        for number in range(BURSTS):
            order = pair if number % 2 else pair[::-1]
            found = {server.name: _burst(server, data, answers[server.name]) for server, data in order}
            last.append((found["ours"], found["webhook"]))
    good = answers["ours"]["200"]
    ours_ms, webhook_ms = (f"{median(pair[side] for pair in last) * 1e3:.0f} ms" for side in (0, 1))
    raw = {"last_s": last, "answers": {name: dict(found) for name, found in answers.items()}}
    total = CLIENTS * BURSTS
    return [
        Figure(
            "6",
            f"{CLIENTS} clients at once x{BURSTS}, unanswered",
            total - good,
            0,
            0,
            "",
            f"{good}/{total}",
            f"{answers['webhook']['200']}/{total}",
        ),
        Figure("6", "  last response; webhook", ratio(last), 1.5, 1.1, "x", ours_ms, webhook_ms, raw),
    ]


def _burst(server: Server, data: bytes, answers: Counter[str]) -> float:
    """Seconds until the last of the crowd has its response."""
    server.settle()
    crowd = client.Crowd(server.port, [data] * CLIENTS).run(60)
    crowd.close()
    answers.update("failed" if b"FAILED" in body else str(status) for status, _, body in crowd.answers)
    return max(seconds for _, seconds, _ in crowd.answers)


def status_under_load(lab: Lab) -> Figure:
    count = lab.rounds(400, 150)
    data = client.message("GET", "/v1/status")
    p99: list[tuple[float, float]] = []
    raw: list[dict[str, float]] = []
    refused = 0
    with lab.ours() as ours:
        client.times_ms(ours.port, data, 50)
        for number in range(lab.rounds(5, 3)):
            ours.settle()
            idle = client.times_ms(ours.port, data, count)
            waiting = [
                client.call_message("bench.sleep", {"seconds": 3}, f"wait=true&id=load-{number}-{index % LIVE}")
                for index in range(CLIENTS)
            ]
            crowd = client.Crowd(ours.port, waiting).run(0.5)
            live = len(ours.meter.pids(ours.process.pid))
            time.sleep(0.3)
            busy = client.times_ms(ours.port, data, count)
            still = CLIENTS - len(crowd.answers)
            crowd.run(30).close()
            refused += sum(value == float("inf") for value in busy) + sum(answer[0] != 200 for answer in crowd.answers)
            pair = client.percentile(busy, 0.99), client.percentile(idle, 0.99)
            p99.append(pair)
            raw.append(
                {
                    "busy_p99": pair[0],
                    "idle_p99": pair[1],
                    "busy_p50": busy[count // 2],
                    "worst": busy[-1],
                    "idle_p50": idle[count // 2],
                    "waiting": still,
                    "processes": live,
                }
            )
    ours_ms, idle_ms = (f"{median(pair[side] for pair in p99):.2f} ms" for side in (0, 1))
    what = f"GET status p99, {CLIENTS} wait for {LIVE} plugins; idle"
    return Figure(
        "7",
        what + (f" ({refused} REFUSED)" if refused else ""),
        ratio(p99),
        3,
        1.3,
        "x",
        ours_ms,
        idle_ms,
        {"rounds": raw, "refused": refused},
        good=not refused,
    )
