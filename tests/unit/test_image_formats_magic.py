import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile

import pytest

from agent_router.image.formats.magic import LOOK, kind_of, refuse_mismatch
from agent_router.plugin import Failed
from tests.support.memory_image import disk

NAME = "https://host/image"
BOOT_SECTOR = b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa" + bytes(512)


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi", "vhdx", "qed", "vpc"])
def test_names_what_qemu_img_makes(tmp_path, kind):
    if not shutil.which("qemu-img"):
        pytest.skip("needs qemu-img")
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, str(image), "1M"], check=True)
    with image.open("rb") as file:
        first = file.read(LOOK)
    assert kind_of(first) == {"vpc": "vhd"}.get(kind, kind)
    if kind != "qcow2":
        with pytest.raises(Failed, match="qemu-img convert") as failed:
            refuse_mismatch(first, "raw", NAME)
        assert failed.value.code == "wrong_format"


@pytest.mark.parametrize(("argv", "kind"), [
    (["gzip"], "gz"), (["xz"], "xz"), (["zstd"], "zst"), (["bzip2"], "bz2"), (["lz4"], "lz4"),
    (["xz", "--format=lzma"], "lzma"),
])  # fmt: skip
def test_names_what_compressors_make(argv, kind):
    if not shutil.which(argv[0]):
        pytest.skip(f"needs {argv[0]}")
    packed = subprocess.run([*argv, "-c"], input=disk(64), capture_output=True, check=True).stdout
    assert kind_of(packed) == kind
    with pytest.raises(Failed, match=r"declare|unpack"):
        refuse_mismatch(packed, "raw", NAME)


@pytest.mark.parametrize(("first", "kind", "cure"), [
    (b"\x50\x2a\x4d\x18\x04\0\0\0", "zst", "declare zst"), (b"# Disk DescriptorFile\nversion=1", "vmdk", "qemu-img"),
    (b"COWD\1\0\0\0", "vmdk", "qemu-img"), (b"PK\x03\x04", "zip", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "unpack it"),
    (b"\n <!DOCTYPE html>", "html", "check what the URL"), (b"\xef\xbb\xbf<HTML>", "html", "check what the URL"),
    (b"<?xml version='1.0'?><Error>", "xml", "check what"), (b'{"error": 404}', "json", "check what"),
    (b"-----BEGIN PGP SIGNATURE-----", "armour", "not that of its signature"), (b"d8:announce", "torrent", ".torrent"),
    (b"d10:created by6:mktorr", "torrent", ".torrent"), (b"<p>The following error", "html", "check what the URL"),
    (b"<title>Login</title><body>", "html", "check what"), (b"<Error><Code>AccessDenied", "xml", "check what"),
    (b'{\n  "errors": [{"status": 404}]\n}\n', "json", "check what"), (b"[1, 2]", "json", "check what"),
    (b"File not found.\n", "text", "a text and not a raw disk image"), (b"\xff\xfeF\0i\0l\0e\0", "text", "a text"),
    ("Datei nicht gefunden: für Änderungen …".encode(), "text", "a text"),
    (b"\x7fELF\2\1\1\0", "elf", "a Linux program"),
    (b"MZ\x90\0\3\0", "mz", "a Windows or EFI program"), (b"%PDF-1.7\n", "pdf", "URL of a disk image"),
    (b"partclone-image0002", "partclone", "restore it"), (b"#!/bin/sh\n", "text", "a text"),
    (b"version https://git-lfs.github.com", "git-lfs", "Git LFS"), (b"\x3a\xff\x26\xed", "android-sparse", "simg2img"),
])  # fmt: skip
def test_names_the_cure(first, kind, cure):
    assert kind_of(first) == kind
    with pytest.raises(Failed, match=cure) as failed:
        refuse_mismatch(first, "raw", NAME)
    assert failed.value.code == "wrong_format"
    assert failed.value.details == {"declared": "raw", "found": kind}


@pytest.mark.parametrize(
    "first",
    [
        BOOT_SECTOR,
        bytes(LOOK),
        b"\0",
        bytes(0x8001) + b"CD001",
        b"MZ" + bytes(508) + b"\x55\xaa",
    ],
)
def test_lets_disks_pass_as_raw(first):
    refuse_mismatch(first, "raw", NAME)


def test_a_hybrid_iso_has_a_name_and_is_raw_all_the_same():
    iso = bytes(0x8001) + b"CD001"
    assert kind_of(iso) == "iso9660"
    with pytest.raises(Failed, match="an ISO 9660 image and not a gzip file: declare raw"):
        refuse_mismatch(iso, "gz", NAME)


@pytest.mark.parametrize(("declared", "packed"), [
    ("gz", gzip.compress(b"x")), ("xz", lzma.compress(b"x")), ("bz2", bz2.compress(b"x")),
    ("tar.gz", gzip.compress(b"x")),
])  # fmt: skip
def test_what_is_declared_must_be_there(declared, packed):
    refuse_mismatch(packed, declared, NAME)
    refuse_mismatch(packed[:2], declared, NAME)  # too short to tell: the decoder says that it is truncated
    for other in (BOOT_SECTOR, b"\x28\xb5\x2f\xfd", b"<html>"):
        with pytest.raises(Failed) as failed:
            refuse_mismatch(other, declared, NAME)
        assert failed.value.code == "wrong_format"


def test_a_tar_archive_is_no_disk():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("etc/motd"))
    refuse_mismatch(file.getvalue()[:512], "tar", NAME)
    with pytest.raises(Failed, match="declare tar"):
        refuse_mismatch(file.getvalue(), "raw", NAME)


def test_what_was_packed_is_looked_at_too():
    with pytest.raises(Failed, match=r"unpacked, is a qcow2 image.*publish the qcow2 image itself"):
        refuse_mismatch(b"QFI\xfb", "raw", NAME, unpacked=True)
    with pytest.raises(Failed, match="only once"):
        refuse_mismatch(gzip.compress(b""), "raw", NAME, unpacked=True)


def test_nothing_is_no_image():
    with pytest.raises(Failed) as failed:
        refuse_mismatch(b"", "raw", NAME)
    assert failed.value.code == "empty"
