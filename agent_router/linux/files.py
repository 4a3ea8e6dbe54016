"""Replace a file as a whole: readers see the old content or the new, whatever is killed meanwhile."""

import os
from pathlib import Path


def replace(path: str | Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write a new file beside it, then rename(2); OSError leaves the old file. Not flushed to disk."""
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    new.replace(path)
