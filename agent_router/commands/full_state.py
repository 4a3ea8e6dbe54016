"""A full state directory as the cause of a failure: what fills it is somebody else's command, so nobody would guess."""

import os

from agent_router.commands.verdict import Verdict

LEAST_BYTES = 64 << 10  # with less than that left, an answer or a log may not have been written
# Failures that a plugin may owe to a file that it could not write.
TYPES = ("PluginFailed", "NoResponse", "InvalidJSON", "InvalidResponse", "KilledBySignal", "NotStarted")


def explain(verdict: Verdict, state: str) -> None:
    """Add the cause to the message of a failure that happened while the state directory is full."""
    error = verdict.error
    if error is None or error["type"] not in TYPES or not (lacking := _lacking(state)):
        return
    why = f"the state directory {state} is full ({lacking} left), which may be why: see what other commands wrote there"
    before, message = error["message"], f"{error['message']}; {why}"
    error["message"] = message
    error["details"] = message + error["details"].removeprefix(before)


def _lacking(state: str) -> str:
    """What there is too little of, or ""."""
    try:
        info = os.statvfs(state)
    except OSError:
        return ""
    left = info.f_bfree * info.f_frsize
    if left < LEAST_BYTES:
        return f"{left >> 10} KiB"
    return "no inode" if info.f_files and not info.f_ffree else ""
