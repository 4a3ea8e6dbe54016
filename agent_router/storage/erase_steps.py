"""Ironic's steps erase_devices, erase_devices_metadata and erase_devices_express, for all disks.

Several disks at a time, in threads: the kernel and the disks do the work. Every disk is tried; failures are reported
at the end, with the successes in `partial`.
"""

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from agent_router import plugin
from agent_router.storage import blockdev, erase, secure_erase, stacks, table
from agent_router.storage.erase import StopRequest
from agent_router.storage.erase_targets import EraseOptions, choose, erase_options

MIB = 1 << 20
Work = Callable[[str, EraseOptions, StopRequest, erase.Report], list[str]]


def erase_devices(request: dict[str, Any]) -> dict[str, Any]:
    """Secure erase where supported, else overwrite: random passes, then zeros."""
    wanted = erase_options(request.get("driver_internal_info") or {})
    return _all(request, wanted, choose(request, wanted), _whole)


def erase_devices_metadata(request: dict[str, Any]) -> dict[str, Any]:
    """Partition tables and signatures only: fast, but the data can still be recovered."""
    wanted = erase_options(request.get("driver_internal_info") or {})
    return _all(request, wanted, choose(request, wanted, read_only_is_skipped=True), _metadata)


def erase_devices_express(request: dict[str, Any]) -> dict[str, Any]:
    """Secure erase for NVMe disks that support it, all others as erase_devices_metadata."""
    wanted = erase_options(request.get("driver_internal_info") or {})
    return _all(request, wanted, choose(request, wanted, read_only_is_skipped=True), _express)


def _all(request: dict[str, Any], wanted: EraseOptions, chosen: Any, work: Work) -> dict[str, Any]:
    stop, meter = StopRequest(), Meter(chosen.names)
    erased: dict[str, Any] = {}
    failures = {f"/dev/{name}": why for name, why in stacks.take_down(chosen.names).items()}
    ready = [name for name in chosen.names if f"/dev/{name}" not in failures]
    with concurrent.futures.ThreadPoolExecutor(wanted.concurrency) as pool:
        running = {pool.submit(_one, name, wanted, stop, meter, work): f"/dev/{name}" for name in ready}
        for done in concurrent.futures.as_completed(running):
            device = running[done]
            try:
                erased[device] = done.result()
            except plugin.Failed as error:
                failures[device] = error.message
    answer = {"erased": dict(sorted(erased.items())), "skipped": chosen.skipped}
    if failures:
        code = "stopped" if stop.asked else "erase_failed"
        text = "; ".join(f"{device}: {why}" for device, why in sorted(failures.items()))
        raise plugin.Failed(code, text, details={"failed": failures}, partial=answer)
    return answer


def _one(name: str, wanted: EraseOptions, stop: StopRequest, meter: "Meter", work: Work) -> dict[str, Any]:
    started = time.monotonic()
    if stop.asked:
        raise plugin.Failed("stopped", "stopped before it was started; it is unchanged")
    secure_erase.unlock(name)
    stages = work(name, wanted, stop, meter.of(name))
    return {"stages": stages, "seconds": round(time.monotonic() - started, 3)}


def _whole(name: str, wanted: EraseOptions, stop: StopRequest, report: erase.Report) -> list[str]:
    if _securely(name, wanted, report, fall_back=wanted.go_on):
        return ["secure"]
    stages = ["random"] * wanted.random_passes + ["zero"] * wanted.zeroes
    if not stages:
        raise plugin.Failed("unsupported", "secure erase is not possible, and the node's settings disable overwriting")
    size = blockdev.size_bytes(name)
    for number, stage in enumerate(stages):
        erase.sweep(f"/dev/{name}", stage, size, 1, stop, _part(report, number, len(stages)))
    table.tell_kernel(f"/dev/{name}")
    return stages


def _part(report: erase.Report, number: int, count: int) -> erase.Report:
    """The report of one stage, scaled to all stages."""
    return lambda done, total, unit, message: report(done + number * total, total * count, unit, message)


def _express(name: str, wanted: EraseOptions, stop: StopRequest, report: erase.Report) -> list[str]:
    if name.startswith("nvme") and _securely(name, wanted, report, fall_back=True):
        return ["secure"]
    return _metadata(name, wanted, stop, report)


def _securely(name: str, wanted: EraseOptions, report: erase.Report, *, fall_back: bool) -> bool:
    """Secure erase: True if done, False if unsupported. Raises if it failed, unless `fall_back`."""
    if not (wanted.nvme_secure if name.startswith("nvme") else wanted.ata_secure):
        return False
    kind, reason = secure_erase.ability(name)
    try:
        if kind:
            os.close(blockdev.open_exclusive(f"/dev/{name}"))  # only to check that it is not in use
            secure_erase.run(kind, name, report)
            return True
        if reason in (secure_erase.FROZEN, secure_erase.EXPIRED):
            raise plugin.Failed("secure_failed", reason)
    except plugin.Failed as error:
        if error.code == "locked":  # nor can it be overwritten
            raise
        if not fall_back or isinstance(error, plugin.Refused):
            cure = "set agent_continue_if_secure_erase_failed to overwrite it instead"
            raise plugin.Failed("secure_failed", f"secure erase failed: {error.message}; {cure}") from None
        plugin.warn(f"secure erase of /dev/{name} failed ({error.message}); it is overwritten instead")
    return False


def _metadata(name: str, wanted: EraseOptions, stop: StopRequest, report: erase.Report) -> list[str]:
    device = f"/dev/{name}"
    # The partitions first: without the table their signatures cannot be found.
    for part in reversed(blockdev.partitions(name)):
        plugin.tool("wipefs", "--all", "--force", f"/dev/{part}")
    plugin.tool("wipefs", "--all", "--force", device)
    fd = blockdev.open_exclusive(device)
    try:
        size = blockdev.size_bytes(name)
        # Both copies of a GPT, even a damaged one, and boot loader code before the first partition.
        for offset in (0, max(0, size - MIB)):
            os.pwrite(fd, bytes(min(MIB, size)), offset)
        os.fsync(fd)
    except OSError as error:
        raise plugin.Failed("write_failed", f"writing failed: {error.strerror}") from None
    finally:
        os.close(fd)
    table.tell_kernel(device)
    report(1, 1, "disk", "metadata")
    return ["metadata"]


class Meter:
    """One progress value for all disks: their mean."""

    def __init__(self, names: list[str]) -> None:
        self._parts = dict.fromkeys(names, 0.0)
        self._lock = threading.Lock()

    def of(self, name: str) -> erase.Report:
        def report(done: float, total: float, unit: str, message: str) -> None:
            with self._lock:
                self._parts[name] = done / total if total else 1.0
                share = 100 * sum(self._parts.values()) / len(self._parts)
            plugin.progress(round(share, 1), 100, "%", f"{name}: {message}")

        return report
