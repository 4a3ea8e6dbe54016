import pytest

from agent_router.hardware import cpu

X86 = "\n\n".join(
    f"processor\t: {n}\nmodel name\t: Example CPU\ncpu MHz\t\t: 2599.998\nphysical id\t: {n // 2}\nflags\t\t: fpu vmx"
    for n in range(4)
)
ARM = (
    "processor\t: 0\nFeatures\t: fp asimd\n\nprocessor\t: 1\nFeatures\t: fp asimd\n\nHardware\t: Board\nSerial\t\t: 1\n"
)


def machine(tmp_path, cpuinfo, **sysfs):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    for name, text in sysfs.items():
        path = tmp_path / "sys/devices/system/cpu" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return cpu.cpu(tmp_path / "sys", tmp_path / "proc")


def test_x86(tmp_path):
    found = machine(tmp_path, X86)
    assert found["model_name"] == "Example CPU"
    assert (found["count"], found["socket_count"], found["frequency"]) == (4, 2, "2599.998")
    assert found["flags"] == ["fpu", "vmx"]


def test_the_highest_frequency_wins_over_the_present_one(tmp_path):
    assert machine(tmp_path, X86, cpu0__cpufreq__cpuinfo_max_freq="3700000")["frequency"] == "3700.0000"


def test_arm_has_no_model_name_but_sockets_in_sysfs(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "ask", lambda *_, **__: None)
    found = machine(tmp_path, ARM, cpu0__topology__physical_package_id="0", cpu1__topology__physical_package_id="36")
    assert (found["model_name"], found["frequency"], found["count"]) == ("", "", 2)
    assert (found["socket_count"], found["flags"]) == (2, ["fp", "asimd"])


@pytest.mark.parametrize(("lscpu", "dmidecode", "model"), [
    ("Vendor ID:  ARM\nModel name:  Neoverse-N1\n", "", "Neoverse-N1"),
    ("Architecture: aarch64\nModel name: -\n", "\tVersion: Ampere(R) Altra(R)\n", "Ampere(R) Altra(R)"),
    (None, "\tVersion: Not Specified\n", ""), (None, None, ""),
])  # fmt: skip
def test_who_knows_the_model_of_an_arm_processor(tmp_path, monkeypatch, lscpu, dmidecode, model):
    firmware = dmidecode and f"Handle 0x0004, DMI type 4, 48 bytes\nProcessor Information\n{dmidecode}"
    told = {"lscpu": lscpu, "dmidecode": firmware}
    monkeypatch.setattr(cpu, "ask", lambda name, *_, **__: told[name])
    assert machine(tmp_path, ARM)["model_name"] == model


def test_nothing_at_all(tmp_path):
    assert machine(tmp_path, "")["socket_count"] == 1


@pytest.mark.parametrize(("text", "total"), [("MemTotal:  1024 kB\nMemFree: 1 kB\n", 1 << 20), ("", 0)])
def test_memory_total(tmp_path, text, total):
    (tmp_path / "meminfo").write_text(text)
    assert cpu.memory_total(tmp_path) == total
