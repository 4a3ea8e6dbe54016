"""The server's seeder: libtorrent gives every image to peers that ask, read from the published files."""

from pathlib import Path
from typing import Any

from agent_router.image.sources.torrent.session import SessionLimits, load_libtorrent, make_session
from agent_router.seed.scan import ScannedImage

# What goes to many at once arrives late and is sent twice: with 2 slots the last of 16 machines was done after 1.75 to
# 1.9 times the ideal time and 1.45 to 1.5 images were sent; with 4 it was 1.9 to 2.1 and 1.65 to 1.8.
CONNECTIONS, SLOTS = 400, 2


class Seeder:
    """Seeds until close(). Raises plugin.Incompatible where libtorrent is missing."""

    def __init__(self, listen: str, port: int, upload_bps: int) -> None:
        self._lt = load_libtorrent()
        limits = SessionLimits(listen, port, CONNECTIONS, SLOTS, upload_bps)
        self._session: Any = make_session(self._lt, limits)
        self._handles: list[Any] = []

    def add(self, image: ScannedImage, torrent: bytes) -> None:
        lt = self._lt
        params = lt.load_torrent_buffer(torrent)
        params.save_path = str(Path(image.path).resolve().parent)
        params.renamed_files = {0: image.path.resolve().name}
        params.url_seeds = []  # this server itself
        # Not hashed once more: the torrent was made of these bytes a moment ago.
        params.flags |= lt.torrent_flags.seed_mode | lt.torrent_flags.override_web_seeds
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        self._handles.append(self._session.add_torrent(params))

    @property
    def port(self) -> int:
        return int(self._session.listen_port())

    def poll(self) -> list[str]:
        """What went wrong since the last time, one sentence each."""
        bad = ("file_error_alert", "torrent_error_alert")
        return [alert.message() for alert in self._session.pop_alerts() if type(alert).__name__ in bad]

    def given(self) -> tuple[int, int]:
        """Bytes given away, peers connected."""
        states = [handle.status(0) for handle in self._handles]
        return sum(state.total_payload_upload for state in states), sum(state.num_peers for state in states)

    def close(self) -> None:
        """Sign off from the trackers and end."""
        self._handles.clear()
        self._session = None
