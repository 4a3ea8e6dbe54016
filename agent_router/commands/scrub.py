"""Take the secrets of an ended command out of the files that are kept of it."""

import contextlib
import os

from agent_router.plugin.masking import mask_end

FILES = ("log", "stream")


def files(base: str, hidden: list[str]) -> None:
    """Mask log and event stream in place. The list of secrets itself is dropped with the request, by the runner."""
    for name in FILES:
        try:
            with open(f"{base}/{name}", "r+b") as file:
                text = file.read().decode(errors="replace")
                masked = mask_end(text, hidden)  # a log that grew beyond its limit was cut
                if masked != text:
                    file.seek(0)
                    file.write(masked.encode())
                    file.truncate()
        except OSError:
            continue


def empty(base: str) -> None:
    """For files whose secrets could not be masked."""
    for name in FILES:
        with contextlib.suppress(OSError):
            os.truncate(f"{base}/{name}", 0)


def size(base: str) -> int:
    """Bytes to be masked."""
    total = 0
    for name in FILES:
        with contextlib.suppress(OSError):
            total += os.stat(f"{base}/{name}").st_size
    return total
