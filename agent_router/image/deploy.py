"""Ironic's write_image: an image onto the root device, its partition table put right, the config drive written."""

import time
from typing import Any

from agent_router import plugin
from agent_router.image import cached, configdrive, info, permitted
from agent_router.image import digest as digests
from agent_router.image.attempt import Image
from agent_router.image.fallback import Tries
from agent_router.image.sources import Spec
from agent_router.image.target import Target
from agent_router.storage import blockdev, deployment, root_device, table
from agent_router.storage.erase_targets import release


def write_image(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of deploy.write_image and standby.prepare_image; shapes as in their manifests."""
    started = time.monotonic()
    asked = request["image_info"]
    form = info.image_format(asked)
    permitted.refuse(form)
    given = request.get("configdrive") or asked.get("configdrive")
    # All that can be wrong with the request is found before the disk is touched.
    data = configdrive.content(given) if given else b""
    algorithm, expected = info.digest(asked)
    spec = info.spec(asked, digest_known=True)
    device = root_device.find(request)
    image = Image(form, {algorithm: expected})
    digests.warn(image.wanted)
    mark = {"id": asked.get("id"), "format": form, "digest": f"{algorithm}:{expected}"}
    done: dict[str, Any] = {"bytes_written": 0, "resumed": 0, "source": None, "transport": None, "failed": []}
    release(blockdev.kernel_name(device))  # volumes of a system that was here before, which the ramdisk may have found
    there = cached.still_there(device, mark, config_drive=bool(data))
    if not there:
        done = _write(spec, device, image)
    label = _put_table_right(device)
    place = configdrive.write(device, data) if data else None
    root_uuid = deployment.disk_identifier(device)
    deployment.remember({"device": device, "image_id": asked.get("id"), "root_uuid": root_uuid})
    cached.remember(device, mark, config_drive=bool(data))
    how = f"was already on device {device}" if there else f"written to device {device} by {done['transport']}"
    return {
        "device": device, **done, "checksum": f"{algorithm}:{expected}", "partition_table": label,
        "root_uuid": root_uuid,
        "config_drive": {"partition": place.number, "start": place.start, "size": place.size} if place else None,
        "seconds": round(time.monotonic() - started, 3),
        "message": f"image ({asked.get('id')}) {how}",
    }  # fmt: skip


def _write(spec: Spec, device: str, image: Image) -> dict[str, Any]:
    deployment.forget()
    cached.forget()
    target = Target(device)
    try:
        outcome = Tries(target, device, image).run([spec])
    except plugin.Failed as error:
        if error.code == "wrong_format":
            error.message += f"; {info.CURE}"
        raise
    finally:
        target.close()
    return {
        "bytes_written": target.written,
        "resumed": outcome.resumed,
        "source": outcome.source,
        "transport": outcome.transport,
        "failed": outcome.failed,
    }


def _put_table_right(device: str) -> str | None:
    """The kind of partition table; the backup of a GPT is moved to the end of the disk."""
    found = table.read(device)
    if found is None:
        plugin.warn(f"{device} has no partition table after the image was written")
        return None
    if found.label == "gpt":
        table.move_backup_to_end(device)
    table.tell_kernel(device)
    return found.label
