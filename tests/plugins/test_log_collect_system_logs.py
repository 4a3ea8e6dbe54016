import base64
import io
import tarfile

from tests.support.plugin import manifest, problems

COMMAND = "log.collect_system_logs"


def test_it_is_log_collect_by_another_name():
    ours, theirs = manifest("log.collect"), manifest(COMMAND)
    assert theirs["synchronous"] is True
    for key in ("request", "response", "timeout_s", "output_limit_mib"):
        assert theirs[key] == ours[key]
    assert not problems(COMMAND, "request", {})


def test_gives_ironic_an_archive(call, fake_tool, tmp_path):
    for tool in ("journalctl", "dmesg", "ps", "lsblk", "ip", "mount", "df"):
        fake_tool(tool, stdout=f"this is {tool}\n")
    state = tmp_path / "state"
    state.mkdir()
    (state / "agent.log").write_text("started\n")
    call.extra_env["AGENT_STATE_DIR"] = str(state)
    data = io.BytesIO(base64.b64decode(call(COMMAND)["system_logs"], validate=True))
    with tarfile.open(fileobj=data, mode="r:gz") as tar:
        assert {"dmesg", "agent/agent.log"} <= set(tar.getnames())
