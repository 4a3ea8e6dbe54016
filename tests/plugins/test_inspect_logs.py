import base64
import io
import tarfile

import pytest

from tests.support.plugin import manifest, problems


@pytest.mark.parametrize("request_", [{"max_mib": 0}, {"max_mib": 12}, {"since": "today"}])
def test_schema_refuses(request_):
    assert problems("inspect.logs", "request", request_)


def test_the_request_is_that_of_log_collect():
    assert manifest("inspect.logs")["request"] == manifest("log.collect")["request"]


def test_the_archive(call, fake_tool):
    for program in ("journalctl", "dmesg", "ps", "lsblk", "mount", "df", "ip"):
        fake_tool(program, f"this is {program}\n")
    archive = base64.b64decode(call("inspect.logs")["logs"], validate=True)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar}
    assert files["journal"] == b"this is journalctl\n"
    assert {"dmesg", "lsblk", "ip_addr", "ip_route"} <= set(files)


def test_the_size_is_limited(call, fake_tool):
    fake_tool("journalctl", "\n".join(f"{n * 7919 % 99991} {n}" for n in range(40000)))
    assert len(base64.b64decode(call("inspect.logs", max_mib=0.05)["logs"])) <= 0.05 * (1 << 20)
