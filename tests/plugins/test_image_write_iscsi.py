"""image.write from a LUN that image.export_iscsi offers."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.disk_content import MIB, assert_boots_nothing, content, digest
from tests.support.iscsi import CHAP, PASSWORD, USER, cancelled, export, port, tools  # noqa: F401
from tests.support.plugin import PluginFailed

pytestmark = [pytest.mark.root, tools]


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("how", ["none", "header", "url"])
def test_an_exported_disk_is_a_source(call, export, loop_disk, how):  # noqa: F811
    source, target = loop_disk(8), loop_disk(16)
    image = content(source)
    _, url = export(source, **({} if how == "none" else CHAP))
    shown = url
    if how == "url":
        url = url.replace("//", f"//{USER}%{PASSWORD}@")
    sources = [{"url": url, "headers": basic(USER, PASSWORD)}] if how == "header" else url
    answer = call("image.write", device=target, sources=sources, digest=digest(image))
    assert (answer["source"], answer["transport"], answer["bytes_read"]) == (shown, "iscsi", len(image))
    assert content(target)[: len(image)] == image
    assert PASSWORD not in str(answer) + call.log + str(call.events)


def test_an_image_smaller_than_its_lun(call, export, loop_disk):  # noqa: F811
    source, target = loop_disk(8), loop_disk(16)
    image = content(source)[: 3 * MIB + 1024]
    _, url = export(source)
    call("image.write", device=target, sources=url, digest=digest(image), size_bytes=len(image))
    assert content(target)[: len(image)] == image


def test_a_qcow2_file_on_a_lun(call, export, loop_disk, tmp_path):  # noqa: F811
    source, target = loop_disk(8), loop_disk(16)
    raw, packed = tmp_path / "raw", tmp_path / "packed"
    raw.write_bytes(os.urandom(2 * MIB) + bytes(4 * MIB) + os.urandom(MIB))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, packed], check=True)
    published = packed.read_bytes()
    Path(source).write_bytes(published)
    _, url = export(source)
    call("image.write", device=target, sources=url, format="qcow2", digest=digest(published), size_bytes=len(published))
    assert content(target)[: 7 * MIB] == raw.read_bytes()


@pytest.mark.parametrize(("change", "message"), [
    (("//", f"//{USER}%wrong-horse-battery@"), "Authentication failure"), ((":disk/", ":other/"), "Target not found"),
    (("/1", "/7"), "LOGICAL_UNIT_NOT_SUPPORTED"),
])  # fmt: skip
def test_what_the_target_refuses_is_told(call, export, loop_disk, change, message):  # noqa: F811
    source, target = loop_disk(8), loop_disk(16)
    chap = CHAP if USER in change[1] else {}
    _, url = export(source, iqn="iqn.2026-11.org.example:disk", **chap)
    before = content(target)
    with pytest.raises(PluginFailed, match=message) as failed:
        call("image.write", device=target, sources=change[1].join(url.rsplit(change[0], 1)), patience_s=5)
    assert failed.value.code == "unreachable"
    assert content(target) == before


def test_nobody_at_that_address(call, loop_disk, port):  # noqa: F811
    with pytest.raises(PluginFailed, match="nothing answers") as failed:
        call(
            "image.write", device=loop_disk(16), sources=f"iscsi://127.0.0.1:{port}/iqn.2026-11.org.x:a/1", patience_s=5
        )
    assert failed.value.code == "unreachable"


def test_a_target_that_goes_away_in_the_middle(call, export, loop_disk):  # noqa: F811
    source, target = loop_disk(400, garbage=False), loop_disk(400)
    exported, url = export(source)
    running = call.start("image.write", device=target, sources=url, patience_s=2)
    running.wait_for_event("done")
    cancelled(exported)
    with pytest.raises(PluginFailed) as failed:
        running.finish()
    assert failed.value.code == "connection_lost"
    assert_boots_nothing(target)
