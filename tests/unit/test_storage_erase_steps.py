from types import SimpleNamespace

import pytest

from agent_router.plugin import Failed, Refused
from agent_router.storage import erase_steps, secure_erase
from agent_router.storage.erase_targets import EraseOptions, erase_options, shared


def ignore(*args):
    pass


@pytest.fixture
def drive(monkeypatch):
    """A disk that can erase itself: what it says, what it does, and whether it was asked to."""
    facts = SimpleNamespace(ability=("ata", ""), error=None, runs=[], warnings=[])

    def run(kind, name, report):
        facts.runs.append((kind, name))
        if facts.error:
            raise facts.error

    monkeypatch.setattr(secure_erase, "ability", lambda name: facts.ability)
    monkeypatch.setattr(secure_erase, "run", run)
    monkeypatch.setattr(erase_steps.blockdev, "open_exclusive", lambda device: 99)
    monkeypatch.setattr(erase_steps.os, "close", ignore)
    monkeypatch.setattr(erase_steps.plugin, "warn", facts.warnings.append)
    return facts


def by_itself(name="sda", wanted=None, fall_back=False):
    return erase_steps._securely(name, wanted or EraseOptions(), ignore, fall_back=fall_back)


def test_a_disk_that_can_erases_itself(drive):
    assert by_itself()
    assert drive.runs == [("ata", "sda")]


@pytest.mark.parametrize(
    ("name", "wanted"), [("sda", EraseOptions(ata_secure=False)), ("nvme0n1", EraseOptions(nvme_secure=False))]
)
def test_it_is_not_asked_where_the_conductor_forbids_it(drive, name, wanted):
    assert not by_itself(name, wanted)
    assert drive.runs == []


def test_one_that_cannot_is_overwritten_without_asking(drive):
    drive.ability = (None, "sda is neither an NVMe nor an ATA disk")
    assert not by_itself()
    assert drive.warnings == []


@pytest.mark.parametrize("reason", [secure_erase.FROZEN, secure_erase.EXPIRED])
def test_a_frozen_disk_is_a_failure_unless_configured_otherwise(drive, reason):
    drive.ability = (None, reason)
    with pytest.raises(Failed, match="agent_continue_if_secure_erase_failed") as failed:
        by_itself()
    assert failed.value.code == "secure_failed"
    assert not by_itself(fall_back=True)
    assert reason in drive.warnings[0]


def test_a_locked_disk_is_never_overwritten_instead(drive):
    drive.error = Failed("locked", "a password is set")
    with pytest.raises(Failed, match=r"^a password is set$"):
        by_itself(fall_back=True)


def test_a_failed_erase_is_a_failure_unless_configured_otherwise(drive):
    drive.error = Failed("tool_failed", "hdparm said no")
    with pytest.raises(Failed, match="hdparm said no"):
        by_itself()
    assert not by_itself(fall_back=True)


def test_one_that_is_in_use_is_never_overwritten_instead(drive):
    drive.error = Refused("device_busy", "sda is in use")
    with pytest.raises(Failed, match="in use"):
        by_itself(fall_back=True)


def test_the_options_and_their_older_names():
    assert erase_options({}) == EraseOptions()
    assert erase_options({"agent_continue_if_ata_erase_failed": True}).go_on
    both = {"agent_continue_if_ata_erase_failed": True, "agent_continue_if_secure_erase_failed": False}
    assert not erase_options(both).go_on
    assert erase_options({"agent_erase_devices_iterations": 0}).random_passes == 0
    assert erase_options({"agent_erase_devices_iterations": None}).random_passes == 1
    assert not erase_options({"agent_enable_nvme_secure_erase": False}).nvme_secure
    assert erase_options({"disk_erasure_concurrency": 4}).concurrency == 4


def test_cluster_file_systems_are_found_at_any_depth():
    tree = [
        {
            "fstype": None,
            "children": [
                {"parttype": "37AFFC90-EF7D-4E96-91C3-2D7AE055B174"},
                {"parttype": "0xfb"},
                {"fstype": "ext4"},
            ],
        }
    ]
    assert shared(tree) == ["IBM GPFS", "VMware VMFS"]


def test_the_meter_is_the_mean(monkeypatch):
    said = []
    monkeypatch.setattr(erase_steps.plugin, "progress", lambda done, *rest: said.append(done))
    meter = erase_steps.Meter(["a", "b"])
    meter.of("a")(50, 100, "bytes", "zero")
    meter.of("b")(1, 1, "disk", "metadata")
    erase_steps._part(meter.of("a"), 1, 2)(100, 100, "bytes", "zero")
    assert said == [25, 75, 100]


def test_progress_never_goes_back_between_stages(monkeypatch):
    def sweep(device, stage, size, passes, stop, report):
        for done in (0, size // 2, size):
            report(done, size, "bytes", stage)

    said = []
    monkeypatch.setattr(erase_steps.erase, "sweep", sweep)
    monkeypatch.setattr(erase_steps.blockdev, "size_bytes", lambda name: 100)
    monkeypatch.setattr(erase_steps.table, "tell_kernel", ignore)
    wanted = EraseOptions(ata_secure=False, random_passes=1)
    stages = erase_steps._whole("sda", wanted, None, lambda done, total, *rest: said.append(done / total))
    assert stages == ["random", "zero"]
    assert said == [0, 0.25, 0.5, 0.5, 0.75, 1]
