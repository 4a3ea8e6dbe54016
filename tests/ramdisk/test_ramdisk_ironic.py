"""An unmodified Ironic takes the machine from nothing to an instance that runs from its own disk.

The power is the only thing that is played: Ironic's fake power driver tells when the machine is on. What it boots is
what Ironic wrote into the node's iPXE configuration.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine
from machine_parts import NICS, Disk

from tests.support import guest_overlays, machine
from tests.support import ironic as ironic_module
from tests.support.disk_images import config_drive
from tests.support.rack import Rack
from tests.support.tiny_image import MARKER
from tests.support.waiting import free_port, wait_for

ON_DISK, FLOW_S = "disk", 400.0


class Follower(machine.Machine):
    """Switches the machine in QEMU as Ironic wants it."""

    def __init__(self, node: Any, root: Path, rack: Rack, ramdisk: Path, hosts: Path) -> None:
        self._rack, self._ramdisk, self._hosts = rack, ramdisk, hosts
        self._forwarded = free_port()
        self.booted: list[str] = []
        self.uefi = False
        self.machine: Machine | None = None
        super().__init__(node, root, [], "", root)

    @property
    def work(self) -> Path:
        return self._root / "machine"

    def _trouble(self) -> str:
        return ""

    def _power(self, on: bool) -> None:
        if self.machine is not None:
            self.machine.quit()
        if not on:
            return
        cmdline = self.network_boot()
        kernel, initrds = None, ()
        if cmdline:
            # 127.0.0.1 of this computer has another address there, and the agent another one for Ironic.
            cmdline = cmdline.replace("127.0.0.1", HOST)
            cmdline += f" ipa-advertise-host=127.0.0.1 ipa-advertise-port={self._forwarded}"
            kernel, initrds = Path(f"{self._ramdisk}.kernel"), (Path(f"{self._ramdisk}.initramfs"), self._hosts)
        self.booted.append("ramdisk" if kernel else ON_DISK)
        self.machine = Machine(
            self.work,
            kernel,
            initrds,
            cmdline,
            disks=(Disk("ROOT-DISK", 5 << 10),),
            nics=NICS[:1],
            bmc=False,
            uefi=self.uefi,
            host_port=self._forwarded,
        )
        name = f"ironic-{'uefi-' if self.uefi else ''}{len(self.booted)}-{self.booted[-1]}"
        self._rack.start(name, self.machine)

    def instance(self) -> Machine:
        """The machine once it was started without the ramdisk; Ironic calls the node active a moment before."""
        wait_for(lambda: self.machine and not self.machine.kernel and self.machine.running, "it boots its disk", 60)
        assert self.machine is not None
        return self.machine

    def unplug(self) -> None:
        self._unplugged.set()
        self._follower.join()
        if self.machine is not None:
            self.machine.quit()


@pytest.fixture(scope="module")
def ironic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (ironic_module.VENV / "bin/ironic").exists():
        reason = f"needs Ironic in {ironic_module.VENV}: make {ironic_module.VENV.name}/.installed"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    box = ironic_module.Ironic(tmp_path_factory.mktemp("ironic"))
    try:
        yield box.start()
    finally:
        box.stop()


@pytest.fixture
def follower(ironic: Any, rack: Rack, ramdisk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(ironic_module, "FLOW_S", FLOW_S)
    rack.clear()
    # An address that is right on both sides: there, localhost is this computer.
    hosts = tmp_path / "hosts/root/etc/hosts"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f"127.0.0.1 utility-ramdisk\n{HOST} localhost\n")
    guest_overlays.plugin(tmp_path / "hosts", "acme.mark", guest_overlays.ECHO_PLUGIN)
    node = ironic_module.Node(ironic, [NICS[0].mac])
    made = Follower(node, tmp_path, rack, ramdisk, guest_overlays.packed(tmp_path / "hosts"))
    try:
        yield made
    except BaseException:
        print(node.box.log_of(node.uuid)[-6000:])
        raise
    finally:
        made.unplug()
        with contextlib.suppress(Exception):
            node.delete()


def offered(ironic: Any, image: Path) -> dict[str, str]:
    """Put an image on Ironic's web server; the instance_info for it."""
    shutil.copy(image, ironic.files / "tiny.raw")
    return {
        "image_source": ironic.files_url.replace("127.0.0.1", "localhost") + "/tiny.raw",
        "image_disk_format": "raw",
        "image_os_hash_algo": "sha256",
        "image_os_hash_value": hashlib.sha256(image.read_bytes()).hexdigest(),
    }


def test_inspect_clean_deploy_and_boot(follower: Follower, ironic: Any, rack: Rack, tiny: Path):
    node = follower.node
    node.provision("inspect", "manageable")
    inventory = ironic.request("GET", f"/v1/nodes/{node.uuid}/inventory")["inventory"]
    assert [disk["serial"] for disk in inventory["disks"]] == ["ROOT-DISK"]
    assert [one["mac_address"] for one in inventory["interfaces"]] == [NICS[0].mac]

    disk = follower.work / "ROOT-DISK.raw"
    with disk.open("r+b") as file:
        file.write(b"a secret of the tenant before" * 100)
        file.seek(512)
        file.write(b"EFI PART")
    node.provision("provide", "available")
    with disk.open("rb") as file:
        assert file.read(1 << 20) == bytes(1 << 20)

    node.patch("/instance_info", offered(ironic, tiny))
    node.provision("active", "active", configdrive={"meta_data": {"hostname": "web-7"}})
    follower.instance().wait_for(MARKER)
    rack.note_up()
    assert follower.booted == ["ramdisk", "ramdisk", "ramdisk", ON_DISK]
    assert config_drive(disk, "openstack/latest/meta_data.json")["hostname"] == "web-7"


def test_deploy_with_uefi(follower: Follower, ironic: Any, rack: Rack, tiny: Path):
    """There Ironic has the agent install the boot loader: an entry in the firmware for the image's EFI partition."""
    follower.uefi = True
    node = follower.node
    node.patch("/properties/capabilities", "boot_mode:uefi")
    node.patch("/automated_clean", False)
    node.provision("provide", "available")
    node.patch("/instance_info", offered(ironic, tiny))
    node.provision("active", "active")
    instance = follower.instance()
    assert instance.wait_for(MARKER)["efi"] == "yes"
    rack.note_up()
    assert re.search(r'BdsDxe: starting Boot\d{4} "ironic1" from HD\(2,GPT', instance.console())
    assert follower.booted == ["ramdisk", ON_DISK]
