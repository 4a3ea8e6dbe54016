"""How long to go on trying: bounded by the time without progress, not by the number of tries."""

import threading
import time
from types import TracebackType

from agent_router import plugin

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
# A server that gives less than this in patience_s, however regularly, will not give the image in a week.
MIN_BYTES_PER_S = 4096


class RetryBudget:
    """Counts the seconds spent in `with budget:` since enough bytes came.

    Time outside does not count: the server is not to blame for a slow disk.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._enough_bytes = max(int(limit_s * MIN_BYTES_PER_S), 1)
        self._got_bytes = 0
        self._spent_s = 0.0
        self._since = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._stopped = threading.Event()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spent_s += time.monotonic() - self._since

    @property
    def timeout_s(self) -> float:
        """For one operation of a socket: a third, so that a silent server is tried again before the end."""
        return max(self.limit_s / 3, 0.1)

    def left_s(self) -> float:
        return self.limit_s - self._spent_s - (time.monotonic() - self._since)

    def got(self, count: int) -> None:
        """New bytes of the image have come."""
        self._got_bytes += count
        self._pause_s = FIRST_PAUSE_S
        if self._got_bytes >= self._enough_bytes:
            self._got_bytes, self._spent_s, self._since = 0, 0.0, time.monotonic()

    def excuse(self, count: int, seconds: float) -> None:
        """`count` bytes that were there already came again in `seconds`: neither progress nor silence."""
        self._spent_s -= min(seconds, count / MIN_BYTES_PER_S)

    def check(self, trouble: str) -> None:
        """Raise Failed("connection_lost") if it is at its end."""
        if self.left_s() <= 0:
            raise self._over(trouble)

    def wait(self, trouble: str, at_least_s: float = 0.0) -> None:
        """Pause before the next try; raises Failed("connection_lost") if there is no time left for one."""
        left_s = self.left_s()
        if left_s <= 0:
            raise self._over(trouble)
        plugin.log(trouble, "warning")
        self._stopped.wait(min(max(self._pause_s, at_least_s), left_s))
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def stop(self) -> None:
        """No more retries; called by another thread than the one that waits."""
        self._stopped.set()

    def refuse_stopped(self, name: str) -> None:
        if self._stopped.is_set():
            raise plugin.Failed("stopped", f"{name}: given up")

    def _over(self, trouble: str) -> plugin.Failed:
        came = f"only {self._got_bytes} new bytes" if self._got_bytes else "no new byte"
        return plugin.Failed("connection_lost", f"{trouble}; {came} for {self.limit_s:g} s")
