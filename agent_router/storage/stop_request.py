"""SIGTERM, which the agent sends on cancel and at the time limit, noticed where stopping is safe."""

import signal
from types import FrameType


class StopRequest:
    """Long loops check `asked` between chunks, and report how far they got."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
