"""Files of the state directory that the runner writes and others read."""

import os
import stat

SEPARATOR = b",\n"  # between the records of `history`
NOTICES = "/notices"  # what the runner found wrong in the state directory: sentences for GET /v1/methods


def command_dir(state: str, id: str) -> str:
    """Where the files of one command are: stdin, out, log, events, stream, secrets and its working directory."""
    return f"{state}/c/{id}"


def open_file(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file; OSError for anything else that a plugin may have put there, such as a pipe or a link."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is not a regular file")
    return fd


def tail(path: str, length: int = 4096) -> bytes:
    """The last bytes of a file; none if it cannot be read."""
    try:
        with open(open_file(path), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - length))
            return file.read(length)
    except OSError:
        return b""
