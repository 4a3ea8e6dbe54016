"""Ironic's inject_files: write files to the deployed image, or delete them."""

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.deploy import deployed
from agent_router.image.sources import Spec, shown
from agent_router.image.sources.http.source import HttpSource
from agent_router.plugin import devices
from agent_router.storage import mounts, root_device, table

PATIENCE_S = 30
CHUNK = 1 << 20
# {node[uuid]} and {ports[0][address]} in a URL, so that one deploy template serves many nodes.
TEMPLATE = re.compile(r"\{(node|ports)((?:\[[A-Za-z0-9_-]+\])+)\}")


def inject_files(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of deploy.inject_files: the files of the node's properties, then those of the step."""
    files = [*(request.get("node_files") or []), *(request.get("files") or [])]
    check(files, request.get("verify_ca") is not False)
    if not files:
        return {"device": None, "files": []}
    device = (deployed.recall() or {}).get("device") or root_device.find(request)
    _refuse_not_allowed([str(device), *(str(file["partition"]) for file in files if _is_path(file))])
    os.umask(0o022)  # files of the image, not of this plugin
    mounts.go_private()
    facts = {
        "node": {"uuid": request.get("node_uuid"), "name": request.get("node_name")},
        "ports": request.get("ports") or [],
    }
    done = []
    for file in files:
        try:
            done.append(_one(file, str(device), facts))
        except OSError as error:
            message = f"{file['path']}: {error.strerror}"
            raise plugin.Failed("write_failed", message, partial={"device": device, "files": done}) from None
    return {"device": device, "files": done}


def check(files: list[dict[str, Any]], verify_ca: bool) -> None:
    """What the schema cannot express; raises InvalidRequest("bad_files") with all problems."""
    wrong = []
    for file in files:
        path = file["path"]
        if path.endswith("/"):
            wrong.append(f"{path} is a directory")
        if len([part for part in path.split("/") if part]) < 2 and file.get("partition") is None:
            wrong.append(f"{path} is in the root directory, so the partition must be given")
        if bool(file.get("deleted")) == (file.get("content") is not None):
            wrong.append(f"{path} needs either content or deleted")
        if (file.get("content") or "").startswith("https://") and not verify_ca:
            wrong.append(f"{path}: certificates are always verified, verify_ca must not be false")
    if wrong:
        raise plugin.InvalidRequest("bad_files", "; ".join(wrong))


def _refuse_not_allowed(found: list[str]) -> None:
    patterns = devices.patterns_of(os.environ.get("AGENT_DEVICES", ""))
    refusals = [text for text in (devices.refusal(device, patterns) for device in found) if text]
    if refusals:
        raise plugin.Refused("device_not_allowed", "; ".join(refusals))


def _is_path(file: dict[str, Any]) -> bool:
    return file.get("partition") is not None and not str(file["partition"]).isdigit()


def _one(file: dict[str, Any], device: str, facts: dict[str, Any]) -> dict[str, Any]:
    with _place(file, device) as root:
        target = mounts.inside(root, file["path"])
        if file.get("deleted"):
            link = mounts.inside(root, os.path.dirname(file["path"])) / os.path.basename(file["path"])
            link.unlink(missing_ok=True)  # a link itself, not what it points at
            return {"path": file["path"], "bytes": 0, "deleted": True}
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True)
            if file.get("dirmode") is not None:
                target.parent.chmod(file["dirmode"])
        size = _write(target, file["content"], facts)
        os.chown(target, file.get("owner", -1), file.get("group", -1))  # -1: leave it
        if file.get("mode") is not None:
            target.chmod(file["mode"])  # after chown, which takes the set-user-id bit away
        return {"path": file["path"], "bytes": size, "deleted": False}


@contextlib.contextmanager
def _place(file: dict[str, Any], device: str) -> Iterator[Path]:
    """The mounted partition: the one that is named, or the one that has the first directory of the path."""
    if _is_path(file):
        with mounts.mounted(str(file["partition"])) as root:
            yield root
        return
    found = table.read(device)
    partitions = found.partitions if found else []
    number = file.get("partition")
    if number is not None:
        partitions = [part for part in partitions if part.number == int(number)]
    first = next(part for part in file["path"].split("/") if part)
    with contextlib.ExitStack() as stack:
        for partition in partitions:
            try:
                root = stack.enter_context(mounts.mounted_partition(device, partition))
            except plugin.Failed as error:
                plugin.log(f"partition {partition.number} cannot be mounted: {error.message}")
                continue
            if number is not None or mounts.inside(root, first).is_dir():
                yield root
                return
            stack.close()
    what = f"number {number}" if number is not None else f"a directory /{first}"
    raise plugin.Failed("no_partition", f"{device} has no partition with {what} that can be mounted")


def _write(target: Path, content: str, facts: dict[str, Any]) -> int:
    if "://" in content:
        return _fetch(fill(content, facts), target)
    try:
        return target.write_bytes(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError):
        message = f"the content for {target.name} is neither base64 nor a URL"
        raise plugin.InvalidRequest("bad_content", message) from None


def _fetch(url: str, target: Path) -> int:
    if not url.startswith(("http://", "https://")):
        raise plugin.InvalidRequest("bad_content", f"{shown(url)} is not a URL of http or https")
    source, buffer = HttpSource(Spec(url, patience_s=PATIENCE_S)), bytearray(CHUNK)
    try:
        source.open()
        with target.open("wb") as file:
            while count := source.readinto(memoryview(buffer)):
                file.write(buffer[:count])
    finally:
        source.close()
    return source.offset


def fill(url: str, facts: dict[str, Any]) -> str:
    """The URL with its templates replaced."""

    def value(match: re.Match[str]) -> str:
        found: Any = facts[match[1]]
        try:
            for key in match[2][1:-1].split("]["):
                found = found[int(key)] if isinstance(found, list) else found[key]
        except (LookupError, ValueError, TypeError):
            found = None
        if not isinstance(found, str | int):
            raise plugin.InvalidRequest("bad_content", f"{match[0]} in a URL is unknown")
        return str(found)

    return TEMPLATE.sub(value, url)
