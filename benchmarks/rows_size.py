"""Row 14: size of the router and of everything it depends on, compressed, against IPA's."""

import io
import lzma
import tarfile
from pathlib import Path

from report import Figure
from servers import BUILT, Lab


def run(lab: Lab) -> list[Figure]:
    ours, fast, ipa = (_compressed(BUILT / "size" / name) for name in ("ours", "fast", "ipa"))
    shown = [f"{size / 2**20:.2f} MiB" for size in (ours, fast, ipa)]
    raw = {"bytes": {"ours": ours, "ours and jsonschema-rs": fast, "ipa": ipa}}
    return [
        Figure("14", "size with jsonschema-rs, xz; IPA", fast / ipa, 0.15, 0.12, "x", shown[1], shown[2], raw),
        Figure("14", "  size without it; IPA", ours / ipa, None, None, "x", shown[0], shown[2]),
    ]


def _compressed(directory: Path) -> int:
    """Bytes of the directory as a .tar.xz, without byte code; remembered beside the directory."""
    known = directory.with_name(f"{directory.name}.bytes")
    if known.exists() and known.stat().st_mtime >= directory.stat().st_mtime:
        return int(known.read_text())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(directory, ".", filter=lambda item: None if "__pycache__" in item.name else item)
    size = len(lzma.compress(archive.getvalue(), preset=6))
    known.write_text(str(size))
    return size
