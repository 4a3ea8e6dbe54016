"""A directory that is packed by `agent-router overlay`, and what is then in the archive."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

from agent_router.cli import overlay

SCRIPT = "#!/bin/sh\necho '{}'\n"
MANIFEST = {
    "protocol": 1, "title": "Test", "version": "1", "effects": "read", "request": {"type": "object"}, "response": {},
}  # fmt: skip


class OverlayTree:
    """A directory for `agent-router overlay`; calling it packs it in this process."""

    def __init__(self, root: Path, capsys: Any) -> None:
        self.root, self.path, self.output, self._capsys = root, root / "tree", root / "out.cpio.gz", capsys
        self.path.mkdir()

    def file(self, place: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        path = self.path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content) if isinstance(content, str) else path.write_bytes(content)
        path.chmod(mode)
        return path

    def link(self, place: str, target: str | Path) -> None:
        (self.path / place).parent.mkdir(parents=True, exist_ok=True)
        (self.path / place).symlink_to(target)

    def plugin(self, name: str, script: str | None = SCRIPT, **keys: Any) -> None:
        if script is not None:
            self.file(f"plugins.d/{name}", script)
        self.file(f"schemas/{name}.json", json.dumps({**MANIFEST, **keys}))

    def __call__(self, force: bool = False, output: str | Path | None = None) -> int:
        self.status = overlay.main(str(self.path), str(output or self.output), force)
        self.out, self.err = self._capsys.readouterr()
        return self.status

    def refused(self, *words: str) -> dict[str, str]:
        """It is refused with one sentence for each of `words`, and --force overrides that."""
        assert self() == 2
        *sentences, last = self.err.splitlines()
        assert len(sentences) == len(words), self.err
        for word, sentence in zip(words, sentences, strict=True):
            assert sentence.startswith("agent-router: ")
            assert word in sentence
        assert last.endswith("with --force")
        assert not self.output.exists()
        assert self(force=True) == 0
        return self.rows()

    def impossible(self, word: str) -> None:
        """It is refused, and --force does not help."""
        for force in (False, True):
            assert self(force=force) == 2
            assert word in self.err
            assert len(self.err.splitlines()) == 1
        assert [path.name for path in self.root.iterdir()] == ["tree"]

    def rows(self) -> dict[str, str]:
        """Name to mode, as cpio lists it; a link as `-> target`."""
        plain = gzip.decompress(self.output.read_bytes())
        lines = subprocess.run(["cpio", "-itv", "--quiet"], input=plain, capture_output=True, check=True).stdout
        parts = [line.split(maxsplit=8) for line in lines.decode(errors="replace").splitlines()]
        pairs = [(part[8].partition(" -> "), part[0]) for part in parts]
        return {name: arrow + target if arrow else mode for (name, arrow, target), mode in pairs}

    def unpack(self) -> Path:
        target = self.root / "unpacked"
        target.mkdir()
        plain = gzip.decompress(self.output.read_bytes())
        subprocess.run(["cpio", "-id", "--quiet"], input=plain, cwd=target, check=True)
        return target
