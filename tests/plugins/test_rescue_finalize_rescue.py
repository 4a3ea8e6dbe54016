import pytest

from tests.support.fake_ramdisk import call_in_ramdisk
from tests.support.plugin import BadRequest, PluginFailed, manifest, problems

COMMAND = "rescue.finalize_rescue"
HASH = "$6$saltsalt$abcDEF./"


@pytest.mark.parametrize("request_", [
    {}, {"rescue_password": ""}, {"rescue_password": "a\nroot:b"}, {"rescue_password": "x", "hashed": "true"},
])  # fmt: skip
def test_schema_refuses(call, request_):
    with pytest.raises(BadRequest):
        call(COMMAND, **request_)


def test_ironic_waits_for_the_answer_and_the_hash_is_a_secret():
    assert not problems(COMMAND, "request", {"rescue_password": HASH, "hashed": True})
    assert manifest(COMMAND)["synchronous"] is True
    assert manifest(COMMAND)["request"]["properties"]["rescue_password"]["writeOnly"] is True


def test_no_user_is_made_on_this_machine(call, fake_tool):
    tools = [fake_tool(name) for name in ("useradd", "usermod", "chpasswd", "busybox", "systemctl")]
    with pytest.raises(PluginFailed, match="not the utility ramdisk") as failed:
        call(COMMAND, rescue_password=HASH, hashed=True)
    assert failed.value.exit_status == 77
    assert all(tool.calls == [] for tool in tools)


@pytest.mark.root
def test_what_is_no_hash_is_refused_in_the_ramdisk_too(fake_tool, tmp_path):
    with pytest.raises(AssertionError, match="bad_hash"):
        call_in_ramdisk(COMMAND, tmp_path, fake_tool, "useradd", "chpasswd", rescue_password="plain", hashed=True)


@pytest.mark.root
def test_in_the_ramdisk_the_user_is_made(fake_tool, tmp_path):
    names = ("useradd", "usermod", "chpasswd", "busybox", "ssh-keygen")
    answer, tools = call_in_ramdisk(COMMAND, tmp_path, fake_tool, *names, rescue_password=HASH, hashed=True)
    assert not problems(COMMAND, "response", answer)
    assert tools["useradd"].calls == [["--create-home", "--shell", "/bin/bash", "rescue"]]
    assert tools["chpasswd"].calls == [["--encrypted"]]
