"""A disk image of some 20 MiB that boots with BIOS and with UEFI and says so on the serial console:

    TINY-OS up efi=yes|no uptime=SECONDS

GPT with a BIOS boot partition and an EFI system partition; GRUB loads the ramdisk's own kernel with an initramfs that
is busybox and a script.
"""

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from machine_parts import MIB, MachineError, run

MARKER = r"TINY-OS up efi=(?P<efi>yes|no) uptime=(?P<uptime>[0-9.]+)"
GRUB = Path("/usr/lib/grub")
SECTOR = 512
BIOS_START, ESP_START = MIB // SECTOR, 2 * MIB // SECTOR
BIOS_SECTORS = ESP_START - BIOS_START
ESP_MIB = 16

INIT = """#!/busybox sh
/busybox mkdir -p /proc /sys /dev
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sysfs /sys
/busybox mount -t devtmpfs dev /dev
efi=no
[ ! -d /sys/firmware/efi ] || efi=yes
read -r uptime _ </proc/uptime
echo "TINY-OS up efi=$efi uptime=$uptime" >/dev/ttyS0
/busybox sleep 1
/busybox poweroff -f
"""
# Run by GRUB's core itself, so no grub.cfg is looked for.
GRUB_CFG = """search --no-floppy --label --set=root TINYESP
linux /vmlinuz console=ttyS0 quiet panic=-1
initrd /initrd
boot
"""
COMMON = ("part_gpt", "fat", "search", "search_label", "linux", "boot")


def cached(kernel: Path, directory: Path) -> Path:
    """The image for this kernel, made at most once."""
    digest = hashlib.sha256(kernel.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    target = directory / f"tiny-{digest[:16]}.raw"
    if not target.exists():
        for old in directory.glob("tiny-*.raw"):
            old.unlink()
        part = target.with_suffix(".part")
        make(kernel, part)
        part.rename(target)
    return target


def make(kernel: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tiny-image-") as name:
        work = Path(name)
        with target.open("wb") as file:
            file.truncate((2 + ESP_MIB + 1) * MIB)
        run(
            "sgdisk", "--clear", "--set-alignment=1",
            f"--new=1:{BIOS_START}:{ESP_START - 1}", "--typecode=1:ef02",
            f"--new=2:{ESP_START}:+{ESP_MIB}M", "--typecode=2:ef00", str(target),
        )  # fmt: skip
        (work / "grub.cfg").write_text(GRUB_CFG)
        esp = make_esp(kernel, work)
        with target.open("r+b") as file:
            file.seek(ESP_START * SECTOR)
            file.write(esp.read_bytes())
            install_bios(file.fileno(), work)


def make_esp(kernel: Path, work: Path) -> Path:
    initrd, efi, esp = work / "initrd", work / "bootx64.efi", work / "esp"
    make_initrd(initrd, work)
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-c", str(work / "grub.cfg"), "-o", str(efi), *COMMON, "efi_gop")
    with esp.open("wb") as file:
        file.truncate(ESP_MIB * MIB)
    run("mkfs.vfat", "-n", "TINYESP", str(esp))
    run("mmd", "-i", str(esp), "::EFI", "::EFI/BOOT")
    for source, place in ((efi, "EFI/BOOT/BOOTX64.EFI"), (kernel, "vmlinuz"), (initrd, "initrd")):
        run("mcopy", "-i", str(esp), str(source), f"::{place}")
    return esp


def make_initrd(target: Path, work: Path) -> None:
    tree = work / "tree"
    tree.mkdir()
    shutil.copy(static_busybox(), tree / "busybox")
    (tree / "init").write_text(INIT)
    for path in tree.iterdir():
        path.chmod(0o755)
    with target.open("wb") as file:
        subprocess.run(["cpio", "--create", "--format=newc", "--quiet"], input=b"busybox\ninit\n", cwd=tree,
                       stdout=file, check=True)  # fmt: skip


def static_busybox() -> Path:
    """One that needs no library; Debian's busybox-static."""
    found = shutil.which("busybox")
    if found is None or subprocess.run(["ldd", found], capture_output=True, check=False).returncode == 0:
        raise MachineError("no static busybox on this machine; install the package busybox-static")
    return Path(found)


def install_bios(disk: int, work: Path) -> None:
    """boot.img into the MBR, GRUB's core into the BIOS boot partition, each told where the next sector is."""
    output = work / "core.img"
    config = str(work / "grub.cfg")
    run("grub-mkimage", "-O", "i386-pc", "-p", "/", "-c", config, "-o", str(output), "biosdisk", *COMMON)
    core = bytearray(output.read_bytes())
    core += bytes(-len(core) % SECTOR)
    if len(core) > BIOS_SECTORS * SECTOR:
        raise MachineError(f"GRUB's core of {len(core)} bytes does not fit into its partition")
    boot = bytearray((GRUB / "i386-pc/boot.img").read_bytes())
    # Offsets of kernel_sector and of the block list: include/grub/i386/pc/boot.h and diskboot.h of GRUB.
    struct.pack_into("<Q", boot, 0x5C, BIOS_START)
    struct.pack_into("<QHH", core, SECTOR - 12, BIOS_START + 1, len(core) // SECTOR - 1, 0x820)
    table = os.pread(disk, SECTOR, 0)
    os.pwrite(disk, bytes(boot[:440]) + table[440:], 0)
    os.pwrite(disk, bytes(core), BIOS_START * SECTOR)
