"""A server without ranges: after a broken connection all is read from the start, and what had come before is dropped.

Whether it was the same file, the server vouches (http_resume.check_whole) or a digest tells in the end.
"""

import http.client
import time

from agent_router import plugin
from agent_router.image.sources.http_body import Body
from agent_router.image.sources.http_resume import NoRange
from agent_router.image.sources.patience import Patience

SCRATCH = 1 << 18
# A server that always breaks off at the same place would be read for ever: it is given up when so many times of what is
# there was read again without bringing more. One that breaks off sooner costs nothing but time, which Patience counts.
MOST_READINGS = 3
# More is a hundredth more, else one that breaks off a few bytes later each time would be read for ever too.
WORTH = 100


class Again:
    """`behind` bytes of the body at hand had come before; `count` bytes were read more than once, in all."""

    def __init__(self, name: str, patience: Patience) -> None:
        self.behind = 0
        self.count = 0
        self._name, self._patience = name, patience
        self._furthest = 0
        self._in_vain = 0

    def start(self, offset: int) -> None:
        """A body from the start comes, `offset` bytes are there; raises NoRange if those before it brought nothing."""
        if offset > self._furthest + self._furthest // WORTH:
            self._furthest, self._in_vain = offset, 0
        if self._in_vain >= MOST_READINGS * self._furthest:
            raise NoRange("the server cannot resume (no Range) and broke off again and again before anything new came")
        self.behind = offset
        plugin.log(f"{self._name}: the server has no ranges, so the first {offset} bytes are read again", "warning")

    def drop(self, body: Body) -> None:
        """Take what had come before off `body`; raises IncompleteRead if it ends within that."""
        scratch = memoryview(bytearray(min(self.behind, SCRATCH)))
        while self.behind:
            began = time.monotonic()
            count = body.readinto(scratch[: self.behind])
            if count == 0:
                raise http.client.IncompleteRead(b"", self.behind)
            self.behind -= count
            self.count += count
            self._in_vain += count
            self._patience.excuse(count, time.monotonic() - began)
            self._patience.check(f"{self._name}: still reading again what had come before")
