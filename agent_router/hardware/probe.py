"""Ask a tool that may be missing, broken or stuck: an inventory with a gap beats none."""

import shutil
import subprocess

from agent_router import plugin


def ask(name: str, *args: str, limit_s: float = 20, quiet: bool = False) -> str | None:
    """The stdout of a tool; None, after a warning, if it is missing, fails or takes too long.

    `quiet`: failing is nothing unusual, so it goes to the log only.
    """
    complain = (lambda text: plugin.log(text, "debug")) if quiet else plugin.warn
    path = shutil.which(name)
    if path is None:
        complain(f"{name} is not installed, so some facts are missing")
        return None
    try:
        # Not plugin.tool: that has no time limit, and a dead BMC keeps ipmitool waiting for minutes.
        argv = [path, *args]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        complain(f"{name} gave no answer in {limit_s:g} s, so some facts are missing")
        return None
    except OSError as error:
        complain(f"{name} cannot be run: {error.strerror}")
        return None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        complain(f"{name} ended with {done.returncode}: {words[-1] if words else 'it said nothing'}")
        return None
    return done.stdout.decode(errors="replace")
