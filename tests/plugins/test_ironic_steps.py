"""What Ironic sends becomes calls of the bundled plugins: every step, and the node's part in it."""

import pytest

from agent_router.catalogue.registry import Registry
from agent_router.conductor import bridge
from agent_router.config.environment import search_path
from tests.support.plugin import PLUGINS, REPO, manifest, problems

NODE = {
    "uuid": "9588", "name": "node-17", "driver_info": {"x": "******"}, "extra": {},
    "properties": {"root_device": {"size": ">= 10"}, "skip_block_devices": [{"serial": "KEEP"}],
                   "inject_files": [{"path": "/etc/x", "content": "eA=="}]},
    "instance_info": {"root_device": {"serial": "X"}, "configdrive": {"meta_data": {"uuid": "u"}}},
    "driver_internal_info": {"disk_erasure_concurrency": 4, "agent_secret_token": "******"},
}  # fmt: skip
PORTS = [{"address": "52:54:00:aa:01:01", "uuid": "p"}]
INFO = {"id": "x", "urls": ["http://192.0.2.1/x"], "disk_format": "raw", "checksum": None, "os_hash_algo": "sha256",
        "os_hash_value": "0" * 64, "configdrive": "abc", "stream_raw_images": True}  # fmt: skip


@pytest.fixture
def registry():
    return Registry([PLUGINS], [REPO / "schemas"], search_path())


def translated(registry, phase, step, **arguments):
    params = {"step": {"interface": "deploy", "step": step, "args": arguments}, "node": NODE, "ports": PORTS}
    meant = bridge.translate(registry, f"{phase}.execute_{phase}_step", params)
    assert not problems(meant.name, "request", meant.params)
    return meant


def test_write_image(registry):
    meant = translated(registry, "deploy", "write_image", image_info=INFO, configdrive="abc")
    assert meant.name == "deploy.write_image"
    once = {key: value for key, value in INFO.items() if key != "configdrive"}  # Ironic sends it here too, up to 64 MiB
    assert meant.params == {
        "image_info": once,
        "configdrive": "abc",
        "root_device": {"size": ">= 10"},
        "instance_root_device": {"serial": "X"},
        "skip_block_devices": [{"serial": "KEEP"}],
    }
    assert "configdrive" not in str(meant.shown)


@pytest.mark.parametrize("step", ["erase_devices", "erase_devices_metadata", "erase_devices_express"])
def test_erasing(registry, step):
    meant = translated(registry, "clean", step)
    assert meant.name == f"deploy.{step}"
    assert meant.params == {
        "driver_internal_info": NODE["driver_internal_info"],
        "skip_block_devices": [{"serial": "KEEP"}],
    }


@pytest.mark.parametrize("phase", ["deploy", "service"])
def test_inject_files(registry, phase):
    meant = translated(registry, phase, "inject_files", files=[{"path": "/etc/y", "deleted": True}])
    assert meant.params["node_files"] == NODE["properties"]["inject_files"]
    assert (meant.params["node_uuid"], meant.params["ports"]) == ("9588", PORTS)


def test_a_node_with_nothing_in_it(registry):
    params = {"step": {"interface": "deploy", "step": "erase_devices"}, "node": {"properties": {}}, "ports": {}}
    meant = bridge.translate(registry, "clean.execute_clean_step", params)
    assert meant.params == {}
    assert not problems(meant.name, "request", meant.params)


def test_automated_cleaning_runs_what_ironic_python_agent_would(registry):
    steps = bridge.step_list(registry, "clean")["clean_steps"][bridge.OURS]
    priorities = {step["step"]: step["priority"] for step in steps if step["step"].startswith("erase_devices")}
    assert priorities == {"erase_devices_metadata": 99, "erase_devices": 10, "erase_devices_express": 0}


def test_no_deploy_step_runs_unasked(registry):
    """write_image too: Ironic runs it as its own step; with a priority it would be called without an image."""
    for phase in ("deploy", "service"):
        steps = bridge.step_list(registry, phase)[f"{phase}_steps"][bridge.OURS]
        ours = {"write_image", "inject_files", "erase_devices_metadata"}
        assert {step["priority"] for step in steps if step["step"] in ours} == {0}


@pytest.mark.parametrize("name", [
    "standby.get_partition_uuids", "standby.sync", "log.collect_system_logs", "rescue.finalize_rescue",
    "poll.get_hardware_info",
])  # fmt: skip
def test_what_ironic_expects_at_once_is_synchronous_and_quick(name):
    assert manifest(name)["synchronous"] is True
    if name != "poll.get_hardware_info":
        assert manifest(name)["timeout_s"] < 60, "Ironic waits for 60 s"
