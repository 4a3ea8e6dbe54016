"""Wait for what a test expects. The time-outs are for hangs: a busy machine never reaches them."""

import socket
import time
from collections.abc import Callable
from typing import Any

HANG_S = 120.0
LOOK_S = 0.01


def wait_for(condition: Callable[[], Any], what: str = "what was expected", timeout_s: float = HANG_S) -> Any:
    """The value of `condition()` as soon as it is true."""
    give_up = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < give_up, f"not within {timeout_s:g} s: {what}"
        time.sleep(LOOK_S)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
