"""libtorrent, where it is installed, and one session as a node in a provisioning network needs it: small and quiet."""

import importlib
import signal
from dataclasses import dataclass
from typing import Any

from agent_router import plugin

FIRST_PORT, PORTS = 6881, 100
WEB_SEED_REQUEST = (
    256 << 10
)  # with larger ones the origin would send the image to everybody, and peers had nothing to give

# Older ones cannot be told to write with plain pwrite(2), and others fail to truncate a block device.
OLDEST = (2, 1)
NEEDS = f"libtorrent {'.'.join(map(str, OLDEST))} or newer"
CURE = f'install it (pip install "libtorrent>={".".join(map(str, OLDEST))}"), or name an http source'


@dataclass(frozen=True)
class SessionLimits:
    """`upload_bps` bytes a second, 0 is unlimited; `listen` an address, "" is every one."""

    listen: str = ""
    port: int = FIRST_PORT
    connections: int = 60
    # Few peers served fast have pieces to give on sooner than many served slowly: of 16 machines the last was done
    # after 1.9 times the ideal time with 4, and 2.0 times with 8.
    upload_slots: int = 4
    upload_bps: int = 0


def make_session(lt: Any, limits: SessionLimits) -> Any:
    """The session. Its threads leave SIGTERM to the main thread."""
    params = lt.session_params()
    params.settings = session_settings(lt, limits)
    # Plain pread and pwrite: the others map or truncate what they write to, and a disk is neither mapped nor cut.
    params.disk_io_constructor = "posix_disk_io_constructor"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        return _listening(lt.session(params), limits)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listening(session: Any, limits: SessionLimits) -> Any:
    """Two sessions that begin at once can bind one port, and only one of them listens: without a port no tracker is
    asked. libtorrent looks for another one by itself only where binding fails."""
    for port in range(limits.port + 1, limits.port + PORTS):
        if session.listen_port():
            break
        session.apply_settings({"listen_interfaces": interfaces(limits.listen, port)})
    return session


def interfaces(listen: str, port: int) -> str:
    host = f"[{listen}]" if ":" in listen else listen
    return f"{host}:{port}" if host else f"0.0.0.0:{port},[::]:{port}"


def session_settings(lt: Any, limits: SessionLimits) -> dict[str, Any]:
    alerts = lt.alert.category_t
    return {
        "user_agent": "agent-router", "alert_queue_size": 2000,
        "alert_mask": alerts.error_notification | alerts.status_notification | alerts.storage_notification,
        "listen_interfaces": interfaces(limits.listen, limits.port),
        "max_retry_port_bind": PORTS, "listen_system_port_fallback": True,
        # Trackers, local discovery (LSD) and peer exchange (PEX): all of them within the data centre. No node is
        # announced to the internet, and no gateway is asked to open a port.
        "enable_lsd": True, "enable_dht": False, "enable_upnp": False, "enable_natpmp": False,
        "local_service_announce_interval": 15,
        "enable_outgoing_utp": False, "enable_incoming_utp": False,
        # The pieces are checked by their hashes and the image by its digest; the origin may have a CA of its own.
        "validate_https_trackers": False, "ssrf_mitigation": False, "no_connect_privileged_ports": False,
        "connections_limit": limits.connections, "unchoke_slots_limit": limits.upload_slots,
        # An image is there in less than the 15 and 30 s after which others are served by default.
        "unchoke_interval": 3, "optimistic_unchoke_interval": 6,
        "upload_rate_limit": limits.upload_bps, "ignore_limits_on_local_network": False,
        # There may be many nodes behind one address, and this one has two sessions.
        "allow_multiple_connections_per_ip": True, "announce_to_all_trackers": True,
        # So that they can be counted when all is there; Swarm.give() closes the useless ones.
        "close_redundant_connections": False,
        "min_reconnect_time": 2, "peer_connect_timeout": 5, "connection_speed": 100, "torrent_connect_boost": 60,
        "urlseed_max_request_bytes": WEB_SEED_REQUEST, "urlseed_pipeline_size": 1, "max_web_seed_connections": 1,
        "urlseed_wait_retry": 5, "urlseed_timeout": 10, "stop_tracker_timeout": 1, "tracker_completion_timeout": 10,
        # What comes faster than the disk writes waits in the network and not in memory: 30 MiB instead of 100 in all.
        # 640 KiB in flight from each peer are enough within a data centre; fewer pieces are requested twice.
        "max_queued_disk_bytes": 1 << 20, "recv_socket_buffer_size": 256 << 10, "max_out_request_queue": 40,
        "request_queue_time": 1, "max_peer_recv_buffer_size": 256 << 10, "send_buffer_watermark": 256 << 10,
        "max_metadata_size": 32 << 20, "max_peerlist_size": 1000, "file_pool_size": 4,
        "aio_threads": 1, "hashing_threads": 1,
    }  # fmt: skip


def load_libtorrent() -> Any:
    """The module; raises Incompatible("no_source") with what to do about it."""
    try:
        found = importlib.import_module("libtorrent")
    except ImportError:
        raise plugin.Incompatible("no_source", f"BitTorrent needs {NEEDS}, which is not installed: {CURE}") from None
    numbers = tuple(int(part) for part in found.version.split(".")[:2])
    if numbers < OLDEST:
        message = f"BitTorrent needs {NEEDS}; {found.version} is installed, which cannot write to a disk: {CURE}"
        raise plugin.Incompatible("no_source", message)
    return found
