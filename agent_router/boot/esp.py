"""Read the EFI system partition of a disk with mtools: by its offset, without mounting anything."""

import os
import tempfile
from pathlib import Path

from agent_router import plugin
from agent_router.storage.table import Partition


class Esp:
    """`files()` and `read()` of the FAT file system in one partition."""

    def __init__(self, device: str, partition: Partition) -> None:
        self.device = device
        self.number = partition.number
        self._image = f"{device}@@{partition.start}"
        # Not every maker of images fills in the heads and cylinders that mtools would check.
        os.environ["MTOOLS_SKIP_CHECK"] = "1"

    def files(self) -> list[str]:
        """All files as EFI/BOOT/BOOTX64.EFI, sorted."""
        text = plugin.tool("mdir", "-b", "-/", "-i", self._image, "::")
        paths = [line.removeprefix("::/") for line in text.splitlines() if line.startswith("::/")]
        return sorted(path for path in paths if path and not path.endswith("/"))

    def read(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, "file")
            plugin.tool("mcopy", "-n", "-i", self._image, f"::/{path}", str(copy))
            return copy.read_bytes()
