"""Row 5: CPU from start to first response. Row 3: memory when idle."""

import time
from collections import defaultdict

from report import Figure, median, ratio
from rows_calls import cpu_of_command
from servers import BASE_PYTHON, Lab, Server

Values = dict[str, list[float]]


def run(lab: Lab) -> list[Figure]:
    started: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    raw: dict[str, list[float]] = defaultdict(list)
    for number in range(-1, lab.rounds(11, 3)):
        if number == 0:  # the first round fills the page cache and writes byte code
            for found in (started, memory, raw):
                found.clear()
        started["python"].append(cpu_of_command([str(BASE_PYTHON), "-c", "pass"], 1) / 1e3)
        for name, new in (("ours", lab.ours), ("ipa", lab.new_ipa)):
            if name == "ours" or lab.ipa:
                _start(new(), started[name], memory[name], raw, name)
    if lab.ipa:
        _start(lab.new_ipa(lshw=False), raw["ipa_without_lshw"], raw["ipa_without_lshw_pss"], raw, "ipa_without_lshw")
    return _figures(started, memory, dict(raw))


def _start(server: Server, started: list[float], memory: list[float], raw: Values, name: str) -> None:
    """One isolated start: only this program shares pages with it."""
    wall, cpu = server.start()
    started.append(cpu * 1e3)
    raw[name + "_wall_ms"].append(wall * 1e3)
    time.sleep(1)
    raw[name + "_settled_cpu_ms"].append(server.cpu() * 1e3)
    memory.append(server.pss_mib())
    server.stop()


def _figures(started: Values, memory: Values, raw: Values) -> list[Figure]:
    ours, python = (f"{median(started[name]):.0f} ms" for name in ("ours", "python"))
    to_python = ratio(list(zip(started["ours"], started["python"], strict=True)))
    raw = {**started, **raw}
    figures = [Figure("5", "CPU to start; python3 -c pass", to_python, 18, 14, "x", ours, python, raw)]
    if not memory["ipa"]:
        return figures
    to_ipa = ratio(list(zip(started["ours"], started["ipa"], strict=True)))
    pss = ratio(list(zip(memory["ours"], memory["ipa"], strict=True)))
    mib = {name: f"{median(values):.1f} MiB" for name, values in memory.items()}
    figures += [
        Figure("5", "CPU to start; IPA", to_ipa, 0.3, 0.22, "x", ours, f"{median(started['ipa']):.0f} ms"),
        Figure("3", "memory when idle (PSS); IPA", pss, 0.7, 0.55, "x", mib["ours"], mib["ipa"], {"pss_mib": memory}),
    ]
    return figures
