"""StopRequest at SIGTERM: the agent's cancel and time limit, seen at points where stopping is safe."""

import signal
from types import FrameType


class StopRequest:
    """Set by SIGTERM; long loops look at it between two chunks and then tell how far they came."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
