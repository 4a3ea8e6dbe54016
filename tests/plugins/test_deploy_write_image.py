import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from agent_router.deploy import permitted_formats
from tests.support.deployment import STEP, deploy
from tests.support.disk_content import assert_boots_nothing
from tests.support.disks import MIB, gpt_image, msdos_image, table_of
from tests.support.plugin import PluginFailed, problems

URL = "http://192.0.2.1/x.raw"


@pytest.fixture
def disk(root_disk):
    return root_disk


@pytest.mark.parametrize("request_", [
    {}, {"image_info": {}}, {"image_info": {"urls": []}}, {"image_info": {"urls": [URL]}, "device": "/dev/sda"},
    {"image_info": {"urls": [URL], "proxies": {"ftp": "x"}}}, {"image_info": {"urls": [URL]}, "configdrive": {}},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems(STEP, "request", request_)


def test_schema_accepts_what_ironic_sends():
    info = {
        "id": "x", "urls": [URL], "disk_format": "raw", "container_format": "bare", "stream_raw_images": True,
        "node_uuid": "u", "checksum": None, "os_hash_algo": "sha256", "os_hash_value": "00", "configdrive": "abc",
        "proxies": {}, "no_proxy": None,
    }  # fmt: skip
    assert not problems(STEP, "request", {"image_info": info, "configdrive": None, "skip_block_devices": []})


@pytest.mark.root
def test_writes_the_image_and_moves_the_backup_gpt_to_the_end(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image")
    answer = deploy(call, serve(image), image)
    assert (answer["device"], answer["bytes_written"], answer["partition_table"]) == (disk, len(image), "gpt")
    assert answer["config_drive"] is None
    assert answer["message"] == f"image (img) written to device {disk} by http"
    content = Path(disk).read_bytes()
    assert content[2048 * 512 : 7 * MIB] == image[2048 * 512 : 7 * MIB]
    assert content[-512:-504] == b"EFI PART"
    assert table_of(disk)["lastlba"] >= 99 * MIB // 512  # the end, or the last full MiB before it
    verified = subprocess.run(["sgdisk", "--verify", disk], capture_output=True, text=True, check=True)
    assert "No problems found" in verified.stdout
    assert call.warnings == []


@pytest.mark.root
def test_the_deployment_is_remembered_for_the_commands_after_it(call, serve, disk, tmp_path):
    image = msdos_image(tmp_path / "image", 4, "start=2048, size=2048, type=83")
    assert deploy(call, serve(image), image)["root_uuid"] == "0x3f2a91c4"
    assert call("standby.get_partition_uuids") == {"root uuid": "0x3f2a91c4"}
    facts = json.loads((tmp_path / "state/plugins/deployment.json").read_text())
    assert facts == {"device": disk, "image_id": "img", "root_uuid": "0x3f2a91c4"}


@pytest.mark.root
def test_a_wrong_image_leaves_a_disk_that_boots_nothing_and_no_deployment(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image")
    deploy(call, serve(image), image)
    with pytest.raises(PluginFailed) as failed:
        deploy(call, serve(image), image, info={"checksum": "0" * 128})
    assert failed.value.code == "digest_mismatch"
    assert "SHA-512" in failed.value.message
    content = Path(disk).read_bytes()
    assert content[:MIB].count(0) == MIB
    assert content[-MIB:].count(0) == MIB
    assert call("standby.get_partition_uuids") == {}


@pytest.mark.root
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha384", "sha512", "sha3_256"])
def test_every_digest(call, serve, disk, tmp_path, algorithm):
    image = gpt_image(tmp_path / "image")
    digest = hashlib.new(algorithm, image).hexdigest()
    info = {"checksum": None, "os_hash_algo": algorithm, "os_hash_value": digest.upper()}
    assert deploy(call, serve(image), image, info=info)["checksum"] == f"{algorithm}:{digest}"
    assert bool(call.warnings) == (algorithm in ("md5", "sha1"))


@pytest.mark.root
def test_a_digest_from_a_file_on_a_web_server(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image")
    digest = hashlib.sha256(image).hexdigest()
    sums = serve(f"{'0' * 64}  other.raw\n{digest} *disk.raw\n".encode())
    assert deploy(call, serve(image), image, info={"checksum": sums.url})["checksum"] == f"sha256:{digest}"


@pytest.mark.root
@pytest.mark.parametrize(("info", "header"), [
    ({"image_server_auth_strategy": "http_basic", "image_server_user": "u", "image_server_password": "pass word"},
     "Basic " + base64.b64encode(b"u:pass word").decode()),
    ({"image_request_authorization": base64.b64encode(b"Bearer a.b").decode()}, "Bearer a.b"),
])  # fmt: skip
def test_credentials_are_sent(call, serve, disk, tmp_path, info, header):
    image = gpt_image(tmp_path / "image")
    server = serve(image)
    deploy(call, server, image, info=info)
    assert server.requests[0]["Authorization"] == header
    assert header not in call.log


@pytest.mark.root
def test_the_proxy_is_asked_unless_the_host_is_exempt(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image")
    server, proxy = serve(image), serve(image)
    place = f"http://127.0.0.1:{proxy.server_address[1]}"
    deploy(call, server, image, info={"proxies": {"http": place}})
    assert (len(server.requests), len(proxy.requests)) == (0, 1)
    exempt = {"id": "again", "proxies": {"http": place}, "no_proxy": "example.org,127.0.0.1"}
    deploy(call, server, image, info=exempt)
    assert (len(server.requests), len(proxy.requests)) == (1, 1)


@pytest.mark.root
@pytest.mark.parametrize(("info", "code", "said"), [
    ({"disk_format": "vmdk"}, "wrong_format", "image_download_source = local"),
    ({"image_type": "partition"}, "partition_image", "whole-disk"),
    ({"checksum": None}, "no_checksum", "verified"), ({"checksum": "12"}, "bad_checksum", "12"),
    ({"os_hash_algo": "sha512", "os_hash_value": "0" * 64}, "bad_checksum", "length of a sha512"),
    ({"os_hash_algo": "crc", "os_hash_value": "00"}, "bad_checksum", "crc"),
    ({"urls": ["file:///etc/passwd"]}, "bad_url", "http"), ({"urls": ["http://u:p@h/x"]}, "bad_url", "user"),
    ({"image_request_authorization": "é"}, "bad_authorization", "base64"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_touched(call, serve, disk, tmp_path, info, code, said):
    before = Path(disk).read_bytes()
    image = gpt_image(tmp_path / "image")
    with pytest.raises(PluginFailed, match=said) as failed:
        deploy(call, serve(image), image, info=info)
    assert failed.value.code == code
    assert Path(disk).read_bytes() == before


@pytest.mark.root
def test_an_image_of_unknown_format_that_is_qcow2_names_the_cure(call, serve, disk):
    image = b"QFI\xfb" + bytes(MIB)
    with pytest.raises(PluginFailed, match="image_download_source = local") as failed:
        deploy(call, serve(image), image, info={"disk_format": None})
    assert failed.value.code == "wrong_format"


@pytest.mark.root
def test_a_disk_outside_the_device_list_is_never_written(call, serve, disk, loop_disk, tmp_path):
    call.extra_env["AGENT_DEVICES"] = loop_disk(1)
    before = Path(disk).read_bytes()
    image = gpt_image(tmp_path / "image")
    with pytest.raises(PluginFailed, match="not in the agent's device allow-list") as failed:
        deploy(call, serve(image), image)
    assert (failed.value.code, failed.value.exit_status) == ("device_not_allowed", 77)
    assert Path(disk).read_bytes() == before


@pytest.mark.root
def test_no_disk_that_matches(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image")
    with pytest.raises(PluginFailed, match=f"there are: {disk} .*serial ROOT") as failed:
        deploy(call, serve(image), image, skip_block_devices=[{"serial": "root"}])
    assert failed.value.code == "no_root_device"


@pytest.mark.root
def test_an_image_for_other_sectors_is_refused_untouched(call, serve, disk_of_4k_sectors, tmp_path):
    before = Path(disk_of_4k_sectors).read_bytes()
    image = gpt_image(tmp_path / "image")
    with pytest.raises(PluginFailed, match="sectors of 512 bytes and does not boot") as failed:
        deploy(call, serve(image), image)
    assert failed.value.code == "sector_size"
    assert Path(disk_of_4k_sectors).read_bytes() == before


@pytest.mark.root
def test_a_format_that_ironic_does_not_permit_leaves_the_disk_alone(call, serve, disk, tmp_path):
    (tmp_path / "state").mkdir()
    permitted_formats.remember({"permitted_image_formats": ["raw"]}, tmp_path / "state")
    server, before = serve(b"QFI\xfb"), Path(disk).read_bytes()
    with pytest.raises(PluginFailed, match="permitted_image_formats in \\[conductor\\]") as failed:
        deploy(call, server, b"", info={"disk_format": "qcow2"})
    assert failed.value.code == "format_not_permitted"
    assert (server.requests, Path(disk).read_bytes() == before) == ([], True)


@pytest.mark.root
def test_a_gpt_that_was_made_for_a_larger_disk_is_corrected_and_that_is_told(call, serve, disk, tmp_path):
    image = gpt_image(tmp_path / "image", 200, "start=2048, size=20MiB")[: 8 * MIB]
    assert deploy(call, serve(image), image)["partition_table"] == "gpt"
    assert f"made for a disk of {200 * MIB} bytes" in call.warnings[0]
    assert "what was on the disk before" in call.warnings[1]


@pytest.mark.root
@pytest.mark.parametrize(("damage", "said"), [((2, 600), "header of its GPT is damaged"), ((2, 1100), "entries")])
def test_a_damaged_gpt_is_not_made_up_for_by_one_that_the_last_owner_left(call, serve, disk, tmp_path, damage, said):
    older = gpt_image(tmp_path / "older", 100, "size=20MiB, name=older")
    Path(disk).write_bytes(older)
    image = bytearray(gpt_image(tmp_path / "image", 100))[: 8 * MIB]
    image[damage[1]] ^= damage[0]
    with pytest.raises(PluginFailed, match=f"{said}.*; {disk} holds no image now") as failed:
        deploy(call, serve(bytes(image)), bytes(image))
    assert failed.value.code == "bad_partition_table"
    assert_boots_nothing(disk)
    assert call("standby.get_partition_uuids") == {}


@pytest.mark.root
def test_an_image_of_nothing_that_is_known_is_deployed_only_if_asked(call, serve, disk):
    image = b"\xa5" * MIB
    with pytest.raises(PluginFailed, match="allow_unknown_content") as failed:
        deploy(call, serve(image), image)
    assert failed.value.code == "unknown_content"
    assert_boots_nothing(disk)
    assert deploy(call, serve(image), image, allow_unknown_content=True)["partition_table"] is None
    assert "neither a partition table nor a file system" in call.warnings[0]
