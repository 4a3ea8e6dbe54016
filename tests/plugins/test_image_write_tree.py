"""Archives into a mounted tree: what is kept, what is refused, and that nothing is left of what went wrong."""

import io
import os
import signal
import subprocess
import tarfile
from pathlib import Path
from tarfile import BLKTYPE, CHRTYPE, LNKTYPE, REGTYPE, SYMTYPE

import pytest

from agent_router.image.destinations.tree import MARKER
from tests.support.disk_content import MIB, SHA, digest
from tests.support.plugin import PluginFailed
from tests.support.trees import CAPABILITY, PACK, fill, found, members, pack
from tests.support.waiting import HANG_S

pytestmark = pytest.mark.root


@pytest.fixture
def origin(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root: sets owners and capabilities")
    place = tmp_path / "origin"
    place.mkdir()
    fill(place)
    return place


@pytest.fixture
def archive(origin):
    return pack(origin)


def write(call, place, server, data, form="tar", **more):
    return call("image.write", tree=str(place), sources=server.url, digest=digest(data), format=form, **more)


def names(place):
    return sorted(path.name for path in place.iterdir() if path.name != "lost+found")


@pytest.mark.parametrize("form", PACK)
def test_a_tree_is_as_it_was(call, serve, mounted, origin, archive, form):
    place, data = mounted(), PACK[form](archive)
    answer = write(call, place, serve(data), data, form)
    assert found(place) == found(origin)
    assert os.getxattr(place / "usr/bin/ping", "security.capability") == CAPABILITY
    assert (place / "usr/bin/su").samefile(place / "usr/bin/sudo")
    assert (place / "var/sparse").stat().st_blocks * 512 < MIB, "holes stay holes"
    assert (answer["tree"], answer["format"], answer["digests"]) == (str(place), form, {"sha256": digest(data)})
    assert (answer["bytes_read"], answer["bytes_written"]) == (len(data), len(archive))
    assert call.warnings == []


def test_what_is_mounted_below_is_filled_and_emptied_too(call, serve, mounted, archive):
    place, data = mounted(), members(("boot/vmlinuz", REGTYPE, "kernel"), ("etc", REGTYPE, "x"))
    (place / "boot").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place / "boot")], check=True)
    with pytest.raises(PluginFailed) as failed:
        call("image.write", tree=str(place), sources=serve(data).url, digest=SHA, format="tar")
    assert failed.value.code == "digest_mismatch"
    assert (names(place), names(place / "boot")) == (["boot"], [])
    write(call, place, serve(data), data)
    assert (place / "boot/vmlinuz").stat().st_dev != place.stat().st_dev


# Format, what is wrong with the published file, request, code, sentence.
WRONG = {
    "digest": ("tar.gz", lambda data: data, {"digest": SHA}, "digest_mismatch", "expected 9999"),
    "cut": ("tar", lambda data: data[: 2 * MIB], {}, "truncated", "is not a complete tar archive: unexpected end"),
    "cut packed": ("tar.xz", lambda data: data[: len(data) // 2], {}, "truncated", "in the middle of its xz data"),
    "damaged": ("tar.gz", lambda data: data[:MIB] + b"?" * 999 + data[MIB + 999 :], {}, "bad_image", "is damaged"),
    "limit": ("tar.gz", lambda data: data, {"max_size_bytes": MIB}, "too_large", "more than the 1048576 bytes"),
    "empty": ("tar", lambda data: bytes(10240), {}, "bad_image", "without a member"),
    "no archive": ("tar", lambda data: b"\0no archive" * 99999, {}, "bad_image", "is not a complete tar archive"),
    "more behind": ("tar", lambda data: data + b"more", {}, "bad_image", "other data after the end"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_nothing_is_left_of_an_archive_that_is_wrong(call, serve, mounted, archive, what):
    form, spoil, request, code, sentence = WRONG[what]
    place, data = mounted(), spoil(PACK[form](archive))
    server = serve(data)
    with pytest.raises(PluginFailed, match=sentence) as failed:
        call("image.write", tree=str(place), sources=server.url, format=form, **{"digest": digest(data), **request})
    assert failed.value.code == code
    assert failed.value.message.startswith(server.url)
    # An end that comes too early may be seen before anything was unpacked.
    assert failed.value.message.endswith((f"{place} was emptied again", f"{place} was not touched"))
    assert names(place) == []


@pytest.mark.parametrize(("form", "data", "sentence"), [
    ("tar", PACK["tar.gz"](bytes(10240)), "is a gzip file and not a tar archive: declare gz"),
    ("tar.gz", PACK["tar.zst"](bytes(10240)), "is a zstd file and not a gzip file"),
    ("tar.gz", PACK["tar.gz"](b"QFI\xfb" + bytes(9999)), "unpacked, is a qcow2 image and not a tar archive"),
])  # fmt: skip
def test_another_format_is_refused_untouched(call, serve, mounted, form, data, sentence):
    place = mounted()
    before = place.stat().st_mtime_ns
    with pytest.raises(PluginFailed, match=sentence) as failed:
        write(call, place, serve(data), data, form)
    assert (failed.value.code, place.stat().st_mtime_ns) == ("wrong_format", before)
    assert "was not touched" in failed.value.message


HOSTILE = {
    "absolute": ([("/tmp/evil", REGTYPE, "x")], "has an absolute path"),
    "dots": ([("a/../../evil", REGTYPE, "x")], "leads out of the directory"),
    "through a link": ([("a", SYMTYPE, ".."), ("a/evil", REGTYPE, "x")], "through the link 'a'"),
    "a hard link out": ([("evil", LNKTYPE, "../../secret")], "leads out"),
    "a device": ([("sda", BLKTYPE, "")], '"allow_devices": true'),
    "a character device": ([("mem", CHRTYPE, "")], '"allow_devices": true'),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("form", ["tar", "tar.zst"])
def test_a_hostile_member_is_refused_and_nothing_is_left(call, serve, mounted, tmp_path, what, form):
    given, sentence = HOSTILE[what]
    place, data = mounted(), PACK[form](members(("good", REGTYPE, "x" * MIB), *given, ("after", REGTYPE, "x")))
    with pytest.raises(PluginFailed, match=sentence) as failed:
        write(call, place, serve(data), data, form)
    assert (failed.value.code, names(place)) == ("unsafe_image", [])
    assert failed.value.details["member"] == given[-1][0]
    assert list(tmp_path.rglob("evil")) == []


def test_device_nodes_are_unpacked_if_asked_for(call, serve, mounted):
    place, data = mounted(), members(("null", CHRTYPE, ""), ("disk", BLKTYPE, ""))
    write(call, place, serve(data), data, allow_devices=True)
    assert (place / "null").is_char_device()
    assert (place / "disk").is_block_device()


def test_a_full_file_system(call, serve, mounted, archive):
    place = mounted(4)
    with pytest.raises(PluginFailed, match="was emptied again") as failed:
        write(call, place, serve(archive), archive)
    assert (failed.value.code, names(place)) == ("too_large", [])


@pytest.fixture
def slowly(call, serve):
    """A command that has unpacked something and has not come to an end."""
    started = []

    def start(place, data):
        server = serve(data)
        server.silent_after = len(data) - (1 << 16)
        request = {"sources": server.url, "digest": digest(data), "format": "tar", "patience_s": HANG_S}
        running = call.start("image.write", tree=str(place), **request)
        started.append(running.process)
        running.wait_until((place / "usr/bin").exists)
        assert (place / MARKER).exists()
        return running

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_sigterm_empties_the_tree(mounted, slowly, archive):
    place = mounted()
    running = slowly(place, archive)
    running.terminate()
    with pytest.raises(PluginFailed, match=r"stopped after \d+ bytes") as failed:
        running.finish()
    assert (failed.value.code, names(place)) == ("stopped", [])


def test_what_kill_9_left_is_refused_until_it_is_cleaned_up(call, serve, mounted, slowly, origin, archive):
    place = mounted()
    running = slowly(place, archive)
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    left = names(place)
    assert {MARKER, "usr"} <= set(left)
    with pytest.raises(PluginFailed, match="holds the rest of an unfinished archive") as failed:
        write(call, place, serve(archive), archive)
    assert (failed.value.code, failed.value.exit_status, names(place)) == ("not_empty", 77, left)
    # What the agent does by itself after it had to kill a command.
    request = {"tree": str(place), "sources": "/x", "format": "tar"}
    call.start("image.write", action="cleanup", **request).process.wait()
    assert names(place) == []
    write(call, place, serve(archive), archive)
    call.start("image.write", action="cleanup", **request).process.wait()
    assert found(place) == found(origin), "without the marker nothing is taken away"


def test_the_second_source_after_one_that_was_cut_off(call, serve, mounted, origin, archive):
    place, short = mounted(), serve(archive[: 3 * MIB])
    answer = call(
        "image.write", tree=str(place), sources=[short.url, serve(archive).url], digest=digest(archive), format="tar"
    )
    assert [failure["code"] for failure in answer["failed"]] == ["digest_mismatch"]
    assert found(place) == found(origin)


def refused(call, place, **env):
    call.extra_env = env
    with pytest.raises(PluginFailed) as failed:
        call("image.write", tree=str(place), sources="http://127.0.0.1:1/x.tar", format="tar", patience_s=1)
    return failed.value


def test_what_is_no_tree_to_fill_is_refused_before_a_source_is_asked(call, mounted, tmp_path):
    place = mounted()
    (place / "etc").mkdir()
    assert [refused(call, path).code for path in (tmp_path, tmp_path / "no", Path("//"))] == ["not_a_tree"] * 3
    assert (refused(call, place).code, refused(call, place).details) == ("not_empty", {"found": ["etc"]})
    (place / "etc").rmdir()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    assert refused(call, place).code == "read_only"


def test_disks_that_are_not_allowed_are_protected_below_the_tree_too(call, mounted):
    place, other = mounted(), mounted()
    protected = refused(call, place, AGENT_DEVICES="/dev/sd*")
    assert (protected.code, protected.exit_status) == ("protected", 77)
    assert "is not in the agent's device allow-list (/dev/sd*)" in protected.message
    (place / "boot").mkdir()
    node = subprocess.run(["findmnt", "-no", "SOURCE", str(other)], capture_output=True, text=True).stdout.strip()
    subprocess.run(["mount", node, str(place / "boot")], check=True)
    protected = refused(call, place, AGENT_DEVICES=f"/dev/loop*,!{node}")
    assert (protected.code, f"{place}/boot is mounted from {node}" in protected.message) == ("protected", True)


def with_attributes(*headers):
    """A pax archive with one empty file for each dict of pax headers."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number, one in enumerate(headers):
            member = tarfile.TarInfo(f"file{number}")
            member.pax_headers = one
            made.addfile(member)
    return file.getvalue()


def test_labels_of_selinux_and_the_attributes_of_bsdtar_are_kept(call, serve, mounted):
    label = "system_u:object_r:etc_t:s0"
    data = with_attributes(
        {"RHT.security.selinux": label}, {"SCHILY.xattr.security.selinux": label},
        {"LIBARCHIVE.xattr.user.a%20b": "AAEC", "SCHILY.ino": "7"},
        {"LIBARCHIVE.xattr.user.x": "AAEC", "SCHILY.xattr.user.x": "both"},
    )  # fmt: skip
    place = mounted()
    write(call, place, serve(data), data)
    assert os.getxattr(place / "file0", "security.selinux") == label.encode() + b"\0"
    assert os.getxattr(place / "file1", "security.selinux") == label.encode()
    assert os.getxattr(place / "file2", "user.a b") == b"\0\1\2"
    assert os.getxattr(place / "file3", "user.x") == b"both"
    assert (call.warnings, names(place)) == ([], ["file0", "file1", "file2", "file3"])


def test_what_tar_says_and_goes_on_is_told(call, serve, mounted):
    data = with_attributes({"SCHILY.realsize": "0", "VENDOR.unheard": "of"}, {"LIBARCHIVE.xattr.nospace": "AAEC"})
    place = mounted()
    write(call, place, serve(data), data)
    assert any("VENDOR.unheard" in line for line in call.warnings)
    assert any("1 extended attributes could not be set" in line for line in call.warnings)


def test_a_damaged_attribute_is_a_damaged_archive(call, serve, mounted):
    data = with_attributes({"LIBARCHIVE.xattr.user.x": "A"})
    place = mounted()
    with pytest.raises(PluginFailed, match=r"user\.x of 'file0'") as failed:
        write(call, place, serve(data), data)
    assert (failed.value.code, names(place)) == ("bad_image", [])
