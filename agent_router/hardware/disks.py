"""`disks` of the inventory."""

from typing import Any

from agent_router.storage import disks

KEYS = (
    "name", "model", "size", "rotational", "vendor", "wwn_with_extension", "wwn_vendor_extension", "hctl", "tran",
    "logical_sectors", "physical_sectors",
)  # fmt: skip


def inventory_form(disk: disks.Disk) -> dict[str, Any]:
    """One disk of storage.disks as the inventory shows it: null where unknown, one value where there are several."""
    several = {key: next(iter(disk[key]), None) for key in ("serial", "by_path")}
    wwn = disk["wwn"][-1] if disk["wwn"] else None  # udev's: that of lsblk has the extension in it
    return {**{key: disk[key] for key in KEYS}, **several, "wwn": wwn}
