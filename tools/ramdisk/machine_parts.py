"""Parts of a virtual machine and their QEMU arguments: disks, sticks, CDs, interfaces, firmware.

Everything is in files; no device of the host is ever passed to a guest.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OVMF = Path("/usr/share/OVMF")
MIB = 1 << 20


class MachineError(Exception):
    """A sentence for the user."""


@dataclass(frozen=True)
class Disk:
    """A disk: empty, of `size_mib`, or `file` itself, not a copy."""

    serial: str
    size_mib: int = 0
    bus: str = "virtio"  # virtio, nvme, sata
    file: Path | None = None

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file else self.size_mib * MIB

    def arguments(self, work: Path, index: int) -> list[str]:
        """`index` counts from 1 and is the boot order of the disk."""
        file = self.file or work / f"{self.serial}.raw"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as created:
                created.truncate(self.size)
        driver = {"virtio": "virtio-blk-pci", "nvme": "nvme", "sata": "ide-hd"}[self.bus]
        return [
            *("-drive", f"if=none,id=disk{index},file={escaped(file)},format=raw,cache=unsafe,discard=unmap"),
            *("-device", f"{driver},drive=disk{index},serial={self.serial},bootindex={index}"),
        ]


@dataclass(frozen=True)
class Nic:
    mac: str
    model: str = "virtio-net-pci"  # or e1000e
    tap: int | None = None  # open file of a tap device to connect it to


# One for each bus found in servers, with different sizes, so that tests can tell them apart.
DISKS = (
    Disk("VIRTIO-ONE", 1024),
    Disk("VIRTIO-TWO", 512),
    Disk("NVME-ONE", 384, "nvme"),
    Disk("SATA-ONE", 256, "sata"),
)
# Locally administered addresses; the first interface is reachable from outside.
NICS = (Nic("52:54:00:0a:0e:01"), Nic("52:54:00:0a:0e:02", "e1000e"))


def nic_arguments(nics: tuple[Nic, ...], inside: str, outside: int = 0) -> list[str]:
    """The first is in QEMU's user network, with port `outside` of 127.0.0.1 (0: a free one) forwarded to `inside`,
    ADDRESS:PORT of the guest. Others without a tap have a cable with nothing at the other end."""
    made = []
    for index, nic in enumerate(nics):
        if index == 0:
            made += ["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{outside}-{inside}"]
        elif nic.tap is not None:
            made += ["-netdev", f"tap,id=net{index},fd={nic.tap}"]
        else:
            made += ["-netdev", f"hubport,id=net{index},hubid={index}"]
        # No boot ROM: these machines boot from a kernel or a disk.
        made += ["-device", f"{nic.model},netdev=net{index},id=nic{index},mac={nic.mac},romfile="]
    return made


def bmc_arguments() -> list[str]:
    """A BMC at the usual ISA port, without a network."""
    return ["-device", "ipmi-bmc-sim,id=bmc", "-device", "isa-ipmi-kcs,bmc=bmc"]


def stick_arguments(sticks: tuple[Path, ...]) -> list[str]:
    made = ["-device", "qemu-xhci,id=usb,p2=8,p3=8"]
    for index, file in enumerate(sticks):
        made += ["-drive", f"if=none,id=stick{index},file={escaped(file)},format=raw,cache=unsafe"]
        made += ["-device", f"usb-storage,bus=usb.0,drive=stick{index},id=usb-stick{index},serial=STICK-{index}"]
    return made


def cd_arguments(cds: tuple[Path, ...]) -> list[str]:
    made = []
    for index, file in enumerate(cds):
        made += ["-drive", f"if=none,id=cd{index},media=cdrom,readonly=on,file={escaped(file)},format=raw"]
        made += ["-device", f"usb-storage,bus=usb.0,drive=cd{index},serial=CD-{index}"]
    return made


def firmware_arguments(uefi: bool, work: Path) -> list[str]:
    if not uefi:
        return []
    code, variables = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"
    if not code.exists():
        raise MachineError(f"{code} is missing; install the package ovmf, or choose BIOS")
    own = work / "uefi-variables.fd"
    if not own.exists():
        shutil.copy(variables, own)
    pflash = "if=pflash,format=raw,unit="
    return ["-drive", f"{pflash}0,readonly=on,file={code}", "-drive", f"{pflash}1,file={escaped(own)}"]


def concatenated(initrds: tuple[Path, ...], target: Path) -> Path:
    """QEMU loads one initrd; the kernel unpacks all archives in it, each aligned to four bytes."""
    if len(initrds) == 1:
        return initrds[0]
    with target.open("wb") as file:
        for initrd in initrds:
            with initrd.open("rb") as source:
                shutil.copyfileobj(source, file, MIB)
            file.write(b"\0" * (-file.tell() % 4))
    return target


def make_stick(target: Path, content: Path, label: str = "agent-plugins", size_mib: int = 16) -> Path:
    """An image of a USB stick without partitions: ext4, because the label is too long for FAT."""
    with target.open("wb") as file:
        file.truncate(size_mib * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-L", label, "-d", str(content), str(target))
    return target


def make_fat_stick(target: Path, content: Path, label: str = "AGENTPLUGIN", size_mib: int = 16) -> Path:
    """Like a stick from a shop: a partition table with a single FAT partition."""
    start = 1  # MiB
    file_system = target.with_suffix(".fat")
    for file, size in ((target, size_mib + 2 * start), (file_system, size_mib)):
        with file.open("wb") as created:
            created.truncate(size * MIB)
    run("mkfs.vfat", "-n", label, str(file_system))
    run("mcopy", "-s", "-i", str(file_system), *(str(path) for path in content.iterdir()), "::")
    run("sgdisk", "--clear", f"--new=1:{start}M:+{size_mib}M", "--typecode=1:0700", str(target))
    with target.open("r+b") as file:
        file.seek(start * MIB)
        file.write(file_system.read_bytes())
    file_system.unlink()
    return target


def make_cd(target: Path, content: Path, label: str) -> Path:
    run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", label, "-o", str(target), str(content))
    return target


def run(*argv: str) -> None:
    """Run a tool on the host that must succeed."""
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise MachineError(f"{argv[0]} is not installed on this machine") from None
    except subprocess.CalledProcessError as error:
        raise MachineError(f"{' '.join(argv)} failed: {error.stderr.strip()}") from None


def escaped(path: Path) -> str:
    """QEMU options require commas to be doubled."""
    return str(path).replace(",", ",,")
