"""Write a file so that others see all of it or the one from before, whatever is killed meanwhile."""

import os
from pathlib import Path


def replace(path: str | Path, text: str, mode: int = 0o600) -> None:
    """Write beside it, then rename(2); OSError leaves the old file."""
    path = Path(path)
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "w") as file:
        file.write(text)
    new.replace(path)
