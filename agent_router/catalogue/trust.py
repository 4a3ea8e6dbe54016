"""May this file be run? The rule that keeps an unprivileged user from planting a plugin."""

import os
import stat


def distrust(path: str) -> str:
    """Why `path` must not be trusted, or "". OSError (missing, symlink loop) is for the caller."""
    real = os.path.realpath(path, strict=True)
    if not stat.S_ISREG(os.stat(real).st_mode):
        return f"{real} is not a regular file"
    for place in (real, *dict.fromkeys((os.path.dirname(real), os.path.dirname(path)))):
        info = os.stat(place)
        if info.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to user {info.st_uid}; it must belong to root or to the agent's user"
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{place} may be written by its group or by others; chmod go-w {place}"
    return ""
