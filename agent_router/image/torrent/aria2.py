"""The engine.Engine that aria2 is: it takes a torrent as a whole only, and knows no version 2."""

import base64
import os
import time
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.image.torrent import magnet, plain_metainfo
from agent_router.image.torrent.aria2_process import Aria2Process
from agent_router.image.torrent.engine import Fetch, read_back
from agent_router.image.torrent.metainfo import Metainfo
from agent_router.image.torrent.session import Limits

FILE = "image"
POLL_S = 0.2
# aria2c(1), EXIT STATUS: not enough space, and files that cannot be opened, made, written.
DISK_ERRORS = {"9", "14", "15", "16", "17", "18"}
KEYS = ["status", "completedLength", "uploadLength", "numSeeders", "connections", "bitfield", "errorCode",
        "errorMessage"]  # fmt: skip


class Aria2:
    name = "aria2"
    picks = False

    def parse(self, content: bytes, name: str) -> Metainfo:
        return plain_metainfo.parse(content, name)

    def resolve(self, link: str, name: str, fetch: Fetch, limits: Limits, patience_s: float, work: str) -> Metainfo:
        wanted = magnet.version_1(link, name)
        found = magnet.by_url(link, name, fetch, self.parse, lambda meta: bool(meta.info.info_hash == wanted))
        if found is None:
            found = self.parse(_from_peers(link, name, limits, patience_s, work), name)
        return magnet.completed(found, link)

    def swarm(
        self,
        meta: Metainfo,
        path: str | None,
        wanted: Iterable[int],
        limits: Limits,
        work: str,
        have: Set[int] = frozenset(),
    ) -> "Aria2Swarm":
        return Aria2Swarm(meta, path, limits, work)


class Aria2Swarm:
    """An engine.Swarm of all pieces."""

    def __init__(self, meta: Metainfo, path: str | None, limits: Limits, work: str) -> None:
        self.meta = meta
        self.wanted = frozenset(range(meta.pieces))
        self._process = Aria2Process(limits, work)
        file = self._process.directory / FILE
        if path is not None:
            file.symlink_to(os.path.abspath(path))
        self._fd = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._state: dict[str, Any] = {}
        self._bitfield = b""
        self._polled = 0.0
        try:
            self._gid = self._add(meta)
            self.poll()
        except BaseException:
            self.close()
            raise

    def _add(self, meta: Metainfo) -> Any:
        content = base64.b64encode(meta.info.content).decode()
        more = {"index-out": f"1={FILE}", "bt-tracker": ",".join(meta.trackers)}
        return self._process.call("aria2.addTorrent", content, meta.web_seeds, more)

    def poll(self) -> None:
        now = time.monotonic()
        if now - self._polled < POLL_S:
            return
        self._polled = now
        try:
            self._state = self._process.call("aria2.tellStatus", self._gid, KEYS)
        except ConnectionError:
            message = f"aria2c is gone: {self._process.last_words()}"
            raise plugin.Failed("connection_lost", message) from None
        self._bitfield = bytes.fromhex(self._state.get("bitfield", ""))
        if self._state["status"] == "error":
            code = "write_failed" if self._state.get("errorCode") in DISK_ERRORS else "connection_lost"
            raise plugin.Failed(code, f"aria2c could not go on: {self.trouble}")

    def have(self, piece: int) -> bool:
        self.poll()
        return piece >> 3 < len(self._bitfield) and bool(self._bitfield[piece >> 3] & (0x80 >> (piece & 7)))

    def hurry(self, piece: int) -> None:
        """It cannot be told."""

    def read(self, view: memoryview, offset: int) -> None:
        read_back(self._fd, view, offset)

    def ask_web_seeds(self) -> None:
        """It does so from the beginning."""

    def give(self) -> None:
        """It does so all the time."""

    def make_way(self) -> None:
        """There is no other."""

    @property
    def trouble(self) -> str:
        return str(self._state.get("errorMessage") or "")

    @property
    def done(self) -> int:
        return int(self._state.get("completedLength", 0))

    @property
    def uploaded(self) -> int:
        return int(self._state.get("uploadLength", 0))

    @property
    def peers(self) -> int:
        return int(self._state.get("connections", 0))

    def stats(self) -> dict[str, int]:
        self._polled = 0.0
        self.poll()
        return {"bytes_given": self.uploaded}

    def close(self) -> None:
        self._process.close()
        os.close(self._fd)


def _from_peers(link: str, name: str, limits: Limits, patience_s: float, work: str) -> bytes:
    """The torrent file behind a link, of what peers tell."""
    process = Aria2Process(limits, work)
    try:
        options = {"bt-metadata-only": "true", "bt-save-metadata": "true"}
        gid = process.call("aria2.addUri", [link], options)
        give_up = time.monotonic() + patience_s
        while not (made := list(Path(process.directory).glob("*.torrent"))):
            state = process.call("aria2.tellStatus", gid, KEYS)
            if time.monotonic() > give_up or state["status"] == "error":
                message = f"{name}: nobody told what it is within {patience_s:g} s; add xs=URL of its torrent file"
                raise plugin.Failed("no_source", message)
            plugin.progress(0, None, "bytes", f"asking {state.get('connections', 0)} peers what the link means")
            time.sleep(POLL_S)
        return made[0].read_bytes()
    except ConnectionError:
        raise plugin.Failed("no_source", f"{name}: aria2c is gone: {process.last_words()}") from None
    finally:
        process.close()
