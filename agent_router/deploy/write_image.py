"""Ironic's write_image: an image to the root device, its partition table corrected, the config drive written."""

import time
from typing import Any

from agent_router import plugin
from agent_router.deploy import already_written, config_drive, deployed, image_info, node, permitted_formats
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
    image = WantedImage(form, {algorithm: expected})
    digest.warn(image.wanted)
    mark = {"id": asked.get("id"), "format": form, "digest": f"{algorithm}:{expected}"}
    done: dict[str, Any] = {"bytes_written": 0, "resumed": 0, "source": None, "transport": None, "failed": []}
    release(blockdev.kernel_name(device))  # volumes of the previous system, which the ramdisk may have activated
    unchanged = already_written.still_there(device, mark, config_drive=bool(data))
    if not unchanged:
        done = _write(spec, device, image)
    label = _correct_table(device)
    partition = config_drive.write(device, data) if data else None
    root_uuid = deployed.disk_identifier(device)
    deployed.remember({"device": device, "image_id": asked.get("id"), "root_uuid": root_uuid})
    already_written.remember(device, mark, config_drive=bool(data))
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


def _correct_table(device: str) -> str | None:
    """The kind of partition table; the backup of a GPT is moved to the end of the disk."""
    found = table.read(device)
    if found is None:
        plugin.warn(f"{device} has no partition table after the image was written")
        return None
    if found.label == "gpt":
        table.move_backup_to_end(device)
    table.tell_kernel(device)
    return found.label


def prepare_image(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of standby.prepare_image: the root device hints are those of Ironic's lookup."""
    return write_image(node.with_hints(request))
