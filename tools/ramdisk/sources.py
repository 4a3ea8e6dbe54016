#!/usr/bin/env python3
"""sources.py [--dib]: print this machine's apt sources for its release, so that no mirror is ever hard-coded.

Prints one-line sources for mmdebstrap, or (--dib) the DIB_… variables for diskimage-builder. Reads both of apt's
formats; entries for other archives (other suites) are left out. DIB_DEBIAN_COMPONENTS, comma-separated, replaces the
components of the entries.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

APT = Path("/etc/apt")


class Source(NamedTuple):
    uri: str
    suite: str
    components: list[str]
    signed_by: str

    def line(self) -> str:
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.suite} {' '.join(self.components)}"


def deb822(text: str) -> Iterator[Source]:
    for paragraph in re.split(r"\n\s*\n", text):
        uncommented = "\n".join(line for line in paragraph.splitlines() if not line.startswith("#"))
        lines = re.sub(r"\n[ \t]+", " ", uncommented).splitlines()
        fields = {
            key.strip().lower(): value.split() for key, _, value in (line.partition(":") for line in lines) if value
        }
        if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"])[0].lower() == "no":
            continue
        # The field may also contain the key itself, which the one-line format cannot.
        signed = "" if "-----BEGIN" in fields.get("signed-by", []) else fields.get("signed-by", [""])[0]
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield Source(uri, suite, fields.get("components", []), signed)


def one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if found:
            signed = re.search(r"signed-by=(\S+)", found[1] or "")
            yield Source(found[2], found[3], found[4].split(), signed[1] if signed else "")


def sources(codename: str, apt: Path = APT) -> list[Source]:
    found: list[Source] = []
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        found += deb822(path.read_text())
    for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        if path.exists():
            found += one_line(path.read_text())
    return [source for source in found if source.suite.split("-")[0] == codename]


def dib_variables(found: list[Source], codename: str) -> dict[str, str]:
    variables = {"DIB_RELEASE": codename}
    for name, suite in (("DIB_DISTRIBUTION_MIRROR", codename), ("DIB_DEBIAN_SECURITY_MIRROR", f"{codename}-security")):
        uris = [source.uri for source in found if source.suite == suite]
        if uris:
            variables[name] = uris[0]
    return variables


def main() -> None:
    release = Path("/etc/os-release").read_text()
    codename = re.search(r'^VERSION_CODENAME="?(\w+)', release, re.MULTILINE)
    found = sources(codename[1]) if codename else []
    if codename is None or not found:
        sys.exit("/etc/apt has no source for this machine's release; add one, apt-get update needs it too")
    if sys.argv[1:] == ["--dib"]:
        for name, value in dib_variables(found, codename[1]).items():
            print(f"export {name}={shlex.quote(value)}")
        return
    components = os.environ.get("DIB_DEBIAN_COMPONENTS", "").replace(",", " ").split()
    print("\n".join(source._replace(components=components or source.components).line() for source in found))


if __name__ == "__main__":
    main()
