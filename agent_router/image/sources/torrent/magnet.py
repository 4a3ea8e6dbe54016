"""A magnet link: a hash and where to ask. The torrent itself comes from the URL in `xs`, or from peers (BEP 9)."""

import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from agent_router import plugin
from agent_router.image.sources.torrent import metainfo
from agent_router.image.sources.torrent.metainfo import Metainfo
from agent_router.image.sources.torrent.session import SessionLimits, make_session

POLL_S = 0.05


def parse(lt: Any, link: str, name: str) -> Any:
    """libtorrent's add_torrent_params; raises InvalidRequest("bad_url")."""
    try:
        return lt.parse_magnet_uri(link)
    except RuntimeError as error:
        reason = str(error).partition(" [")[0]
        raise plugin.InvalidRequest("bad_url", f"{name} is not a magnet link of a torrent: {reason}") from None


def links(link: str, key: str, schemes: tuple[str, ...] = metainfo.WEB_SEEDS) -> list[str]:
    """The URLs that a magnet link has under `key`: xs is the torrent file, as and ws the image, tr a tracker."""
    found = urllib.parse.parse_qsl(urllib.parse.urlsplit(link).query)
    return metainfo.known((value for name, value in found if name.partition(".")[0] == key), schemes)


def servers(link: str) -> list[str]:
    """All URLs of a magnet link that show in which network its swarm is."""
    return [url for key in ("tr", "xs", "ws", "as") for url in links(link, key, metainfo.TRACKERS)]


def resolve(
    lt: Any, link: str, name: str, fetch: Callable[[str], bytes], limits: SessionLimits, patience_s: float, work: str
) -> Metainfo:
    """The torrent behind a magnet link; `fetch` gets a URL of `xs`."""
    params = parse(lt, link, name)
    found = _by_url(lt, params, link, name, fetch) or _by_peers(lt, params, name, limits, patience_s, work)
    found.peers = list(dict.fromkeys([*params.peers, *found.peers]))
    found.trackers = list(dict.fromkeys([*links(link, "tr", metainfo.TRACKERS), *found.trackers]))
    found.web_seeds = list(dict.fromkeys([*links(link, "ws"), *links(link, "as"), *found.web_seeds]))
    return found


def _by_url(lt: Any, params: Any, link: str, name: str, fetch: Callable[[str], bytes]) -> Metainfo | None:
    """The torrent of a URL in `xs`; None if there is none, or not the one that the link names."""
    for url in links(link, "xs"):
        try:
            found = metainfo.parse(lt, fetch(url), name)
        except plugin.Failed as error:
            plugin.log(f"{name}: the torrent file at the link's xs cannot be fetched: {error}", "warning")
            continue
        if same(found.info.info_hashes(), params.info_hashes):
            return found
        plugin.log(f"{name}: the torrent file at the link's xs is for another torrent", "warning")
    return None


def same(found: Any, wanted: Any) -> bool:
    """Every hash that the link names is that of the torrent."""
    first = not wanted.has_v1() or bool(found.has_v1() and found.v1 == wanted.v1)
    second = not wanted.has_v2() or bool(found.has_v2() and found.v2 == wanted.v2)
    return first and second


def _by_peers(lt: Any, params: Any, name: str, limits: SessionLimits, patience_s: float, work: str) -> Metainfo:
    session = make_session(lt, limits)
    flags = lt.torrent_flags
    params.save_path = work
    params.flags &= ~(flags.auto_managed | flags.paused)
    params.flags |= flags.default_dont_download
    handle = session.add_torrent(params)
    for peer in params.peers:
        handle.connect_peer(peer)
    try:
        give_up = time.monotonic() + patience_s
        while (info := handle.torrent_file()) is None:
            session.pop_alerts()
            if time.monotonic() > give_up:
                cure = "add xs=URL of its torrent file"
                message = f"{name}: no peer sent the torrent's metadata within {patience_s:g} s; {cure}"
                raise plugin.Failed("no_source", message)
            plugin.progress(0, None, "bytes", f"asking {handle.status(0).num_peers} peers for the torrent's metadata")
            time.sleep(POLL_S)
        # The addresses of those that called us are not where they listen.
        peers = [peer.ip for peer in handle.get_peer_info() if peer.flags & lt.peer_info.outgoing_connection]
        return metainfo.judge(info, name, trackers=[], web_seeds=[], peers=peers)
    finally:
        session.remove_torrent(handle)
        del handle, session
