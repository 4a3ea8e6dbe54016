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
PARKED = 1000
ROUTES = (
    "/",
    "/v1/",
    "/v1/status",
    "/v1/commands/",
    "/v1/methods",
    "/v1/methods/bench.sleep",
    "/v1/steps",
    "/openapi.json",
)


def run(lab: Lab) -> list[Figure]:
    return [*bursts(lab), status_under_load(lab), other_routes(lab)]


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


def other_routes(lab: Lab) -> Figure:
    """The slowest median of any other route, a cancel included, while PARKED clients wait on POST /v1/methods/NAME."""
    body = json.dumps({"seconds": 20}).encode()
    with lab.ours() as ours:
        for path in ROUTES:  # the first answer of some reads every manifest
            client.times_ms(ours.port, client.message("GET", path), 2)
        waiting = [
            client.message("POST", f"/v1/methods/bench.sleep?id=parked-{index % LIVE}", body) for index in range(PARKED)
        ]
        crowd = client.Crowd(ours.port, waiting).run(3)
        still = PARKED - len(crowd.answers)
        found = {path: median(client.times_ms(ours.port, client.message("GET", path), 15)) for path in ROUTES}
        cancels = [client.message("DELETE", f"/v1/commands/parked-{index}") for index in range(LIVE)]
        found["DELETE"] = median(client.times_ms(ours.port, data, 1, good=202)[0] for data in cancels)
        crowd.run(60).close()
    slowest = max(found, key=lambda path: found[path])
    what = f"{PARKED} wait on POST /v1/methods/NAME; slowest of the other routes"
    detail = f"{slowest}; {still} waited"
    return Figure("7", what, found[slowest], 50, 20, "ms", detail, "", {"median_ms": found}, good=still == PARKED)
