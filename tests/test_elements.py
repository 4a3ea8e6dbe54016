"""The elements of the ramdisk: each is complete, as diskimage-builder wants it, and known to the fast build."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ELEMENTS = ROOT / "ramdisk-elements"
NAMES = sorted(path.name for path in ELEMENTS.iterdir() if path.is_dir())
PHASES = sorted(path for path in ELEMENTS.glob("*/*.d/*") if path.parent.name not in {"environment.d", "keep.d"})
ENVIRONMENT = sorted(ELEMENTS.glob("*/environment.d/*"))
VENDOR = ELEMENTS / "agent-router-vendor-example/static/etc/agent-router"

every_element = pytest.mark.parametrize("name", NAMES)


def relative(path: Path) -> str:
    return str(path.relative_to(ELEMENTS))


def packages_py(*args: str) -> list[str]:
    command = [sys.executable, str(ROOT / "tools/ramdisk/packages.py"), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def variables(path: Path) -> list[str]:
    exports = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(line.startswith("export ") for line in exports), f"{relative(path)} does more than export"
    return [line.removeprefix("export ").partition("=")[0] for line in exports]


def test_there_are_elements_phases_and_variables():
    assert NAMES
    assert PHASES
    assert ENVIRONMENT


@every_element
def test_says_what_it_is(name):
    readme = ELEMENTS / name / "README.rst"
    head = readme.read_text().splitlines()[:3] if readme.exists() else []
    assert head == ["=" * len(name), name, "=" * len(name)], f"{name} has no README.rst with its name"
    assert name in (ELEMENTS / "agent-router/README.rst").read_text(), "agent-router/README.rst lists every element"


@every_element
def test_documents_its_variables(name):
    text = (ELEMENTS / name / "README.rst").read_text()
    for path in (ELEMENTS / name).glob("environment.d/*"):
        missing = [variable for variable in variables(path) if f"``{variable}``" not in text]
        assert missing == [], f"{name}/README.rst says nothing of them"


@pytest.mark.parametrize("path", PHASES, ids=relative)
def test_phase_script(path):
    lines = path.read_text().splitlines()
    assert path.stat().st_mode & stat.S_IXUSR, "diskimage-builder passes over what is not executable"
    assert lines[0] == "#!/bin/bash"
    assert {"set -eu", "set -o pipefail"} <= set(lines)
    assert 'if [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ]; then' in lines


@pytest.mark.parametrize("path", ENVIRONMENT, ids=relative)
def test_what_the_operator_set_wins(path):
    assert not path.stat().st_mode & stat.S_IXUSR
    for line in path.read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        assert line.startswith("#") or f"${{{name}:" in value


@every_element
def test_the_fast_build_finds_its_packages(name):
    elements = packages_py("--elements", name)
    assert elements[-1] == str(ELEMENTS / name)
    assert str(ELEMENTS / "agent-router") in elements
    names = packages_py(name)
    assert "python3-venv" in names
    assert names == sorted(set(names))


@every_element
def test_dependencies_are_elements_that_exist(name):
    own = (ELEMENTS / name / "element-deps").read_text().split()
    assert [dep for dep in own if dep.startswith("agent-router") and dep not in NAMES] == []
    # What makes diskimage-builder read a file of that name.
    readers = {"package-installs.yaml": "package-installs", "pkg-map": "pkg-map", "static": "install-static"}
    for file, element in readers.items():
        if (ELEMENTS / name / file).exists():
            assert element in own, f"{file} has no effect"


@pytest.mark.parametrize("path", sorted(ELEMENTS.glob("*/keep.d/*")), ids=relative)
def test_what_is_kept_would_go_otherwise(path):
    pack = ELEMENTS / "agent-router-live/pack"
    lists = {*(pack / "slim-files").read_text().splitlines(), *(pack / "slim-modules").read_text().splitlines()}
    kept = {line for line in path.read_text().splitlines() if not line.startswith("#")}
    assert kept
    assert kept <= lists


def test_nothing_static_is_left_behind():
    """The element install-static leaves out what CVS would: libraries and objects among others."""
    left = {".a", ".o", ".so", ".exe", ".old", ".bak", ".orig", ".Z"}
    static = [path for name in NAMES for path in (ELEMENTS / name).glob("static/**/*")]
    assert static
    assert [relative(path) for path in static if path.suffix in left or path.name in {"core", "tags", "TAGS"}] == []


@pytest.fixture
def installed(tmp_path):
    """The files of the vendor example with the modes of a ramdisk, whatever umask the checkout was made with."""
    place = tmp_path / "agent-router"
    shutil.copytree(VENDOR, place)
    for path in [place, *place.glob("**/*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "plugins.d" else 0o644)
    return ["--plugins", str(place / "plugins.d"), "--schemas", str(place / "schemas")]


def agent_router(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent_router", *args]
    environ = {**os.environ, "AGENT_ROUTER_URL": ""}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_the_vendor_example_is_two_files():
    files = sorted(relative(path) for path in VENDOR.glob("**/*") if path.is_file())
    assert [Path(name).name for name in files] == ["pci.list.acme", "pci.list.acme.json"]


def test_the_vendor_example_is_ready(installed):
    done = agent_router("methods", "pci.list.acme", "--json", *installed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "ready"


@pytest.mark.skipif(not any(Path("/sys/bus/pci/devices").glob("*")), reason="this machine has no PCI device")
def test_the_vendor_example_can_be_called(installed):
    done = agent_router("call", "pci.list.acme", *installed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Devices"]


def test_the_vendor_example_fails_as_it_says(installed):
    done = agent_router("call", "pci.list.acme", "class=fff0", *installed)
    assert done.returncode != 0
    assert "no such device" in done.stdout + done.stderr
