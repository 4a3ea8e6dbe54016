"""Ironic's write_image: an image onto the root device, its partition table put right, the config drive written."""

import time
from typing import Any

from agent_router import plugin
from agent_router.image import configdrive, info
from agent_router.image.source import Source, shown
from agent_router.image.target import Target
from agent_router.image.write import stream
from agent_router.storage import blockdev, deployment, root_device, table
from agent_router.storage.erasable import release

GPT_SIGNATURE = b"EFI PART"  # at the start of logical block 1 (UEFI Specification, 5.3.2)


def write_image(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of deploy.write_image and standby.prepare_image; shapes as in their manifests."""
    started = time.monotonic()
    image = request["image_info"]
    info.refuse_unknown(image)
    given = request.get("configdrive") or image.get("configdrive")
    # All that can be wrong with the request is found before the disk is touched.
    data = configdrive.content(given) if given else b""
    algorithm, expected = info.digest(image)
    source = info.source(image, digest_known=True)
    device = root_device.find(request)
    deployment.forget()
    written = _write(source, device, algorithm, expected)
    label = _put_table_right(device)
    place = configdrive.write(device, data) if data else None
    root_uuid = deployment.disk_identifier(device)
    deployment.remember({"device": device, "image_id": image.get("id"), "root_uuid": root_uuid})
    return {
        "device": device, "bytes_written": written, "checksum": f"{algorithm}:{expected}",
        "partition_table": label, "root_uuid": root_uuid,
        "config_drive": {"partition": place.number, "start": place.start, "size": place.size} if place else None,
        "seconds": round(time.monotonic() - started, 3), "resumed": source.resumed,
        "message": f"image ({image.get('id')}) written to device {device}",
    }  # fmt: skip


def _write(source: Source, device: str, algorithm: str, expected: str) -> int:
    name = blockdev.kernel_name(device)
    release(name)  # volumes of a system that was here before, which the ramdisk may have found
    target = Target(device)
    sector = blockdev.limits(name).logical_block
    try:
        stream(source, target, expected, algorithm=algorithm,
               look=lambda start: refuse_sectors(start, sector, source.url))  # fmt: skip
    except plugin.Failed as error:
        if error.code == "not_raw":
            error.message += f"; {info.CURE}"
        raise
    finally:
        source.close()
        target.close()
    return target.written


def refuse_sectors(start: bytes, sector: int, url: str) -> None:
    """Raise Incompatible if the image has a GPT made for sectors of another size than the disk's."""
    for other in {512, 4096} - {sector}:
        if start[other : other + 8] == GPT_SIGNATURE and start[sector : sector + 8] != GPT_SIGNATURE:
            message = (
                f"{shown(url)} was made for sectors of {other} bytes and does not boot on this disk, which has "
                f"sectors of {sector} bytes; choose another disk or an image made for it"
            )
            raise plugin.Incompatible("sector_size", message)


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
