"""The programs that write the image, and how each is called."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from image_box import Form, Site

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = "ours"


@dataclass
class Peer:
    """`argv` contains the device; `what` is the format of the image that it reads."""

    name: str
    what: str
    argv: list[str]
    env: dict[str, str]
    stdin: str = ""
    once: bool = False  # slow, so one round must do

    @property
    def key(self) -> str:
        return f"{self.name} {self.what}"


def ours(site: Site, what: str, form: str, device: str, url: str = "", called: str = "", **more: object) -> Peer:
    """The bundled plugin as a separate process, including the interpreter start that the agent avoids."""
    published = site.forms[what]
    request = {
        "device": device,
        "sources": [url or published.url],
        "format": form,
        "digest": f"sha256:{published.sha256}",
        **more,
    }
    env = {
        "PYTHONPATH": str(ROOT), "AGENT_PROTOCOL": "1", "AGENT_METHOD": "image.write", "AGENT_COMMAND_ID": "bench",
        "AGENT_ACTION": "run", "AGENT_EVENTS": "/dev/null", "AGENT_DEVICES": device,
        "AGENT_LIB": str(ROOT / "agent_router/plugin"), "AGENT_DEADLINE": "99999999999",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    return Peer(OURS, called or what, [str(ROOT / "plugins.d/image.write")], env, json.dumps(request))


def shell(name: str, what: str, text: str) -> Peer:
    return Peer(name, what, ["bash", "-c", f"set -eo pipefail; {text}"], {})


def peers(site: Site, device: str, ipa: Path | None) -> list[Peer]:
    """All peers of a round, in order; without those whose program is missing."""
    form = site.forms
    found = [
        ours(site, "disk.raw.zst", "zst", device),
        shell("curl|sha256sum|zstd|dd", "disk.raw.zst", pipe(form["disk.raw.zst"], "zstd -dcq", device)),
        ours(site, "disk.raw.gz", "gz", device),
        shell("curl|sha256sum|gzip|dd", "disk.raw.gz", pipe(form["disk.raw.gz"], "gzip -dc", device)),
        ours(site, "disk.raw", "raw", device),
        shell("curl|dd", "disk.raw", f"curl -sSf {form['disk.raw'].url} | {dd(device)} conv=fsync"),
        ours(site, "disk.qcow2", "qcow2", device),
        ours(site, "disk-zstd.qcow2", "qcow2", device),
        *(qemu_img(form[name], device) for name in ("disk.qcow2", "disk-zstd.qcow2")),
    ]
    if shutil.which("aria2c"):
        found.append(aria2("disk.raw", f"{form['disk.raw'].url} --out=disk.raw", form["disk.raw"], device))
    if "disk.raw.torrent" in form:
        found += [
            ours(site, "disk.raw", "raw", device, form["disk.raw.torrent"].url, called="disk.raw.torrent"),
            ours(site, "disk.raw.zst", "zst", device, form["disk.raw.zst.torrent"].url, called="disk.raw.zst.torrent"),
        ]
        if shutil.which("aria2c"):
            torrent = form["disk.raw.torrent"]
            found.append(aria2("disk.raw.torrent", str(torrent.path), None, device))
    if shutil.which("bmaptool"):
        argv = ["bmaptool", "--quiet", "copy", form["disk.raw.zst"].url, device, "--bmap", form["disk.raw.bmap"].url]
        found.append(Peer("bmaptool", "disk.raw.zst", argv, {}))
    if ipa:
        for what, kind in (("disk.raw", "raw"), ("disk.qcow2", "qcow2")):
            argv = [ipa / "bin/python", HERE / "ipa_image.py", form[what].url, device, kind, form[what].sha256]
            found.append(Peer("IPA", what, [str(word) for word in argv], {"TMPDIR": "/dev/shm"}))
    return found


def aria2(what: str, source: str, checked: Form | None, device: str) -> Peer:
    """Writes to a link to the disk. For a torrent, it verifies the pieces but no digest."""
    options = "--quiet --file-allocation=none --allow-overwrite=true --enable-dht=false --seed-time=0 --no-conf"
    check = f"--checksum=sha-256={checked.sha256}" if checked else ""
    made = shell("aria2", what, f"ln -s {device} disk.raw; aria2c {options} {check} {source}; sync {device}")
    made.once = True
    return made


def pipe(form: Form, unpack: str, device: str) -> str:
    """What a careful person would type; the digest is verified only after the disk has been written."""
    check = f"sha256sum --quiet --check <(echo {form.sha256}  -)"
    return f"curl -sSf {form.url} | tee >({check} || kill $$) | {unpack} | {dd(device)} oflag=direct conv=sparse,fsync"


def dd(device: str) -> str:
    return f"dd of={device} bs=1M iflag=fullblock status=none"


def qemu_img(form: Form, device: str) -> Peer:
    argv = ["qemu-img", "convert", "-n", "--target-is-zero", "-f", "qcow2", "-O", "host_device", "-t", "none", "-W",
            form.url, device]  # fmt: skip
    return Peer("qemu-img", form.path.name, argv, {})
