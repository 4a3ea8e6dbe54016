"""The agent's processes in the guest: who they are, and how they die."""

import http.client
import re
import time

from pinned import ApiError, CommandFailed

from tests.support.rack import Guest

ROLES = ("supervisor", "runner", "front")
BACK_S = 120.0  # the whole agent starts again, emulated


def processes(guest: Guest) -> dict[str, int]:
    """Role to pid. The oldest of a role is the one that the supervisor started; others are its forks."""
    found: dict[str, int] = {}
    for line in guest.shell("ps -eo pid,args --sort=start_time,pid").splitlines():
        title = re.match(r"\s*(\d+) agent-router: (\w+)", line)
        if title and title[2] in ROLES:
            found.setdefault(title[2], int(title[1]))
    return found


def kill(guest: Guest, victims: tuple[str, ...], pids: dict[str, int]) -> None:
    """All at the same moment: none sees the other die and acts on it. A second later, so that we get our answer."""
    chosen = " ".join(str(pids[role]) for role in victims)
    guest.api.start("test.shell", {"script": f"sleep 1; kill -STOP {chosen}; kill -KILL {chosen}"})


def wait_for_new(guest: Guest, victims: tuple[str, ...], before: dict[str, int]) -> None:
    end = time.monotonic() + BACK_S
    now: dict[str, int] = {}
    while not all(now.get(role, before[role]) != before[role] for role in victims):
        assert time.monotonic() < end, f"not started again within {BACK_S:g} s: {before}, now {now}"
        time.sleep(0.5)
        try:
            now = processes(guest)
        except (OSError, http.client.HTTPException, ApiError, TimeoutError):
            now = {}
        except CommandFailed as error:  # this look was under way when they died
            assert "OutcomeUnknown" in str(error), error
            now = {}
    untouched = set(ROLES) - set(victims) if "supervisor" not in victims else set()
    assert {role: now[role] for role in untouched} == {role: before[role] for role in untouched}
