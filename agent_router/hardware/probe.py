"""Query a tool that may be missing, broken or stuck: an inventory with gaps is better than none."""

import shutil
import subprocess

from agent_router import plugin


def ask(name: str, *args: str, limit_s: float = 20, quiet: bool = False) -> str | None:
    """The stdout of a tool; None, after a warning, if it is missing, fails or takes too long.

    `quiet`: failure is expected, so it only goes to the log.
    """
    complain = (lambda text: plugin.log(text, "debug")) if quiet else plugin.warn
    path = shutil.which(name)
    if path is None:
        complain(f"{name} is not installed; some facts are missing")
        return None
    try:
        # Not plugin.tool, whose failure is an error. The limit matters: a dead BMC blocks ipmitool for minutes.
        argv = [path, *args]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        complain(f"{name} did not answer within {limit_s:g} s; some facts are missing")
        return None
    except OSError as error:
        complain(f"cannot run {name}: {error.strerror}")
        return None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        complain(f"{name} exited with status {done.returncode}: {words[-1] if words else 'no message'}")
        return None
    return done.stdout.decode(errors="replace")
