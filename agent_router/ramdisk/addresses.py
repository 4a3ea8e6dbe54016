"""The addresses by which others reach this machine."""

import subprocess
import time

INTERVAL_S = 0.2


def present() -> list[str]:
    """Global addresses of all interfaces, IPv4 first; without those that are still being checked for duplicates."""
    done = subprocess.run(
        ["ip", "-oneline", "address", "show", "scope", "global", "-tentative", "-deprecated"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return parse(done.stdout)


def parse(text: str) -> list[str]:
    """From lines like "2: eth0    inet 192.0.2.7/24 brd …"."""
    fields = [line.split() for line in text.splitlines()]
    found = [(row[2], row[3].split("/")[0]) for row in fields if len(row) > 3 and row[2] in {"inet", "inet6"}]
    return [address for _, address in sorted(found, key=lambda one: one[0])]


def wait(patience_s: float) -> list[str]:
    """As soon as there is one; [] if there is none in time."""
    give_up = time.monotonic() + patience_s
    while True:
        found = present()
        if found or time.monotonic() > give_up:
            return found
        time.sleep(INTERVAL_S)
