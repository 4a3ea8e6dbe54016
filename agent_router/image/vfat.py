"""A config drive for disks with large sectors: its files in a vfat made for them.

ISO 9660 has blocks of 2048 bytes, and Ironic's vfat sectors of 512: neither can be mounted from a disk
whose sectors have 4096.
"""

import tempfile
from pathlib import Path

from agent_router import plugin
from agent_router.storage import mounts

ISO_BLOCK = 2048
LABEL = "CONFIG-2"
FAT_SIGNATURE = b"\x55\xaa"


def fits(data: bytes, sector: int) -> bool:
    """Whether a disk with sectors of that size can give this file system to who mounts it."""
    if sector <= 512:
        return True
    if data[510:512] == FAT_SIGNATURE and data[:1] in (b"\xeb", b"\xe9"):
        return int.from_bytes(data[11:13], "little") == sector  # bytes per sector of a FAT
    return sector <= ISO_BLOCK


def remake(data: bytes, sector: int, size: int) -> bytes:
    """The files of the file system `data` in a new vfat of `size` bytes; `data` itself, warned of, if that fails."""
    # Not in the working directory: the agent clears that away, and something is mounted here.
    with tempfile.TemporaryDirectory(prefix="agent-router-", dir="/tmp") as directory:
        given, made = Path(directory, "given"), Path(directory, "made")
        given.write_bytes(data)
        try:
            mounts.go_private()
            plugin.tool("mkfs.vfat", "-S", sector, "-n", LABEL, "-C", made, size // 1024)
            with mounts.mounted(str(given), ["loop", "ro"]) as root:
                found = [str(path) for path in sorted(root.iterdir()) if path.name != "lost+found"]
                if found:
                    plugin.tool("mcopy", "-s", "-i", made, *found, "::")
        except plugin.Failed as error:
            plugin.warn(f"the config drive is not made for sectors of {sector} bytes, and stays so: {error.message}")
            return data
        return made.read_bytes()
