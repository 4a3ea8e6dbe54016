"""Run by ironic-python-agent's interpreter: write an image to one loop device with its own functions.

ipa_image.py URL DEVICE raw|qcow2 SHA256
"""

import os
import sys

from ironic_python_agent import (
    config,  # noqa: F401 - registers options that the next module reads on import
    disk_utils,
)
from ironic_python_agent.extensions import standby
from oslo_config import cfg

url, device, disk_format, digest = sys.argv[1:]
# It only uses this device; make sure that it is not one of the machine's disks.
if not os.path.realpath(device).startswith("/dev/loop"):
    sys.exit(f"{device} is not a loop device")
cfg.CONF([], project="ironic-python-agent")
image = {
    "id": "bench", "urls": [url], "disk_format": disk_format, "container_format": "bare",
    "os_hash_algo": "sha256", "os_hash_value": digest,
}  # fmt: skip
# Skip a wait of 20 s if fuser may not inspect every process, and blkid's cache, which may not know loop devices.
disk_utils.wait_for_disk_to_become_available = lambda device: None
disk_utils.block_uuid = lambda device: ""
extension = standby.StandbyExtension()
extension.partition_uuids = {}
if disk_format == "raw":
    extension._stream_raw_image_onto_device(image, device)
else:
    extension._cache_and_write_image(image, device)
