"""One method: a name, the two files that make it, and its state with the reason."""

import hashlib
import logging
import os
import re
from dataclasses import dataclass, field

from agent_router.catalogue import requirements
from agent_router.catalogue.manifest import Manifest, ManifestError, load
from agent_router.catalogue.trust import distrust
from agent_router.schema.problems import RequestError

NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}")
MAX_NAME = 100

READY = "ready"
# HTTP status of a call to a method in another state.
STATUS = {
    "incomplete": 404, "ignored": 404, "invalid": 500, "untrusted": 403,
    "unavailable": 501, "not_for_this_hardware": 501,
}  # fmt: skip

FileKey = tuple[int, ...]

# Of files with programs; a method name may end so, but hardly ever does.
SUFFIXES = ("sh", "bash", "py", "pl", "rb", "js", "lua", "exe", "bin")

log = logging.getLogger("agent_router")


def good_name(name: str) -> bool:
    return len(name) <= MAX_NAME and NAME.fullmatch(name) is not None


def file_key(path: str) -> FileKey:
    """What changes when a file is replaced or edited in place."""
    info = os.stat(path)
    return info.st_ino, info.st_mtime_ns, info.st_size, info.st_mode, info.st_uid


@dataclass(slots=True)
class Method:
    """What stands under one name in the plugin and schema directories.

    `executables` and `manifests` normally hold one path each; none makes it incomplete, two
    make it invalid. `state` and `reason` are computed at first use and when a file changes.
    """

    name: str
    executables: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    state: str = ""
    reason: str = ""
    manifest: Manifest | None = None
    keys: tuple[FileKey, ...] = ()
    digest: tuple[FileKey, str] | None = None
    rival: bool = False

    def refresh(self, search_path: str) -> None:
        """Bring state, reason and manifest up to date with the files; costs two stat(2) if nothing changed."""
        keys = self._keys()
        # Other states are looked at again on each use: the missing tool may have been installed,
        # the directory that was writable for others may have been closed.
        if self.state in (READY, "invalid", "incomplete") and keys == self.keys and keys and not self.rival:
            return
        self.keys = keys
        self.rival = False
        try:
            self.state, self.reason = self._judge(search_path)
        except Exception as error:  # a defect of ours is this method's fault as far as the others are concerned
            log.exception("Error looking at %s", self.name)
            self.manifest = None
            self.state, self.reason = "invalid", f"the agent failed to read it: {type(error).__name__}: {error}"

    def refuse(self, reason: str) -> None:
        """Invalid because of another method, until the next look."""
        self.state, self.reason, self.rival = "invalid", reason, True

    def usable(self) -> Manifest:
        """The manifest of a ready method; otherwise RequestError with the reason."""
        if self.state == READY and self.manifest is not None:
            return self.manifest
        raise RequestError(STATUS[self.state], f"method_{self.state}", f"{self.name} is {self.state}: {self.reason}")

    def sha256(self) -> str:
        """SHA-256 of the executable, "" if it cannot be read."""
        if len(self.executables) != 1:
            return ""
        try:
            key = file_key(self.executables[0])
            if not os.path.isfile(self.executables[0]):
                return ""  # a device or a pipe would be read for ever
            if self.digest is None or self.digest[0] != key:
                with open(self.executables[0], "rb") as file:
                    self.digest = key, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
        return self.digest[1]

    def _keys(self) -> tuple[FileKey, ...]:
        try:
            return tuple(file_key(path) for path in (*self.executables, *self.manifests))
        except OSError:
            return ()

    def _judge(self, search_path: str) -> tuple[str, str]:
        self.manifest = None
        if not good_name(self.name):
            return "invalid", f"{self.name!r} is no method name: lower case words joined by dots, 2 to 4 of them"
        for kind, paths in (("executable", self.executables), ("manifest", self.manifests)):
            if len(paths) > 1:
                return "invalid", f"two files claim this name: {' and '.join(paths)}; remove one {kind}"
        if not self.executables:
            return "incomplete", f"there is {self.manifests[0]} but no executable {self.name}"
        if not self.manifests:
            reason = f"there is {self.executables[0]} but no manifest {self.name}.json"
            return "incomplete", reason + _suffix_hint(self.name)
        executable = self.executables[0]
        try:
            reason = distrust(executable) or distrust(self.manifests[0])
            if reason:
                return "untrusted", reason
            self.manifest = load(self.manifests[0])
        except ManifestError as error:
            return "invalid", f"{self.manifests[0]}: {error}"
        except OSError as error:
            return "invalid", f"{error.filename}: {error.strerror}"
        if reason := not_startable(executable):
            return "invalid", reason
        return self._fits_machine(self.manifest, executable, search_path)

    def _fits_machine(self, manifest: Manifest, executable: str, search_path: str) -> tuple[str, str]:
        reason = requirements.unmatched(manifest.data.get("match", []))
        if reason:
            return "not_for_this_hardware", reason
        reason = missing_interpreter(executable) or requirements.missing(manifest.data.get("needs", {}), search_path)
        return ("unavailable", reason) if reason else (READY, "")


def _suffix_hint(name: str) -> str:
    """For who gave the executable the suffix that such files have elsewhere."""
    meant, _, suffix = name.rpartition(".")
    if suffix not in SUFFIXES or not good_name(meant):
        return ""
    return f"; the file name is the method name, without a suffix: if {meant} is meant, rename it to {meant}"


def not_startable(executable: str) -> str:
    """What is wrong with the file itself, or ""."""
    if not os.access(executable, os.X_OK):
        return f"{executable} is not executable; chmod 755 {executable}"
    with open(executable, "rb") as file:
        line = file.readline(256)
    if not (line.startswith(b"#!") and line.endswith(b"\r\n")):
        return ""
    return f"the lines of {executable} end as on Windows, with CR LF; convert it: sed -i 's/\\r$//' {executable}"


def missing_interpreter(executable: str) -> str:
    """Why the program that a #! line names cannot be started, or ""."""
    with open(executable, "rb") as file:
        line = file.readline(256)
    if not line.startswith(b"#!"):
        return ""
    words = line[2:].decode(errors="replace").split()
    if not words:
        return f"the first line of {executable} names no interpreter"
    return "" if os.access(words[0], os.X_OK) else f"its interpreter {words[0]} is not installed"
