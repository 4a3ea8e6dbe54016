"""Ironic's write_image: an image to the root device, its partition table corrected, the config drive written.

The table is judged and corrected in memory, before the disk has anything that boots. If a step after that fails, the
ends of the disk are wiped again: a system that boots without its config drive is not what was asked for.
"""

import time
from typing import Any

from agent_router import plugin
from agent_router.deploy import (
    already_written,
    config_drive,
    deployed,
    image_info,
    last_look,
    node,
    permitted_formats,
)
from agent_router.image.destinations.disk import Disk
from agent_router.image.engine import digest
from agent_router.image.engine.attempts import Attempts
from agent_router.image.engine.transfer import WantedImage
from agent_router.image.sources import Spec
from agent_router.storage import blockdev, root_device, table
from agent_router.storage.stacks import release


def write_image(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of deploy.write_image and standby.prepare_image; shapes as in their manifests."""
    started = time.monotonic()
    asked = request["image_info"]
    form = image_info.image_format(asked)
    permitted_formats.refuse(form)
    given = request.get("configdrive") or asked.get("configdrive")
    # Everything that can be wrong with the request is found before the disk is touched.
    data = config_drive.content(given) if given else b""
    algorithm, expected = image_info.digest_of(asked)
    spec = image_info.spec(asked, digest_known=True)
    device = root_device.find(request)
    image = WantedImage(form, {algorithm: expected}, last_look=last_look.of(bool(request.get("allow_unknown_content"))))
    digest.warn(image.wanted)
    mark = {"id": asked.get("id"), "format": form, "digest": f"{algorithm}:{expected}"}
    done: dict[str, Any] = {"bytes_written": 0, "resumed": 0, "source": None, "transport": None, "failed": []}
    release(blockdev.kernel_name(device))  # volumes of the previous system, which the ramdisk may have activated
    unchanged = already_written.still_there(device, mark, config_drive=bool(data))
    if not unchanged:
        done = _write(spec, device, image)
    try:
        label = _tell_table(device)
        partition = config_drive.write(device, data) if data else None
        root_uuid = deployed.disk_identifier(device)
        deployed.remember({"device": device, "image_id": asked.get("id"), "root_uuid": root_uuid})
        already_written.remember(device, mark, config_drive=bool(data))
    except plugin.Failed as error:
        raise _withdrawn(device, error) from None
    how = f"was already on device {device}" if unchanged else f"written to device {device} by {done['transport']}"
    return {
        "device": device, **done, "checksum": f"{algorithm}:{expected}", "partition_table": label,
        "root_uuid": root_uuid,
        "config_drive": {"partition": partition.number, "start": partition.start, "size": partition.size}
        if partition else None,
        "seconds": round(time.monotonic() - started, 3),
        "message": f"image ({asked.get('id')}) {how}",
    }  # fmt: skip


def _write(spec: Spec, device: str, image: WantedImage) -> dict[str, Any]:
    deployed.forget()
    already_written.forget()
    disk = Disk(device)
    try:
        outcome = Attempts(disk, device, image).run([spec])
    except plugin.Failed as error:
        if error.code == "wrong_format":
            error.message += f"; {image_info.CURE}"
        raise
    finally:
        disk.close()
    return {
        "bytes_written": disk.written,
        "resumed": outcome.resumed,
        "source": outcome.source,
        "transport": outcome.transport,
        "failed": outcome.failed,
    }


def _tell_table(device: str) -> str | None:
    """The kind of partition table, which the kernel is told to read."""
    found = table.read(device)
    if found is None:
        plugin.warn(f"{device} has no partition table after the image was written")
        return None
    table.tell_kernel(device)
    return found.label


def _withdrawn(device: str, error: plugin.Failed) -> plugin.Failed:
    """The image is there and verified, but not what belongs to it: nothing may boot from the disk."""
    deployed.forget()
    already_written.forget()
    try:
        disk = Disk(device)
        try:
            disk.abandon()
        finally:
            disk.close()
        state = Disk.abandoned
    except (plugin.Failed, OSError) as trouble:
        state = f"could not be wiped ({trouble}): do not boot from it"
    error.message += f"; {device} {state}"
    error.args = (error.message,)
    return error


def prepare_image(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of standby.prepare_image: the root device hints are those of Ironic's lookup."""
    return write_image(node.with_hints(request))
