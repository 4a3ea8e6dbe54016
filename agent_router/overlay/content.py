"""What goes into an overlay: plugins.d/, schemas/ and root/ of one directory, as members of the archive."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from agent_router.catalogue.registry import IGNORED
from agent_router.overlay import tree
from agent_router.overlay.cpio import ArchiveError, Member, directory

EXTRA = "extra"  # the ramdisk's init copies it onto its root directory
HOME = "etc/agent-router"
NAMES = PLUGINS, SCHEMAS, ROOT = "plugins.d", "schemas", "root"
KINDS = ((PLUGINS, "", 0o755), (SCHEMAS, ".json", 0o644))

MOUNTED = ("dev", "proc", "run", "sys")
MAX_LINKS = 40


@dataclass(slots=True)
class Overlay:
    """`files` maps plugins.d/NAME and schemas/NAME.json to the file with their content, "" if that is outside.

    --force overrides `problems`, but not an ArchiveError or OSError.
    """

    path: str
    members: list[Member] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def on_ramdisk(self, path: str) -> str:
        """The file of the overlay that will have this absolute path on the ramdisk, "" if there is none."""
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
    """Everything in `path`; ArchiveError says in one sentence what makes an archive impossible."""
    overlay = Overlay(os.path.abspath(path))
    if not os.path.isdir(path):
        raise ArchiveError(f"{path} is not a directory; give the one that contains {PLUGINS}/ and {SCHEMAS}/")
    names = sorted(os.listdir(path))
    for name in NAMES:
        if name in names and not os.path.isdir(f"{path}/{name}"):
            raise ArchiveError(f"{path}/{name} is not a directory; make it one, or remove it")
    overlay.ignored = [name for name in names if name not in NAMES]
    for kind, suffix, mode in KINDS:
        if kind in names:
            _add_files(overlay, kind, suffix, mode)
    if ROOT in names:
        _add_root(overlay)
    if not overlay.members:
        raise ArchiveError(f"{path} is empty; put files into its {PLUGINS}/, {SCHEMAS}/ or {ROOT}/")
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
            overlay.members.append(Member(f"{place}/{name}", stat.S_IFREG | mode, path))
        else:
            raise ArchiveError(f"{path} is {tree.kind(found)}; only files and links to files belong there")
    if taken:
        overlay.members.append(directory(place))


def _add_link(overlay: Overlay, file: str, place: str, mode: int, taken: list[str]) -> None:
    kind = os.path.dirname(file)
    content, target = _resolve(overlay, kind, f"{overlay.path}/{file}", taken)
    if not content:
        overlay.problems.append(
            f"{file} points to {target}, which is not in this overlay; put the file below {overlay.path}/{ROOT}, "
            "or write a two-line script that calls the program on the ramdisk"
        )
    elif not os.path.isfile(content):
        raise ArchiveError(f"{overlay.path}/{file} points to {content}, which is not a file; link to a file")
    elif kind == PLUGINS and _below(content, f"{overlay.path}/{ROOT}") and not os.stat(content).st_mode & 0o111:
        overlay.problems.append(f"{content} is not executable; chmod 755 {content}")
    overlay.files[file] = content
    link = Member(place, stat.S_IFLNK | 0o777, target=target)
    overlay.members.append(link if target else Member(place, stat.S_IFREG | mode, content))


def _resolve(overlay: Overlay, kind: str, path: str, taken: list[str]) -> tuple[str, str]:
    """(the file that the link `path` leads to, "" if it is not in the overlay; the target of the link on the ramdisk).

    The target is "" for a file that will not be on the ramdisk: its content replaces the link.
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
    """`path` relative to `directory`, "" if it is elsewhere or does not exist."""
    directory = os.path.realpath(directory)
    return os.path.relpath(path, directory) if path.startswith(f"{directory}/") and os.path.exists(path) else ""


def _add_root(overlay: Overlay) -> None:
    root = f"{overlay.path}/{ROOT}"
    for kind, _, _ in KINDS:
        if os.path.lexists(f"{root}/{HOME}/{kind}"):
            raise ArchiveError(f"{root}/{HOME}/{kind} bypasses the checks; move its files to {overlay.path}/{kind}")
    for place in (f"{root}/etc", f"{root}/{HOME}"):
        if os.path.islink(place) or (os.path.exists(place) and not os.path.isdir(place)):
            raise ArchiveError(f"{place} must be a directory: on the ramdisk, plugins are below it")
    for name in MOUNTED:
        if os.path.lexists(f"{root}/{name}"):
            overlay.problems.append(
                f"{ROOT}/{name}: on the ramdisk /{name} is a mount point, which hides these files; remove them"
            )
    overlay.members += tree.members(root, EXTRA)
