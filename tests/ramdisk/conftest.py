"""Fixtures of the tests in a virtual machine, and their order: one boot of the ramdisk serves as many as possible.

`guest` is the ramdisk on a BIOS machine with several disks, `uefi_guest` on a UEFI machine with a static address;
`written` is a disk that the ramdisk wrote an image to.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine_parts as parts
import pytest
from machine import Machine, missing_parts
from machine_parts import Disk, Nic

from tests.support import guest_deployments, guest_overlays, tap_lan, tiny_image
from tests.support.image_host import ImageHost
from tests.support.rack import STATIC_ADDRESS, TOKEN, Guest, Rack

ROOT = Path(__file__).resolve().parents[2]
ORDER = ("inventory", "plugins", "disks", "logs", "image", "transports", "memory", "survival", "boot", "uefi", "ironic")
# The first disk gets the image and is booted from; those that are erased are small, because erasing writes all of it.
DISKS = (
    Disk("VIRTIO-ONE", 1024), Disk("VIRTIO-TWO", 512), Disk("NVME-ONE", 96, "nvme"), Disk("SATA-ONE", 64, "sata"),
    *guest_deployments.DISKS.values(), Disk("LARGE", 1040),
)  # fmt: skip
_begun = time.monotonic()
_racks: list[Rack] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ours, in the order of ORDER, in place of where they stood."""
    places = [index for index, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ours = [items[index] for index in places]
    for item in ours:
        item.add_marker("ramdisk")
    ours.sort(key=lambda item: ORDER.index(item.path.stem.rpartition("_")[2]))
    for index, item in zip(places, ours, strict=True):
        items[index] = item


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for rack in _racks:
        terminalreporter.section("machines")
        for line in rack.table():
            terminalreporter.write_line(line)
        since = f", {time.time() - float(os.environ['BEGUN']):.0f} s with the build" if "BEGUN" in os.environ else ""
        terminalreporter.write_line(f"all tests: {time.monotonic() - _begun:.0f} s{since}")


@pytest.fixture(scope="session")
def ramdisk() -> Path:
    """RAMDISK without suffix; CI=true allows no skipping."""
    path = Path(os.environ.get("RAMDISK", ROOT / ".ramdisk/agent-router")).absolute()
    missing = missing_parts(path)
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return path


@pytest.fixture(scope="session")
def rack() -> Iterator[Rack]:
    # Not pytest's own directory: that keeps three generations, and disks are large.
    with tempfile.TemporaryDirectory(prefix="agent-router-machines-") as root:
        made = Rack(Path(root))
        _racks.append(made)
        yield made
        made.clear()


@pytest.fixture(scope="session")
def secret() -> bytes:
    """What lies all over the disks that are to be erased."""
    return b"a secret of the tenant before..\n"


@pytest.fixture(scope="session")
def lan() -> Iterator[tap_lan.TapLan | None]:
    """A network for the guest and servers; None where there can be none, and only some tests need it."""
    made = None if tap_lan.obstacle() else tap_lan.TapLan()
    yield made
    if made is not None:
        made.close()


@pytest.fixture(scope="session")
def bios_machine(ramdisk: Path, rack: Rack, secret: bytes, lan: tap_lan.TapLan | None) -> Any:
    """Makes the machine that most tests run on: overlays appended, a stick with a plugin in it, a NIC in the LAN."""
    nics = (*parts.NICS, Nic("52:54:00:0a:0e:03", tap=lan.fd if lan else None))

    def make(work: Path) -> Machine:
        work.mkdir(parents=True)
        for disk in DISKS:
            if disk.size_mib < 100:
                (work / f"{disk.serial}.raw").write_bytes(secret * (disk.size // len(secret)))
        good = guest_overlays.vendor_overlay(work / "vendor")
        broken = guest_overlays.broken_overlay(work / "broken")
        stick = parts.make_stick(work / "stick.img", guest_overlays.stick_content(work / "stick", "stick.at_boot"))
        return Machine(
            work,
            Path(f"{ramdisk}.kernel"),
            (Path(f"{ramdisk}.initramfs"), good, broken),
            f"ipa-agent-token={TOKEN}",
            disks=DISKS,
            nics=nics,
            sticks=(stick,),
        )

    return make


@pytest.fixture
def guest(rack: Rack, bios_machine: Any) -> Guest:
    machine = rack.get("ramdisk-bios", bios_machine)
    return Guest(machine, machine.api(TOKEN))


@pytest.fixture
def uefi_guest(rack: Rack, ramdisk: Path) -> Guest:
    """Without BMC and with one disk, so that the inventory has something else to say; its address is static, and the
    lean init runs it."""

    def make(work: Path) -> Machine:
        work.mkdir(parents=True)
        overlay = guest_overlays.vendor_overlay(work / "vendor")
        data = guest_overlays.network_data(work / "config", parts.NICS[0].mac, STATIC_ADDRESS)
        drive = parts.make_cd(work / "config.iso", data, "config-2")
        return Machine(
            work,
            Path(f"{ramdisk}.kernel"),
            (Path(f"{ramdisk}.initramfs"), overlay),
            # Ironic says so when it boots a machine from virtual media; a CD may then take its time to appear.
            f"ipa-agent-token={TOKEN} boot_method=vmedia agent.init=lean",
            uefi=True,
            bmc=False,
            disks=DISKS[:1],
            cds=(drive,),
            guest_address=STATIC_ADDRESS,
        )

    machine = rack.get("ramdisk-uefi", make)
    return Guest(machine, machine.api(TOKEN))


@pytest.fixture(scope="session")
def images() -> Iterator[ImageHost]:
    with ImageHost() as made:
        yield made
        made.shutdown()


@pytest.fixture(scope="session")
def tiny(ramdisk: Path) -> Path:
    return tiny_image.cached(Path(f"{ramdisk}.kernel"), ramdisk.parent)


@pytest.fixture(scope="session")
def deployed(rack: Rack, bios_machine: Any, lan: tap_lan.TapLan | None, tiny: Path) -> guest_deployments.Deployments:
    """The tiny image as it comes by each transport."""

    def running() -> Guest:
        machine = rack.get("ramdisk-bios", bios_machine)
        return Guest(machine, machine.api(TOKEN))

    missing = tap_lan.obstacle()
    if not missing and (elements := guest_deployments.lacking(running())):
        missing = f"the ramdisk was built without {elements}: make acceptance builds it with them"
    if missing or lan is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return guest_deployments.Deployments(guest_deployments.Publication(lan, rack.root / "published", tiny), running)


@pytest.fixture(scope="session")
def written(rack: Rack, bios_machine: Any, images: ImageHost, tiny: Path) -> "Written":
    """The tiny image, written by the ramdisk to a disk of the BIOS machine."""
    machine = rack.get("ramdisk-bios", bios_machine)
    return Written(Guest(machine, machine.api(TOKEN)), images, tiny)


class Written:
    def __init__(self, guest: Guest, images: ImageHost, tiny: Path) -> None:
        self.image = tiny.read_bytes()
        self.sha256 = hashlib.sha256(self.image).hexdigest()
        self.command = guest.api.run(
            "image.write",
            {
                "device": guest.device("VIRTIO-ONE"),
                "sources": images.offer("tiny.raw", self.image),
                "digest": self.sha256,
            },
        )
        self.file = guest.disk_file("VIRTIO-ONE")
