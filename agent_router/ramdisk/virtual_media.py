"""What Ironic passes on virtual media: kernel parameters on a floppy, its CA certificate on the boot CD.

Read only after a boot from virtual media, and only from CDs and small USB disks: the contents of this machine's own
disks were written by its last tenant.
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FLOPPY = "ir-vfd-dev"
CDS = ("config-2", "vmedia_boot_iso")
MODEL = "virtual media"
MAX_BYTES = 4 << 30
PATIENCE_S, INTERVAL_S = 30.0, 1.0
MAX_PARAMETERS = 64 << 10
IRONIC_FILES = ("etc/ironic-python-agent", "etc/ironic-python-agent.d")

Device = dict[str, Any]


def parameters(given: dict[str, str], etc: Path = Path("/etc"), patience_s: float = PATIENCE_S) -> dict[str, str]:
    """`given` (the kernel command line), overridden by the parameters on the virtual floppy."""
    if given.get("boot_method") != "vmedia":
        return given
    # The boot CD itself may carry the parameters; then no floppy is expected.
    known = "ipa-api-url" in given or "ipa-agent-token" in given
    devices = _wait_for(FLOPPY, 0 if known else patience_s)
    for device in chosen(devices, CDS):
        _read(device, lambda mounted: copy_files(mounted, etc))
    found: dict[str, str] = {}
    for device in chosen(devices, (FLOPPY,)) or by_model(devices):
        _read(device, lambda mounted: found.update(in_file(mounted / "parameters.txt")))
        if found:
            break
    return {**given, **found}


def is_medium(device: Device) -> bool:
    """A CD, or a USB disk too small to be a system disk."""
    if device.get("type") == "rom":
        return True
    return device.get("tran") == "usb" and 0 < int(device.get("size") or 0) < MAX_BYTES


def chosen(devices: list[Device], labels: tuple[str, ...]) -> list[str]:
    """Paths of the media, or their partitions, with one of the labels, ignoring case."""
    parts = (part for device in filter(is_medium, devices) for part in (device, *device.get("children", ())))
    return [str(part["path"]) for part in parts if str(part.get("label") or "").lower() in labels]


def by_model(devices: list[Device]) -> list[str]:
    return [str(one["path"]) for one in filter(is_medium, devices) if MODEL in str(one.get("model") or "").lower()]


def in_file(path: Path) -> dict[str, str]:
    """{name: value} from words of the form name=value."""
    try:
        with path.open("rb") as file:
            words = file.read(MAX_PARAMETERS).decode(errors="replace").split()
    except OSError:
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def copy_files(mounted: Path, etc: Path) -> None:
    for name in IRONIC_FILES:
        source = mounted / name
        if source.is_dir():
            shutil.copytree(source, etc / source.name, dirs_exist_ok=True)


def _wait_for(label: str, patience_s: float) -> list[Device]:
    give_up = time.monotonic() + patience_s
    while True:
        devices = _devices()
        if chosen(devices, (label,)) or by_model(devices) or time.monotonic() >= give_up:
            return devices
        time.sleep(INTERVAL_S)


def _devices() -> list[Device]:
    done = subprocess.run(
        ["lsblk", "--json", "--bytes", "--output", "PATH,TYPE,TRAN,SIZE,LABEL,MODEL"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    try:
        found: list[Device] = json.loads(done.stdout)["blockdevices"]
        return found
    except (ValueError, KeyError):
        return []


def _read(device: str, use: Any) -> None:
    """Mount it read-only, call `use` with the mount point, unmount it."""
    with tempfile.TemporaryDirectory(prefix="agent-router-medium-") as name:
        mount = ["mount", "-o", "ro,nosuid,nodev,noexec", device, name]
        done = subprocess.run(mount, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"agent-router: cannot read {device}: {done.stderr.strip()}", flush=True)
            return
        try:
            use(Path(name))
        except OSError as error:
            print(f"agent-router: cannot read {device}: {error}", flush=True)
        finally:
            subprocess.run(["umount", name], stdin=subprocess.DEVNULL, check=False)
