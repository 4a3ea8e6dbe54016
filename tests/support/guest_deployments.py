"""One image published in every way, and the guest that takes it in each of them onto a disk of its own."""

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine_parts import MIB, Disk

from tests.support.rack import Guest
from tests.support.tap_lan import GUEST, PREFIX, SERVER, TapLan
from tests.support.waiting import wait_for

PORTBASE = 9000  # of the first image; each further one has the next two ports
IQN = "iqn.2026-11.org.example:images"
LUN_MIB = 32  # larger than the image, as LUNs are
READY_S, EXPORT_S = 60.0, 60.0
# How it gets there, and the disk that it gets to; sizes that nobody else uses.
DISKS = {
    "http zst": Disk("BY-HTTP-ZST", 40), "http qcow2": Disk("BY-HTTP-QCOW2", 41), "torrent": Disk("BY-TORRENT", 42),
    "magnet": Disk("BY-MAGNET", 43), "multicast": Disk("BY-MULTICAST", 44), "iscsi": Disk("BY-ISCSI", 45),
    "iscsi export": Disk("BY-EXPORT", 46), "torrent zst": Disk("BY-TORRENT-ZST", 47),
}  # fmt: skip
LACKING = """
command -v udp-receiver >/dev/null || echo agent-router-multicast
command -v tgtd >/dev/null && command -v qemu-nbd >/dev/null || echo agent-router-iscsi
ls -d /opt/agent-router/lib/python3*/site-packages/libtorrent >/dev/null || echo agent-router-torrent
"""


@dataclass
class Publication:
    """agent-router seed with the image in three forms, and tgt with it as a LUN, on the servers' side of the LAN."""

    lan: TapLan
    work: Path
    raw: Path
    sha256: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.work.mkdir()
        names = ("disk.raw", "disk.raw.zst", "disk.qcow2")
        raw, packed, qcow2 = (self.work / name for name in names)
        shutil.copy(self.raw, raw)
        self.lan.run("zstd", "--quiet", raw, "-o", packed)
        self.lan.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, qcow2)
        self.sha256 = {name: hashlib.sha256((self.work / name).read_bytes()).hexdigest() for name in names}
        ways = seed(self.lan, self.log, raw, packed, qcow2, "--multicast", "--interface", self.lan.interface)
        assert ways == f"http://{SERVER}:8000/ by HTTP, BitTorrent (port 6881), multicast"
        self.target()

    @property
    def log(self) -> Path:
        return self.work / "seed.log"

    def magnet(self) -> str:
        """Of the raw image, without its web server: all of it, the torrent file too, has to come from peers."""
        links = [line.strip() for line in self.log.read_text().splitlines() if "magnet:?" in line]
        link = next(link for link in links if "dn=disk.raw&" in link)
        return "&".join(part for part in link.split("&") if not part.startswith(("ws=", "xs=")))

    def target(self) -> None:
        """tgtd with one LUN, for the guest alone."""
        lun = self.work / "lun"
        shutil.copy(self.raw, lun)
        os.truncate(lun, LUN_MIB * MIB)
        env = {**os.environ, "TGT_IPC_SOCKET": str(self.work / "tgt")}
        command = ("tgtd", "--foreground", "--iscsi", f"portal={SERVER}:3260")
        with (self.work / "tgtd.log").open("w") as log:
            # It ignores SIGTERM as long as it has a target.
            self.lan.start(*command, end=signal.SIGKILL, env=env, stdout=log, stderr=log)
        wait_for((self.work / "tgt.0").exists, "tgtd listens")
        admin, one = ("tgtadm", "--lld", "iscsi", "--op"), ("--tid", 1)
        self.lan.run(*admin, "new", "--mode", "target", *one, "--targetname", IQN, env=env)
        self.lan.run(*admin, "new", "--mode", "logicalunit", *one, "--lun", 1, "--backing-store", lun, env=env)
        self.lan.run(*admin, "bind", "--mode", "target", *one, "--initiator-address", GUEST, env=env)

    def request(self, way: str) -> dict[str, Any]:
        """What image.write is asked, but for the device."""
        url, multicast = f"http://{SERVER}:8000/disk", f"udpcast://:{PORTBASE + 2}"
        name, request = {
            "http zst": ("disk.raw.zst", {"sources": f"{url}.raw.zst", "format": "zst"}),
            "http qcow2": ("disk.qcow2", {"sources": f"{url}.qcow2", "format": "qcow2"}),
            "torrent": ("disk.raw", {"sources": f"{url}.raw.torrent"}),
            "torrent zst": ("disk.raw.zst", {"sources": f"{url}.raw.zst.torrent", "format": "zst"}),
            "magnet": ("disk.raw", {"sources": self.magnet()}),
            "multicast": ("disk.raw.zst", {"sources": multicast, "format": "zst", "patience_s": 60}),
            "iscsi": (
                "disk.raw",
                {
                    "sources": f"iscsi://{SERVER}/{IQN}/1",
                    "size_bytes": self.raw.stat().st_size,
                },
            ),
        }[way]
        return {**request, "digest": f"sha256:{self.sha256[name]}"}


@dataclass
class Deployments:
    """`disk(way)` is the disk with the image on it, got there once; `results` has the responses."""

    publication: Publication
    guest: Callable[[], Guest]  # running, whatever ran before
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    _disks: dict[str, Path] = field(default_factory=dict)

    def disk(self, way: str) -> Path:
        """A copy, which outlives the machine."""
        if way not in self._disks:
            guest = self.guest()
            interface = connect(guest)
            device = guest.device(DISKS[way].serial)
            if way == "iscsi export":
                self.results[way] = self._lent(guest, device)
            else:
                request = self.publication.request(way)
                if way == "multicast":
                    request["sources"] += f"?interface={interface}"
                self.results[way] = guest.api.call("image.write", device=device, **request)
            copy = self.publication.work / f"{DISKS[way].serial}.raw"
            shutil.copy(guest.disk_file(DISKS[way].serial), copy)
            self._disks[way] = copy
        return self._disks[way]

    def _lent(self, guest: Guest, device: str) -> dict[str, Any]:
        """Another machine writes it, by qemu-img; then the export is cancelled."""
        started = guest.api.start("image.export_iscsi", {"device": device, "initiators": [SERVER]})
        url = ""
        for command in guest.api.watched(started["id"], EXPORT_S):
            assert command["command_status"] == "RUNNING", command
            if url := command.get("progress", {}).get("message", ""):
                break
        qcow2 = self.publication.work / "disk.qcow2"
        self.publication.lan.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow2, url)
        guest.api.request("DELETE", f"/v1/commands/{started['id']}", wait="true")
        ended: dict[str, Any] = guest.api.ended(started["id"])
        return {"url": url, "error": ended["command_error"]["type"]}


def seed(lan: TapLan, log: Path, *arguments: object) -> str:
    """Start agent-router seed, and say where and how it gives the images."""
    with log.open("w") as file:
        command = (sys.executable, "-m", "agent_router", "seed", *arguments, "--bind", SERVER)
        server = lan.start(*command, stdout=file, stderr=file)
    ready = ": ready at "
    wait_for(lambda: ready in log.read_text() or server.poll() is not None, f"seed is ready: {log}")
    assert server.poll() is None, log.read_text()
    return log.read_text().partition(ready)[2].strip()


def connect(guest: Guest) -> str:
    """Give the guest its address in the LAN, and tell which interface that is."""
    nic = next(nic for nic in guest.machine.nics if nic.tap is not None)
    return guest.shell(f"""
        path=$(dirname "$(grep -l {nic.mac} /sys/class/net/*/address)") && name=${{path##*/}}
        ip link set "$name" up && ip address replace {GUEST}/{PREFIX} brd + dev "$name" && echo "$name"
    """)


def lacking(guest: Guest) -> str:
    """The elements that the ramdisk was built without, or nothing."""
    return ", ".join(guest.shell(LACKING).split())
