"""A whole image by one or more swarms of the same torrent: its bytes in order, each as soon as its piece is there."""

import random
import time
from collections import Counter
from typing import Any

from agent_router import plugin
from agent_router.image.sources.torrent.metainfo import Metainfo
from agent_router.image.sources.torrent.swarm import Swarm

POLL_S = 0.05
# A web seed is for what peers do not have. When all machines ask it at once, it sends most pieces many times, and
# leaves little bandwidth to a seeder beside it: the last of 16 machines was done after 2.6 times the ideal time, and
# after 1.9 times with web seeds as the last resort. Random, so that one machine can feed the others first.
QUIET_S = (2.0, 5.0)
QUIET_ALONE_S = 1.0  # where there is no peer
LITTLE = 1 << 20  # bytes; with fewer in that time, web seeds are asked
# Transmission and qBittorrent accept one connection per address. If a swarm that has all it wants keeps the one to the
# only seeder, the other swarm gets nothing.
STUCK_S = 2.0


class Download:
    """Together the swarms want every piece. Given up when `patience_s` have passed without a new byte."""

    def __init__(self, meta: Metainfo, name: str, patience_s: float) -> None:
        self.meta = meta
        self._name = name
        self._swarms: list[Swarm] = []
        self._patience_s = patience_s
        self._started = self._last_new = time.monotonic()
        self._most = 0
        self._quiet_s = min(random.uniform(*QUIET_S), patience_s / 2)
        self._quiet_since, self._had_then = self._started, 0
        self._web_seeds_asked = False
        self.not_fetched: dict[str, int] = {}  # bytes by reason, for stats()

    def add(self, swarm: Swarm) -> None:
        self._swarms.append(swarm)
        if self._web_seeds_asked:
            swarm.ask_web_seeds()

    def read(self, view: memoryview, offset: int, *, hurry: bool = False) -> None:
        """Fill `view` from `offset` of the image; waits for the pieces, which with `hurry` are asked for first."""
        while view:
            piece = offset // self.meta.piece_length
            swarm = next(swarm for swarm in self._swarms if piece in swarm.wanted)
            if hurry:
                swarm.hurry(piece)
            self._wait(swarm, piece)
            count = min(self.meta.span(piece)[1] - offset, len(view))
            swarm.read(view[:count], offset)
            view, offset = view[count:], offset + count

    def _wait(self, swarm: Swarm, piece: int) -> None:
        while not swarm.have(piece):
            self.poll()
            self._check_patience()
            plugin.progress(min(self.done, self.meta.size - 1), self.meta.size, "bytes", self._message())
            time.sleep(POLL_S)

    def poll(self) -> None:
        for swarm in self._swarms:
            swarm.poll()
        if self.done > self._most:
            self._most, self._last_new = self.done, time.monotonic()
        if not self._web_seeds_asked:
            self._ask_web_seeds_when_quiet()
        if time.monotonic() - self._last_new > STUCK_S and self.done < self.meta.size:
            for swarm in self._swarms:
                swarm.make_way()

    def _ask_web_seeds_when_quiet(self) -> None:
        now = time.monotonic()
        if self._most - self._had_then >= LITTLE or self.done == self.meta.size:
            self._quiet_since, self._had_then = now, self._most
        elif now - self._quiet_since > (self._quiet_s if self.peers else min(self._quiet_s, QUIET_ALONE_S)):
            self._web_seeds_asked = True
            for swarm in self._swarms:
                swarm.ask_web_seeds()

    @property
    def done(self) -> int:
        """Bytes of the image that are there; a piece with a wrong hash is subtracted again."""
        return sum(swarm.done for swarm in self._swarms)

    def _check_patience(self) -> None:
        if time.monotonic() - self._last_new < self._patience_s:
            return
        seconds = f"{self._patience_s:g} s"
        trouble = next((f"; {swarm.trouble}" for swarm in self._swarms if swarm.trouble), "")
        if self._most:
            message = f"no new byte for {seconds} after {self._most} of {self.meta.size}"
            raise plugin.Failed("connection_lost", f"{self._name}: {message}{trouble}")
        asked = f"{len(self.meta.trackers)} trackers, {len(self.meta.web_seeds)} web seeds and the local network"
        message = f"no peer sent a byte within {seconds}; {asked} were asked{trouble}"
        raise plugin.Failed("no_source", f"{self._name}: {message}")

    def _message(self) -> str:
        rate = self._most / max(time.monotonic() - self._started, 0.001) / (1 << 20)
        return f"{rate:.1f} MiB/s from {self.peers} peers"

    @property
    def peers(self) -> int:
        return sum(swarm.peers for swarm in self._swarms)

    @property
    def uploaded(self) -> int:
        return sum(swarm.uploaded for swarm in self._swarms)

    def linger(self, seconds: float, ratio: float) -> None:
        """Serve peers for that time, or until `ratio` images were given away."""
        give_up = time.monotonic() + seconds
        for swarm in self._swarms:
            swarm.give()
        while (left := give_up - time.monotonic()) > 0 and self.uploaded < ratio * self.meta.size:
            self.poll()
            given = f"{self.uploaded / (1 << 20):.1f} MiB given to {self.peers} peers, {left:.0f} s left"
            plugin.progress(round(seconds - left, 1), seconds, "s", f"seeding: {given}")
            time.sleep(POLL_S)

    def stats(self) -> dict[str, Any]:
        self.poll()
        found: Counter[str] = Counter()
        for swarm in self._swarms:
            found.update(swarm.stats())
        return {**self.not_fetched, **found, "peers": self.peers}

    def close(self) -> None:
        for swarm in self._swarms:
            swarm.close()
