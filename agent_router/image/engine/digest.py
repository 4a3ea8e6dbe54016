"""The digest that the published bytes must have, and the one they have. It overrules everything else."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

from agent_router import plugin

BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
BROKEN = {"md5", "sha1"}
DEFAULT = "sha256"  # computed and reported if none is asked for
URLS = ("http://", "https://", "file://", "/")
Wanted = dict[str, str]


def parse(given: str | list[str] | None, look_up: Callable[[str], tuple[str, str]]) -> Wanted:
    """{algorithm: hexadecimal digits in lower case}; raises InvalidRequest("bad_checksum").

    Each is ALGORITHM:DIGITS, digits alone, or the URL of a checksum file, in which `look_up` finds both.
    """
    wanted: Wanted = {}
    for text in [given] if isinstance(given, str) else given or []:
        algorithm, digits = look_up(text) if text.lower().startswith(URLS) else one(text)
        if wanted.setdefault(algorithm, digits) != digits:
            message = f"two {label(algorithm)} digests were given, and no image can have both"
            raise plugin.InvalidRequest("bad_checksum", message)
    return wanted


def one(value: str, algorithm: str = "") -> tuple[str, str]:
    """(algorithm, digits) of ALGORITHM:DIGITS or of digits whose length tells the algorithm, if it is not given."""
    name, colon, digits = value.strip().rpartition(":")
    algorithm = (name if colon else algorithm or BY_LENGTH.get(len(digits), "")).lower()
    algorithm = re.sub(r"^sha-(?=\d)", "sha", algorithm)
    if not _known(algorithm) or not re.fullmatch("[0-9a-fA-F]+", digits):
        raise plugin.InvalidRequest("bad_checksum", f"{value!r} is no {algorithm or 'known'} checksum in hexadecimal")
    if len(digits) != hashlib.new(algorithm, usedforsecurity=False).digest_size * 2:
        raise plugin.InvalidRequest("bad_checksum", f"{value!r} does not have the length of a {algorithm} checksum")
    return algorithm, digits.lower()


def _known(algorithm: str) -> bool:
    # The shake functions have digests of any length.
    return algorithm in hashlib.algorithms_available and not algorithm.startswith("shake")


def warn(wanted: Wanted) -> None:
    """Warn where the digests do not protect."""
    if not wanted:
        plugin.warn("No digest was given, so the image was not verified")
    elif wanted.keys() <= BROKEN:
        plugin.warn(f"{' and '.join(sorted(wanted))} detects damage, not forgery: use sha256 or sha512 for the image")


def label(algorithm: str) -> str:
    """The name as people write it."""
    return re.sub(r"^sha(?=\d)", "SHA-", algorithm).replace("md5", "MD5")


class Digests:
    """All digests, computed in one pass. `hashers` may be called in threads of their own."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        names = list(wanted) or [DEFAULT]
        self._states = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self.hashers: list[Callable[[memoryview], Any]] = [state.update for state in self._states.values()]

    def update(self, data: bytes | memoryview) -> None:
        """Where threads are not worth it."""
        for state in self._states.values():
            state.update(data)

    def found(self) -> dict[str, str]:
        return {name: state.hexdigest() for name, state in self._states.items()}

    def judge(self, name: str) -> None:
        """The verdict; raises Failed("digest_mismatch") if the image of source `name` is another one."""
        for algorithm, digits in self.found().items():
            expected = self._wanted.get(algorithm, digits)
            if digits != expected:
                message = f"{name} has {label(algorithm)} {digits}, expected {expected}"
                raise plugin.Failed("digest_mismatch", message, details={"expected": expected, "found": digits})
