"""Which methods there are: the plugin directories beside the schema directories.

A directory is read again when its mtime changed, so a file copied in is there at the next
request; manifests are parsed at first use; nothing is ever run to learn about it.
"""

import difflib
import os
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from agent_router.catalogue.method import READY, Method
from agent_router.config.environment import SYSTEM_PATH
from agent_router.schema.problems import RequestError

# A change within the same clock tick as our reading leaves the mtime as it was (ext4: 4 ms).
TICK_NS = 20_000_000
DirectoryKey = tuple[int, int, int]
IGNORED = re.compile(r"^\.|~$|^#|\.(rpmsave|rpmorig|rpmnew|swp|bak|orig|tmp|dpkg-[a-z]+)$|^__pycache__$|^README")


class Registry:
    """All methods of several plugin and schema directories; a missing directory is an empty one."""

    def __init__(self, plugins: Iterable[Path], schemas: Iterable[Path], search_path: str = SYSTEM_PATH) -> None:
        # Text, not Path: with a thousand plugins that is half of the time of a scan.
        self.plugins = [os.path.abspath(path) for path in plugins]
        self.schemas = [os.path.abspath(path) for path in schemas]
        self.search_path = search_path
        self._watched = [*self.plugins, *self.schemas]
        self._methods: dict[str, Method] = {}
        self._ignored: list[str] = []
        self._seen: tuple[DirectoryKey, ...] = ()
        self._lock = threading.RLock()  # asked by the worker's loop and by request threads

    def names(self) -> list[str]:
        with self._lock:
            self._rescan_if_changed()
            return sorted(self._methods)

    def find(self, name: str) -> Method:
        """The method `name`, its state up to date; RequestError 404 with the nearest names."""
        with self._lock:
            self._rescan_if_changed()
            method = self._methods.get(name)
            if method is None:
                raise self._unknown(name)
            method.refresh(self.search_path)
            if method.manifest is not None and method.manifest.steps:
                self._refuse_rivals()
            return method

    def all(self) -> list[Method]:
        """Every method, states up to date; ignored files come last with their file name as name."""
        with self._lock:
            self._rescan_if_changed()
            methods = [self._methods[name] for name in sorted(self._methods)]
            self._refuse_rivals()
        ignored = [
            Method(os.path.basename(path), [path], state="ignored", reason=f"{path} has the name of a backup")
            for path in self._ignored
        ]
        return methods + ignored

    def _refuse_rivals(self) -> None:
        """Two ready plugins that offer the same step are both invalid: neither may win silently."""
        claims: dict[tuple[str, str], list[Method]] = {}
        for method in self._methods.values():
            method.refresh(self.search_path)
            if method.state == READY and method.manifest is not None:
                for claim in method.manifest.steps:
                    claims.setdefault(claim, []).append(method)
        for (interface, step), rivals in claims.items():
            for method in rivals if len(rivals) > 1 else ():
                others = " and ".join(one.name for one in rivals if one is not method)
                method.refuse(f"{others} offers the step {interface}.{step} too; remove one of them")

    def _unknown(self, name: str) -> RequestError:
        near = difflib.get_close_matches(name, self._methods, n=3, cutoff=0.5) if len(name) < 200 else []
        hint = f"; did you mean {' or '.join(near)}?" if near else "; GET /v1/methods lists all"
        return RequestError(404, "method_unknown", f"There is no method {name[:100]!r}{hint}")

    def _rescan_if_changed(self) -> None:
        now = tuple(map(_directory_key, self._watched))
        if now != self._seen:
            if [key[1:] for key in now] != [key[1:] for key in self._seen]:
                self._methods = {}  # owner or mode changed: nothing is trusted on old grounds
            self._scan()
            fresh = time.time_ns() - TICK_NS
            self._seen = tuple((-1 if key[0] > fresh else key[0], *key[1:]) for key in now)

    def _scan(self) -> None:
        found: dict[str, Method] = {}
        self._ignored = []
        for directory in dict.fromkeys(self.plugins):
            for name in self._files(directory):
                found.setdefault(name, Method(name)).executables.append(f"{directory}/{name}")
        for directory in dict.fromkeys(self.schemas):
            for file in self._files(directory, ".json"):
                name = file.removesuffix(".json")
                found.setdefault(name, Method(name)).manifests.append(f"{directory}/{file}")
        for name, method in found.items():
            known = self._methods.get(name)
            if known and (known.executables, known.manifests) == (method.executables, method.manifests):
                found[name] = known
        self._methods = found

    def _files(self, directory: str, suffix: str = "") -> list[str]:
        """Names of the files that count; the others are noted as ignored."""
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return []
        good = [name for name in names if name.endswith(suffix) and not IGNORED.search(name)]
        if len(good) < len(names):
            self._ignored += [f"{directory}/{name}" for name in names if name not in good]
        return good


def _directory_key(directory: str) -> DirectoryKey:
    """What changes with the names in a directory (first) and with who may change them."""
    try:
        info = os.stat(directory)
    except OSError:
        return 0, 0, 0
    return info.st_mtime_ns, info.st_mode, info.st_uid
