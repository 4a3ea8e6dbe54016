"""Replace a file as a whole: whoever reads it sees the old content or the new one, never a part."""

import os
from pathlib import Path


def replace_file(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a new file beside `path` and rename it. Not flushed: it does not outlive a power cut for certain."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    fresh.replace(path)
