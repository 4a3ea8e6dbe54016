#!/usr/bin/env python3
"""packages.py ELEMENT…: print the Debian packages that these elements and their dependencies install.

Reads element-deps, package-installs.yaml and pkg-map as diskimage-builder does; elements that are
not in ramdisk-elements/ are diskimage-builder's own and bring nothing here. With --elements, print
the elements themselves, dependencies first.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

ELEMENTS = Path(__file__).resolve().parents[2] / "ramdisk-elements"
ARCHES = {"amd64", "x86_64"}


def resolve(names: list[str], directory: Path = ELEMENTS) -> list[str]:
    """The elements of `directory` that are needed, each after what it depends on."""
    found: list[str] = []
    for name in names:
        deps = directory / name / "element-deps"
        if name not in found and deps.exists():
            wanted = [dep for dep in deps.read_text().split() if (directory / dep).is_dir()]
            found += [one for one in [*resolve(wanted, directory), name] if one not in found]
    return found


def packages(element: Path) -> list[str]:
    installs = element / "package-installs.yaml"
    if not installs.exists():
        return []
    mapping = pkg_map(element / "pkg-map")
    found = []
    for name, options in (yaml.safe_load(installs.read_text()) or {}).items():
        if wanted(options or {}):
            found += mapping.get(name, name).split()
    return found


def wanted(options: dict[str, Any]) -> bool:
    arch = {one.strip() for one in str(options.get("arch", "")).split(",") if one.strip()}
    return not arch or bool(arch & ARCHES)


def pkg_map(path: Path) -> dict[str, str]:
    """The narrowest wins: distribution, family, default."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text())
    merged: dict[str, str] = dict(document.get("default", {}))
    merged |= document.get("family", {}).get("debian", {})
    merged |= document.get("distro", {}).get("debian", {})
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", action="store_true", help="print the elements instead of their packages")
    parser.add_argument("names", nargs="+", metavar="ELEMENT")
    given = parser.parse_args()
    missing = [name for name in given.names if not (ELEMENTS / name).is_dir()]
    if missing:
        known = ", ".join(sorted(path.name for path in ELEMENTS.iterdir() if path.is_dir()))
        sys.exit(f"There is no element {', '.join(missing)}; there are {known}")
    elements = resolve(given.names)
    lines = elements if given.elements else sorted({p for name in elements for p in packages(ELEMENTS / name)})
    print("\n".join(lines))


if __name__ == "__main__":
    main()
