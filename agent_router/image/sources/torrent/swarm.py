"""One torrent in one session, whose single file is mapped to a disk, a part of one, or a scratch file."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.image.sources.spec import shown
from agent_router.image.sources.torrent.metainfo import Metainfo
from agent_router.image.sources.torrent.session import SessionLimits, make_session

FILE = "image"
TOP, NORMAL, LEFT_OUT = 7, 4, 0  # libtorrent's priorities of a piece
REMOVE_PATIENCE_S = 5.0
SHOWN = 3  # troubles in one sentence


class Counter:
    """A total of bytes, from a counter of libtorrent that restarts at 0 when a connection ends or a torrent pauses."""

    def __init__(self) -> None:
        self._before = self._now = 0

    def see(self, now: int) -> None:
        if now < self._now:
            self._before += self._now
        self._now = now

    @property
    def total(self) -> int:
        return self._before + self._now


class Swarm:
    """Fetch the `wanted` pieces into `device`, serve what is there; poll() regularly, close() in the end.
    Pieces that it is known to `have` are not fetched.

    Without a device, into a sparse file in a new directory below `work`.
    """

    def __init__(
        self,
        lt: Any,
        meta: Metainfo,
        device: str | None,
        wanted: Iterable[int],
        limits: SessionLimits,
        work: str,
        have: Set[int] = frozenset(),
    ) -> None:
        self._lt = lt
        self.meta = meta
        self.wanted = frozenset(wanted)
        self._directory = Path(tempfile.mkdtemp(prefix="torrent-", dir=work))
        file = self._directory / FILE
        if device is not None:
            file.symlink_to(os.path.abspath(device))
        self._fd = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._session = make_session(lt, limits)
        self._handle = self._session.add_torrent(self._parameters(have))
        for peer in meta.peers:
            self._handle.connect_peer(peer)
        self._made_way = False
        self._wrong = 0
        self._troubles: dict[str, str] = {}
        self._failure: plugin.Failed | None = None
        self._received, self._given = Counter(), Counter()
        self._by_web_seed: dict[Any, Counter] = {}  # by address
        self._status: Any = None
        self.poll()

    def _parameters(self, have: Set[int]) -> Any:
        meta, flags = self.meta, self._lt.torrent_flags
        params = self._lt.add_torrent_params()
        params.ti = meta.info
        params.save_path = str(self._directory)
        params.renamed_files = {0: FILE}
        params.trackers = meta.trackers  # web seeds are asked later, by ask_web_seeds()
        params.storage_mode = self._lt.storage_mode_t.storage_mode_sparse
        params.piece_priorities = [NORMAL if piece in self.wanted else LEFT_OUT for piece in range(meta.pieces)]
        params.flags &= ~(flags.auto_managed | flags.paused)
        params.flags |= flags.override_trackers | flags.override_web_seeds
        if have:
            params.have_pieces = [piece in have for piece in range(meta.pieces)]
            params.flags |= flags.no_verify_files  # a disk does not have the size of the file
        return params

    @property
    def port(self) -> int:
        return int(self._session.listen_port())

    def connect(self, address: str, port: int) -> None:
        self._handle.connect_peer((address, port))

    def ask_web_seeds(self) -> None:
        for url in self.meta.web_seeds:
            self._handle.add_url_seed(url)

    def poll(self) -> None:
        """Process events; raises Failed("write_failed") when the disk failed."""
        for alert in self._session.pop_alerts():
            kind = type(alert).__name__
            if kind in ("file_error_alert", "torrent_error_alert"):
                self._failure = plugin.Failed("write_failed", f"libtorrent could not go on: {alert.error.message()}")
            else:
                self._note(kind, alert)
        if self._failure is not None:
            raise self._failure
        self._status = self._handle.status(0)
        self._received.see(self._status.total_payload_download)
        self._given.see(self._status.total_payload_upload)
        self._count_connections()

    def _note(self, kind: str, alert: Any) -> None:
        """Remember what may explain that no byte comes. The alert's own text shows the URL with its secrets."""
        if kind == "hash_failed_alert":
            self._wrong += 1
        elif kind == "url_seed_alert":
            self._troubles[shown(alert.server_url())] = alert.error_message() or alert.error.message()
        elif kind == "tracker_error_alert":
            self._troubles[shown(alert.url)] = alert.error_message() or alert.error.message()

    @property
    def trouble(self) -> str:
        """Why no byte may come, as far as known."""
        found = [f"{self._wrong} pieces did not match their hash"] if self._wrong else []
        return "; ".join(found + [f"{url}: {reason}" for url, reason in list(self._troubles.items())[-SHOWN:]])

    def _count_connections(self) -> None:
        # Peers come and go between two polls, so what they gave is the remainder.
        for peer in self._handle.get_peer_info():
            if peer.connection_type == self._lt.peer_info.web_seed:
                self._by_web_seed.setdefault(peer.ip, Counter()).see(peer.total_download)

    def have(self, piece: int) -> bool:
        return bool(self._handle.have_piece(piece))

    def hurry(self, piece: int) -> None:
        """Somebody waits for this piece."""
        self._handle.piece_priority(piece, TOP)

    def read(self, view: memoryview, offset: int) -> None:
        """Fill `view` with what lies at `offset` of the image, of pieces that are there."""
        while view:
            count = os.preadv(self._fd, [view], offset)
            if count == 0:
                raise plugin.Failed("write_failed", f"what was written at byte {offset} cannot be read back")
            view, offset = view[count:], offset + count

    def give(self) -> None:
        """Keep only connections to peers that want something."""
        self._session.apply_settings({"close_redundant_connections": True})

    def make_way(self) -> None:
        """Once, if everything wanted is there: hang up. Peers that want something reconnect, seeders do not."""
        if self.complete and not self._made_way:
            self._made_way = True
            self.give()
            self._handle.pause()
            self._handle.resume()

    @property
    def complete(self) -> bool:
        """All wanted pieces are there and verified."""
        return bool(self._status.is_finished)

    @property
    def done(self) -> int:
        """Bytes of the wanted pieces that are there."""
        return int(self._status.total_wanted_done)

    @property
    def uploaded(self) -> int:
        return self._given.total

    @property
    def peers(self) -> int:
        """Connected peers, without web seeds."""
        return int(self._status.num_peers) - self._web_seeds_connected()

    def _web_seeds_connected(self) -> int:
        return sum(peer.connection_type == self._lt.peer_info.web_seed for peer in self._handle.get_peer_info())

    def stats(self) -> dict[str, int]:
        """Bytes received by kind of peer, wasted, and given away."""
        web = sum(counter.total for counter in self._by_web_seed.values())
        peers = max(self._received.total - web, 0)
        return {
            "bytes_by_web_seeds": web,
            "bytes_by_peers": peers,
            "bytes_given": self.uploaded,
            "bytes_wasted": int(self._status.total_redundant_bytes + self._status.total_failed_bytes),
        }

    def close(self) -> None:
        """End the session: nothing is written any more when this returns."""
        if self._session is None:
            return
        self._session.remove_torrent(self._handle)
        give_up = time.monotonic() + REMOVE_PATIENCE_S
        while time.monotonic() < give_up:
            self._session.wait_for_alert(100)
            if any(type(alert).__name__ == "torrent_removed_alert" for alert in self._session.pop_alerts()):
                break
        self._session = self._handle = None  # its destructor waits for its threads
        os.close(self._fd)
        shutil.rmtree(self._directory, ignore_errors=True)
