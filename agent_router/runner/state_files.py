"""The runner's own files in the state directory, where a plugin, a full disk or a kill may have left anything.

What cannot be used is set aside in STATE/unreadable and told in STATE/notices: it never stops a start.
"""

import contextlib
import os
import time

from agent_router.ipc.state import NOTICES, open_file

FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
MAX_BYTES = 128 << 20  # no file of ours is larger
MAX_NOTICES = 8 << 10


def open_own(path: str, flags: int = FLAGS) -> int:
    """Open a file for appending, or make it; what stands in its place is set aside."""
    try:
        fd = open_file(path, flags)
    except OSError as error:
        if not os.path.lexists(path):
            raise
        why = error.strerror or str(error)
    else:
        if os.fstat(fd).st_size <= MAX_BYTES:
            return fd
        os.close(fd)
        why = f"larger than {MAX_BYTES >> 20} MiB"
    set_aside(path, why)
    return open_file(path, flags)


def make_directory(path: str) -> None:
    if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
        set_aside(path, "not a directory")
    os.makedirs(path, 0o700, exist_ok=True)


def clear(path: str) -> None:
    """Make a name free."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        set_aside(path, str(error.strerror))


def set_aside(path: str, why: str) -> None:
    """Move something out of the way, for whoever wants to see what it was."""
    state, name = os.path.split(path)
    os.makedirs(state + "/unreadable", 0o700, exist_ok=True)
    os.rename(path, f"{state}/unreadable/{name}.{time.monotonic_ns()}")
    tell(state, f"{path} could not be used ({why}) and was moved to {state}/unreadable")


def keep_lines(path: str, lines: list[bytes], what: str) -> None:
    """Set aside what could not be read of a file; `what` says what it is."""
    state, name = os.path.split(path)
    kept = f"{state}/unreadable/{name}"
    with contextlib.suppress(OSError):
        os.makedirs(state + "/unreadable", 0o700, exist_ok=True)
        with open(open_file(kept, FLAGS), "ab") as file:
            if file.tell() < MAX_BYTES >> 4:
                file.write(b"\n".join(lines)[: MAX_BYTES >> 4] + b"\n")
    tell(state, f"{len(lines)} {what} in {path} could not be read, and what they told is lost; they are in {kept}")


def tell(state: str, sentence: str) -> None:
    """Say it in the agent's output and to everybody who asks for the methods."""
    print(f"<4>{sentence}", flush=True)
    with contextlib.suppress(OSError):
        os.makedirs(state + NOTICES, 0o700, exist_ok=True)
        with open(open_file(state + NOTICES + "/state", FLAGS), "ab") as file:
            if file.tell() < MAX_NOTICES:
                file.write(sentence.encode(errors="replace")[:1000].replace(b"\n", b" ") + b"\n")
