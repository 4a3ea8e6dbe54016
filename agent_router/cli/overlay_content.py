"""What goes into an overlay: plugins.d/, schemas/ and root/ of one directory, as entries of the archive."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from agent_router.catalogue.registry import IGNORED
from agent_router.ramdisk import tree
from agent_router.ramdisk.cpio import ArchiveError, Entry, directory

EXTRA = "extra"  # what the ramdisk's init looks for, and copies onto its root directory
HOME = "etc/agent-router"
NAMES = PLUGINS, SCHEMAS, ROOT = "plugins.d", "schemas", "root"
KINDS = ((PLUGINS, "", 0o755), (SCHEMAS, ".json", 0o644))

MOUNTED = ("dev", "proc", "run", "sys")
MAX_LINKS = 40


@dataclass(slots=True)
class Overlay:
    """`files` maps plugins.d/NAME and schemas/NAME.json to the file with their content, "" if that lies outside.

    `problems` can be overridden, what raises ArchiveError or OSError can not.
    """

    path: str
    entries: list[Entry] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def on_ramdisk(self, path: str) -> str:
        """The file of the overlay that will have this absolute path on the ramdisk, "" if it brings none."""
        left, place, links = path.split("/")[::-1], "", 0
        while left:
            part = left.pop()
            if part == "..":
                place = os.path.dirname(place)
            elif part not in ("", "."):
                file = self._file(f"{place}/{part}")
                if not os.path.islink(file):
                    place += f"/{part}"
                elif (links := links + 1) > MAX_LINKS:
                    return ""
                else:
                    target = os.readlink(file)
                    left += target.split("/")[::-1]
                    place = "" if target.startswith("/") else place
        file = self._file(place)
        return file if os.path.exists(file) else ""

    def _file(self, place: str) -> str:
        home, name = os.path.split(place)
        if home in (f"/{HOME}/{PLUGINS}", f"/{HOME}/{SCHEMAS}"):
            return f"{self.path}/{os.path.basename(home)}/{name}"
        return f"{self.path}/{ROOT}{place}"


def collect(path: str) -> Overlay:
    """Everything that `path` holds; ArchiveError says in one sentence what makes an archive impossible."""
    overlay = Overlay(os.path.abspath(path))
    if not os.path.isdir(path):
        raise ArchiveError(f"{path} is no directory; give the one that holds {PLUGINS}/ and {SCHEMAS}/")
    names = sorted(os.listdir(path))
    for name in NAMES:
        if name in names and not os.path.isdir(f"{path}/{name}"):
            raise ArchiveError(f"{path}/{name} is not a directory; make it one, or leave it out")
    overlay.ignored = [name for name in names if name not in NAMES]
    for kind, suffix, mode in KINDS:
        if kind in names:
            _add_files(overlay, kind, suffix, mode)
    if ROOT in names:
        _add_root(overlay)
    if not overlay.entries:
        raise ArchiveError(f"{path} holds nothing for a ramdisk; put files into its {PLUGINS}/, {SCHEMAS}/ or {ROOT}/")
    return overlay


def _add_files(overlay: Overlay, kind: str, suffix: str, mode: int) -> None:
    taken: list[str] = []
    for name in sorted(os.listdir(f"{overlay.path}/{kind}")):
        good = name.endswith(suffix) and not IGNORED.search(name)
        (taken if good else overlay.ignored).append(name if good else f"{kind}/{name}")
    place = f"{EXTRA}/{HOME}/{kind}"
    for name in taken:
        path = f"{overlay.path}/{kind}/{name}"
        found = os.lstat(path).st_mode
        if stat.S_ISLNK(found):
            _add_link(overlay, f"{kind}/{name}", f"{place}/{name}", mode, taken)
        elif stat.S_ISREG(found):
            overlay.files[f"{kind}/{name}"] = path
            overlay.entries.append(Entry(f"{place}/{name}", stat.S_IFREG | mode, path))
        else:
            raise ArchiveError(f"{path} is {tree.kind(found)}; only files and links to files belong there")
    if taken:
        overlay.entries.append(directory(place))


def _add_link(overlay: Overlay, file: str, place: str, mode: int, taken: list[str]) -> None:
    kind = os.path.dirname(file)
    content, target = _resolve(overlay, kind, f"{overlay.path}/{file}", taken)
    if not content:
        overlay.problems.append(
            f"{file} points at {target}, which this overlay does not bring; put the file below {overlay.path}/{ROOT}, "
            "or write a script of two lines that calls what is on the ramdisk"
        )
    elif not os.path.isfile(content):
        raise ArchiveError(f"{overlay.path}/{file} points at {content}, which is not a file; let it point at one")
    elif kind == PLUGINS and _below(content, f"{overlay.path}/{ROOT}") and not os.stat(content).st_mode & 0o111:
        overlay.problems.append(f"{content} is not executable; chmod 755 {content}")
    overlay.files[file] = content
    link = Entry(place, stat.S_IFLNK | 0o777, target=target)
    overlay.entries.append(link if target else Entry(place, stat.S_IFREG | mode, content))


def _resolve(overlay: Overlay, kind: str, path: str, taken: list[str]) -> tuple[str, str]:
    """The file that the link `path` stands for, "" if it is not in the overlay; what to point at on the ramdisk.

    There is nothing to point at for a file that does not get there: its content takes the place of the link.
    """
    target = os.readlink(path)
    if os.path.isabs(target) and (content := overlay.on_ramdisk(target)):
        return content, target
    content = os.path.realpath(path)
    name = os.path.basename(content)
    if name in taken and _below(content, f"{overlay.path}/{kind}"):
        return content, name
    if inside := _below(content, f"{overlay.path}/{ROOT}"):
        return content, f"/{inside}"
    return (content, "") if _below(content, overlay.path) else ("", target)


def _below(path: str, directory: str) -> str:
    """`path` relative to `directory`, "" if it lies elsewhere or does not exist."""
    directory = os.path.realpath(directory)
    return os.path.relpath(path, directory) if path.startswith(f"{directory}/") and os.path.exists(path) else ""


def _add_root(overlay: Overlay) -> None:
    root = f"{overlay.path}/{ROOT}"
    for kind, _, _ in KINDS:
        if os.path.lexists(f"{root}/{HOME}/{kind}"):
            raise ArchiveError(f"{root}/{HOME}/{kind} is past all checks; move its files to {overlay.path}/{kind}")
    for place in (f"{root}/etc", f"{root}/{HOME}"):
        if os.path.islink(place) or (os.path.exists(place) and not os.path.isdir(place)):
            raise ArchiveError(f"{place} must be a directory: plugins lie below it on the ramdisk")
    for name in MOUNTED:
        if os.path.lexists(f"{root}/{name}"):
            overlay.problems.append(
                f"{ROOT}/{name}: /{name} is a file system of its own on the ramdisk, which hides it; take it out"
            )
    overlay.entries += tree.entries(root, EXTRA)
