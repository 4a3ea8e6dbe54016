"""The end of serving: what a manifest's `closes` leads to, kept in one small file for the rest of the boot.

Written with the verdict, before anybody hears of it: whichever process is killed after that, the
agent does not serve again. Shell scripts of the ramdisk read the file too: "WHAT METHOD".
"""

from dataclasses import dataclass

from agent_router.ipc.state import open_file
from agent_router.linux import files

PLACE = "closed"
MAX_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Closed:
    """`what` is the value of `closes`: agent or network; `method` is who asked for it."""

    what: str
    method: str


def close(state: str, found: Closed) -> None:
    """Complete or not at all, as a kill may come at any moment."""
    files.replace(f"{state}/{PLACE}", f"{found.what} {found.method}\n")


def closed(state: str) -> Closed | None:
    """None: nothing has ended the serving in this boot."""
    try:
        with open(open_file(f"{state}/{PLACE}"), errors="replace") as file:
            what, _, method = file.read(MAX_LENGTH).strip().partition(" ")
    except OSError:
        return None
    return Closed(what, method)
