"""Linters, and the rules of the house that a program can check.

At home a missing tool skips its test and says so; where CI=true (make lint) it fails.
"""

import ast
import graphlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.lint

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "agent_router"
# An environment of its own, made by make lint.
DIB = ROOT / ".ramdisk/dib/bin"
NOT_OURS = {".git", ".venv", ".bench", ".ramdisk", ".ironic", ".tox", "build", "dist", "data", "results", "__pycache__"}

ROUTER = {"schema", "config", "ipc", "runner", "catalogue", "commands", "api"}
ENGINES = {"storage", "ramdisk", "hardware", "image", "deploy"}
# Which part of the room image may import which.
PARTS_OF_IMAGE = {
    "protocols": set(), "formats": {"protocols"}, "destinations": {"protocols"}, "sources": {"formats", "protocols"},
    "engine": {"formats", "protocols", "sources"},
    "request": {"destinations", "engine", "formats", "protocols", "sources"},
    "write": {"destinations", "engine", "protocols", "request"},
}  # fmt: skip
MODULE_MAX_LINES = 400
FUNCTION_MAX_LINES = 40
# What the router must not know by name: disk tools, hardware tools, vendors, image formats.
FOREIGN_WORDS = (
    "lsblk|wipefs|sfdisk|sgdisk|parted|blkid|blkdiscard|hdparm|sg_format|mdadm|lvm|pvcreate|vgcreate|lvcreate|"
    "cryptsetup|mkfs|mkswap|losetup|smartctl|nvme|ipmitool|dmidecode|lshw|fwupdmgr|fwupd|storcli|ssacli|grub|"
    "efibootmgr|qcow2|vmdk|vhd|qemu|aria2c|udpcast|dell|hp|hpe|lenovo|supermicro|huawei|fujitsu|cisco|inspur|"
    "broadcom|nvidia|mellanox"
)


def own_files() -> Iterator[Path]:
    """Every file of the checkout that somebody here wrote."""
    for directory, directories, names in os.walk(ROOT):
        directories[:] = sorted(d for d in directories if d not in NOT_OURS and not d.endswith("_cache"))
        yield from (Path(directory, name) for name in sorted(names) if not Path(directory, name).is_symlink())


def language(path: Path) -> str:
    """python, sh (bash too) or nothing, by suffix and else by the first line."""
    if path.suffix in {".py", ".sh"}:
        return {".py": "python", ".sh": "sh"}[path.suffix]
    with path.open("rb") as file:
        first = file.readline(100)
    found = re.match(rb"#!.*\b(python|bash|sh|dash)[\d.]*\s*$", first)
    if found is None:
        return ""
    return "python" if found[1] == b"python" else "sh"


def written_in(wanted: str) -> list[str]:
    # Named one by one: given a directory, the tools pass over files without a suffix, which plugins are.
    found = [str(path.relative_to(ROOT)) for path in own_files() if language(path) == wanted]
    assert found, f"no {wanted} file found in {ROOT}"
    return found


def lint(tool: str, *args: str, place: Path | None = None, **environ: str) -> None:
    beside = (place or Path(sys.executable).parent) / tool
    program = str(beside) if beside.exists() else shutil.which(tool)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{tool} is not installed, and CI=true allows no skipped linter")
        pytest.skip(f"{tool} is not installed")
    # What it calls in its turn is found beside it first.
    environ = {**os.environ, "PATH": f"{Path(program).parent}:{os.environ['PATH']}", **environ}
    done = subprocess.run([program, *args], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{tool} found:\n{done.stdout}{done.stderr}"


def test_ruff():
    lint("ruff", "check", "--quiet", *written_in("python"))


def test_ruff_format():
    lint("ruff", "format", "--check", "--quiet", *written_in("python"))


def test_mypy():
    lint("mypy", "--strict", "agent_router")


def test_shellcheck():
    # Plugins find the helper through AGENT_LIB and their parameters in PARAM_…, both set by the agent.
    lint(
        "shellcheck", "--shell=bash", "--external-sources", "--source-path=agent_router/plugin",
        "--exclude=SC1091,SC2154", *written_in("sh"),
    )  # fmt: skip


def test_dib_lint():
    # LIB_DIR is the library of diskimage-builder in its own repository; it must exist.
    lint("dib-lint", place=DIB, ELEMENTS_DIR="ramdisk-elements", LIB_DIR="ramdisk-elements")


def test_codespell():
    lint("codespell", *(str(path.relative_to(ROOT)) for path in own_files() if path.name != "LICENSE"))


@pytest.mark.parametrize("tool", ["ruff", "mypy", "shellcheck", "dib-lint", "codespell"])
def test_a_missing_tool_is_an_error_in_ci_only(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"{tool} is not installed"):
        lint(tool)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=f"{tool} is not installed"):
        lint(tool)


def modules(*packages: str) -> list[Path]:
    found = [path for package in packages for path in (PACKAGE / package).rglob("*.py")]
    assert found, f"no module in {packages}"
    return sorted(found)


def test_modules_are_short():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in modules(".")}
    assert {path: n for path, n in lengths.items() if n > MODULE_MAX_LINES} == {}


def test_functions_are_short():
    long = {}
    for path in modules("."):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_MAX_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = length
    assert long == {}


def foreign_words(text: str) -> list[str]:
    pattern = rf"(?<![a-z0-9])(?:{FOREIGN_WORDS})(?![a-z0-9])"
    return sorted(set(re.findall(pattern, text.lower())))


def test_the_router_names_no_tool_vendor_or_format():
    sources = [
        path
        for package in ROUTER
        for path in (PACKAGE / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert sources
    named = {str(path.relative_to(ROOT)): foreign_words(path.read_text()) for path in sources}
    assert {path: words for path, words in named.items() if words} == {}


def test_foreign_words_are_found_as_words_only():
    assert foreign_words('run(["mkfs.ext4", "x"])  # on a Dell, with nvme_list') == ["dell", "mkfs", "nvme"]
    assert foreign_words("shp modelled vhdl") == []


def imports(source: str) -> set[str]:
    """Every name that the source imports, dotted; for `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: the rule here is absolute ones"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_packages(source: str) -> set[str]:
    """The packages of agent_router (first level) that the source imports."""
    names = (name.split(".") for name in imports(source))
    packages = {path.stem for path in PACKAGE.iterdir()}
    return {part[0] for first, *part in names if first == "agent_router" and part and part[0] in packages}


def rooms() -> dict[str, set[str]]:
    """The table of docs/architecture.md: room to the rooms that it may import; `*` is all of them."""
    text = (ROOT / "docs/architecture.md").read_text().partition("\nroom  ")[2].partition("```")[0]
    names = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    found: dict[str, set[str]] = {}
    for line in text.splitlines()[1:]:
        if not line.startswith(" "):
            room, *words = line.partition("  ")[0], *line.partition("  ")[2].split()
            allowed = set(itertools.takewhile(lambda word: word in {*names, "-", "*"}, words))
            found[room] = names - {room} if "*" in allowed else allowed - {"-"}
    return found


def test_own_packages_sees_every_form_of_import():
    source = "from agent_router import plugin\nimport agent_router.catalogue.a\nfrom agent_router.api.b import c\n"
    assert own_packages(source) == {"plugin", "catalogue", "api"}


# A flow starts commands, which nothing but the agent can.
OF_THE_AGENT = {"flow.start_flow": {"conductor"}}


def test_no_circle_of_rooms():
    for table in (rooms(), PARTS_OF_IMAGE):
        graphlib.TopologicalSorter(table).prepare()  # raises CycleError


def test_no_circle_of_modules():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules(".")}
    graph = {name: imports(path.read_text()) & set(names) - {name} for name, path in names.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_rooms_import_by_the_table():
    table = rooms()
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(table)
    for room, allowed in table.items():
        used = set().union(*(own_packages(path.read_text()) for path in modules(room))) - {room, "__version__"}
        assert used <= allowed, f"{room} imports {used - allowed}"
        assert room == "cli" or used == allowed, f"{room} does not need {allowed - used}"


def test_the_table_keeps_router_and_engines_apart():
    table = rooms()
    assert all(table[room] <= ROUTER | {"plugin", "linux"} for room in ROUTER)
    assert all(table[room] <= ENGINES | {"plugin", "linux"} for room in ENGINES)


def test_the_parts_of_image_import_by_the_table():
    for path in modules("image"):
        part = path.relative_to(PACKAGE / "image").parts[0].removesuffix(".py")
        found = {name.split(".")[2] for name in imports(path.read_text()) if name.startswith("agent_router.image.")}
        if part != "__init__":
            beyond = found & set(PARTS_OF_IMAGE) - {part, *PARTS_OF_IMAGE[part]}
            assert beyond == set(), f"{path.relative_to(ROOT)} imports {beyond}"


def test_a_plugin_imports_the_helper_and_one_engine_at_most():
    for path in (ROOT / "plugins.d").iterdir():
        if language(path) == "python":
            imported = own_packages(path.read_text()) - OF_THE_AGENT.get(path.name, set())
            assert imported <= {"plugin", *ENGINES}, f"{path.name} imports the router: {imported}"
            assert len(imported - {"plugin"}) <= 1, f"{path.name} imports several engines: {imported}"
