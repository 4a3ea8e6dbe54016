"""The clock that deadlines and notes use: seconds since boot, unmoved by setting the time."""

import time


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
