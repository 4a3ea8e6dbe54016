#!/usr/bin/env python3
"""packages.py ELEMENT…: print the Debian packages that these elements and their dependencies install.

Reads element-deps, package-installs.yaml and pkg-map as diskimage-builder does. Elements are searched for in the
directories of ELEMENTS_PATH (colon-separated) and in ramdisk-elements/; any others are diskimage-builder's own and are
ignored. With --elements, print the directories of the elements instead, dependencies first.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

OWN = Path(__file__).resolve().parents[2] / "ramdisk-elements"
ELEMENTS = [Path(name).resolve() for name in os.environ.get("ELEMENTS_PATH", "").split(":") if name] + [OWN]
ARCHES = {"amd64", "x86_64"}


def find(name: str, directories: list[Path]) -> Path | None:
    return next((each / name for each in directories if (each / name).is_dir()), None)


def resolve(names: list[str], directories: list[Path] = ELEMENTS) -> list[Path]:
    """The required elements in `directories`, each after its dependencies."""
    found: list[Path] = []
    for name in names:
        path = find(name, directories)
        if path is None or path in found:
            continue
        deps = path / "element-deps"
        wanted = deps.read_text().split() if deps.exists() else []
        found += [one for one in [*resolve(wanted, directories), path] if one not in found]
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
    """The most specific entry wins: distribution, family, default."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text())
    merged: dict[str, str] = dict(document.get("default", {}))
    merged |= document.get("family", {}).get("debian", {})
    merged |= document.get("distro", {}).get("debian", {})
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", action="store_true", help="print the directories of the elements instead")
    parser.add_argument("names", nargs="+", metavar="ELEMENT")
    given = parser.parse_args()
    missing = [name for name in given.names if not find(name, ELEMENTS)]
    if missing:
        known = ", ".join(sorted(path.name for each in ELEMENTS for path in each.iterdir() if path.is_dir()))
        sys.exit(f"No such element: {', '.join(missing)}; known elements: {known}")
    elements = resolve(given.names)
    lines = map(str, elements) if given.elements else sorted({p for path in elements for p in packages(path)})
    print("\n".join(lines))


if __name__ == "__main__":
    main()
