import json

import pytest

from agent_router.plugin import Failed
from agent_router.storage import table
from agent_router.storage.table import MIB, Partition, PartitionTable, find_esp, msdos_place, parse

TIB = 1 << 40
# sfdisk 2.38.1 --json
GPT = """{"partitiontable": {"label":"gpt","id":"6D3C932E","device":"/dev/nvme0n1","unit":"sectors","firstlba":34,
"lastlba":614366,"sectorsize":512,"partitions":[
{"node":"/dev/nvme0n1p15","start":2048,"size":102400,"type":"C12A7328-F81F-11D2-BA4B-00A0C93EC93B","uuid":"6E43EE38"},
{"node":"/dev/nvme0n1p2","start":481280,"size":133087,"type":"0FC63DAF","uuid":"8E32D44B","name":"config-2"}]}}"""


def part(number, start_mib, size_mib, kind="83"):
    return Partition(number, start_mib * MIB, size_mib * MIB, kind)


def test_reads_what_sfdisk_prints():
    found = parse(json.loads(GPT))
    assert (found.label, found.sector) == ("gpt", 512)
    assert [(one.number, one.start, one.name, one.uuid) for one in found.partitions] == [
        (15, MIB, "", "6e43ee38"),
        (2, 235 * MIB, "config-2", "8e32d44b"),
    ]
    assert find_esp(found).number == 15
    assert parse({"partitiontable": {"label": "dos"}}).partitions == []


def test_the_esp_on_msdos():
    assert find_esp(PartitionTable("dos", 512, [part(1, 1, 1), part(2, 2, 1, "ef")])).number == 2
    assert find_esp(PartitionTable("dos", 512, [part(1, 1, 1)])) is None


def test_a_new_msdos_partition_lies_at_the_end():
    assert msdos_place(PartitionTable("dos", 512, [part(1, 1, 10)]), 64 * MIB, 100 * MIB + 300) == 36 * MIB


@pytest.mark.parametrize(("sector", "start"), [(512, 2 * TIB - 65 * MIB), (4096, 3 * TIB - 64 * MIB)])
def test_it_lies_below_what_the_table_can_address(sector, start):
    """2 TiB with sectors of 512 bytes, 16 TiB with those of 4096."""
    assert msdos_place(PartitionTable("dos", sector, [part(1, 1, 10)]), 64 * MIB, 3 * TIB) == start


def test_logical_partitions_take_no_slot():
    found = [part(1, 1, 5), part(2, 6, 5), part(3, 11, 10, "5"), part(5, 12, 4), part(6, 16, 4)]
    assert msdos_place(PartitionTable("dos", 512, found), 64 * MIB, 100 * MIB) == 36 * MIB


@pytest.mark.parametrize(("partitions", "code"), [
    ([part(number, number, 1) for number in (1, 2, 3, 4)], "no_free_slot"), ([part(1, 1, 50)], "no_space"),
    ([part(1, 50, 10)], "no_space"),
])  # fmt: skip
def test_a_disk_without_room(partitions, code):
    with pytest.raises(Failed) as failed:
        msdos_place(PartitionTable("dos", 512, partitions), 64 * MIB, 100 * MIB)
    assert failed.value.code == code


def test_a_disk_smaller_than_the_partition():
    with pytest.raises(Failed):
        msdos_place(PartitionTable("dos", 512), 64 * MIB, 64 * MIB)


def test_other_sfdisk_errors_do_not_mean_a_missing_table(monkeypatch):
    def broken(*argv):
        raise Failed("tool_failed", "sfdisk ended with 1: cannot open /dev/sda: Input/output error")

    monkeypatch.setattr(table.plugin, "tool", broken)
    with pytest.raises(Failed, match="Input/output error"):
        table.read("/dev/sda")
