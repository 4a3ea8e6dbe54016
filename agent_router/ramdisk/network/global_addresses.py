"""The global addresses by which others reach this machine."""

import subprocess
import time

INTERVAL_S = 0.2


def present() -> list[str]:
    """Global addresses of all interfaces, IPv4 first; without those still in duplicate address detection."""
    return parse(_shown())


def interfaces() -> set[str]:
    """The names of the interfaces that have such an address."""
    return {row[1] for row in _rows(_shown())}


def parse(text: str) -> list[str]:
    """From lines such as "2: eth0    inet 192.0.2.7/24 brd …"."""
    found = [(row[2], row[3].split("/")[0]) for row in _rows(text)]
    return [address for _, address in sorted(found, key=lambda one: one[0])]


def _rows(text: str) -> list[list[str]]:
    fields = [line.split() for line in text.splitlines()]
    return [row for row in fields if len(row) > 3 and row[2] in {"inet", "inet6"}]


def _shown() -> str:
    return subprocess.run(
        ["ip", "-oneline", "address", "show", "scope", "global", "-tentative", "-deprecated"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


def wait(patience_s: float) -> list[str]:
    """As soon as there is an address; [] if there is none in time."""
    give_up = time.monotonic() + patience_s
    while True:
        found = present()
        if found or time.monotonic() > give_up:
            return found
        time.sleep(INTERVAL_S)
