"""Disk images to deploy, and a look into what was deployed."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.ironic import VENV, Ironic

MIB = 1 << 20
SECTOR = 512
START_MIB, SIZE_MIB, IMAGE_MIB = 1, 14, 16

# Kernels without ISO 9660 are common, and Ironic brings the library that it makes config drives with.
READ_ISO = """
import io, sys, pycdlib
disk, start, size, path = sys.argv[1:]
with open(disk, "rb") as file:
    file.seek(int(start))
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(file.read(int(size))))
    iso.get_file_from_iso_fp(sys.stdout.buffer, joliet_path=path)
"""


class Image:
    """A raw image with one partition full of noise, and what Ironic must know of it."""

    def __init__(self, box: Ironic, name: str, label: str) -> None:
        self.path = box.files / name
        with self.path.open("wb") as file:
            file.seek(START_MIB * MIB)
            file.write(os.urandom(SIZE_MIB * MIB))
            file.truncate(IMAGE_MIB * MIB)
        table = f"label: {label}\nstart={START_MIB}MiB, size={SIZE_MIB}MiB, type=L\n"
        subprocess.run(["sfdisk", "--quiet", str(self.path)], input=table, text=True, check=True)
        self.digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self.instance_info = {
            "image_source": f"{box.files_url}/{name}",
            "image_disk_format": "raw",
            "image_os_hash_algo": "sha256",
            "image_os_hash_value": self.digest,
        }

    def partition(self) -> str:
        """Digest of the partition's content."""
        return part_digest(self.path)


def part_digest(disk: Path) -> str:
    with disk.open("rb") as file:
        file.seek(START_MIB * MIB)
        return hashlib.sha256(file.read(SIZE_MIB * MIB)).hexdigest()


def partitions(disk: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["sfdisk", "--json", str(disk)], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout)["partitiontable"]["partitions"])


def config_drive(disk: Path, path: str) -> Any:
    """A JSON file of the config drive, which is the last partition, as the instance would read it."""
    last = partitions(disk)[-1]
    start, size = int(last["start"]) * SECTOR, int(last["size"]) * SECTOR
    kind = f"blkid --probe --offset {start} --size {size} --match-tag LABEL --output value {disk}"
    assert subprocess.run(kind.split(), capture_output=True, text=True, check=True).stdout.strip() == "config-2"
    read = [VENV / "bin/python", "-c", READ_ISO, disk, str(start), str(size), f"/{path}"]
    return json.loads(subprocess.run(read, capture_output=True, check=True).stdout)
