import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("packages_py", ROOT / "tools/ramdisk/packages.py")
packages_py = importlib.util.module_from_spec(spec)
spec.loader.exec_module(packages_py)


@pytest.fixture
def element(tmp_path):
    def make(name, deps="", installs="", pkg_map=None, below="own"):
        directory = tmp_path / below / name
        directory.mkdir(parents=True)
        if deps:
            (directory / "element-deps").write_text(deps)
        if installs:
            (directory / "package-installs.yaml").write_text(installs)
        if pkg_map is not None:
            (directory / "pkg-map").write_text(json.dumps(pkg_map))
        return directory

    return make


def names(paths):
    return [path.name for path in paths]


def test_dependencies_come_first_and_once(element, tmp_path):
    element("c")
    element("b", deps="c\n")
    element("a", deps="b\nc\n")
    assert names(packages_py.resolve(["a", "c"], [tmp_path / "own"])) == ["c", "b", "a"]


def test_elements_of_diskimage_builder_are_passed_over(element, tmp_path):
    element("a", deps="install-static\npkg-map\n")
    assert names(packages_py.resolve(["a", "debian-minimal"], [tmp_path / "own"])) == ["a"]


def test_an_element_that_needs_none_is_found(element, tmp_path):
    element("a")
    assert names(packages_py.resolve(["a"], [tmp_path / "own"])) == ["a"]


def test_the_first_directory_wins(element, tmp_path):
    element("a")
    mine = element("a", below="mine")
    element("b", deps="a\n")
    found = packages_py.resolve(["b"], [tmp_path / "mine", tmp_path / "own"])
    assert found == [mine, tmp_path / "own/b"]


def test_no_file_no_packages(element):
    assert packages_py.packages(element("a")) == []
    assert packages_py.packages(element("b", installs="# nothing yet\n")) == []


def test_packages_by_architecture(element):
    installs = "one:\ntwo:\n  arch: amd64, i386\nthree:\n  arch: arm64\nfour:\n  arch: x86_64\n"
    assert packages_py.packages(element("a", installs=installs)) == ["one", "two", "four"]


def test_names_are_mapped_and_may_become_none_or_several(element):
    mapping = {"family": {"debian": {"one": "first", "two": "", "three": "third fourth"}}}
    path = element("a", installs="one:\ntwo:\nthree:\nfive:\n", pkg_map=mapping)
    assert packages_py.packages(path) == ["first", "third", "fourth", "five"]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({"default": {"x": "d"}}, "d"),
        ({"default": {"x": "d"}, "family": {"debian": {"x": "f"}}}, "f"),
        ({"family": {"debian": {"x": "f"}}, "distro": {"debian": {"x": "n"}}}, "n"),
        ({"default": {"x": "d"}, "family": {"redhat": {"x": "r"}}, "distro": {"ubuntu": {"x": "u"}}}, "d"),
    ],
)
def test_the_narrowest_name_wins(element, kinds, expected):
    assert packages_py.packages(element("a", installs="x:\n", pkg_map=kinds)) == [expected]


def test_an_unknown_element_is_named(monkeypatch, element, tmp_path):
    element("known")
    monkeypatch.setattr(packages_py, "ELEMENTS", [tmp_path / "own"])
    monkeypatch.setattr("sys.argv", ["packages.py", "unknown"])
    with pytest.raises(SystemExit, match="No such element: unknown; known elements: known"):
        packages_py.main()
