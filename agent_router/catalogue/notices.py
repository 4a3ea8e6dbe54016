"""What the ramdisk could not do before the agent started, such as merging an overlay: files with one sentence a line.

They are shown in the catalogue and never stop anything. Nothing is kept between two looks: a missing
directory costs one system call, and the few files there normally are, fifty microseconds.
"""

import os
import stat
from typing import IO

MAX_FILES = 100
MAX_BYTES = 16 << 10  # of one file
MAX_LINE = 1000  # characters

Notice = dict[str, str]


def read(directory: str) -> list[Notice]:
    """Every line of every file in `directory`, as {"source": file name, "message": line}."""
    if not directory:
        return []
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [_notice(directory, f"The directory of notices cannot be read: {error.strerror}")]
    found = [notice for name in names[:MAX_FILES] for notice in _from_file(directory, name)]
    if len(names) > MAX_FILES:
        found.append(_notice(directory, f"{len(names) - MAX_FILES} further files of notices are not shown"))
    return found


def _from_file(directory: str, name: str) -> list[Notice]:
    try:
        with _open(f"{directory}/{name}") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        return [_notice(name, f"This notice cannot be read: {error.strerror}")]
    text = raw[:MAX_BYTES].decode(errors="replace")
    found = [_notice(name, _cut(line)) for line in text.splitlines() if line.strip()]
    if "\ufffd" in text.removesuffix("\ufffd"):
        found.append(_notice(name, "This notice is not UTF-8; what could not be read is shown as \ufffd"))
    if len(raw) > MAX_BYTES:
        found.append(_notice(name, f"This notice is longer than {MAX_BYTES >> 10} KiB; the rest is not shown"))
    return found


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE else line[:MAX_LINE] + "…"


def _open(path: str) -> IO[bytes]:
    """A regular file only: no link to what nobody should read, and no pipe that never ends."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(0, "it is not a regular file")
    return open(number, "rb")


def _notice(source: str, message: str) -> Notice:
    return {"source": _plain(os.fsencode(source).decode(errors="replace")), "message": _plain(message.strip())}


def _plain(text: str) -> str:
    """Without what would command a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
