"""Row 14: compressed size of the router and all its dependencies, compared with IPA's."""

import io
import lzma
import tarfile
from pathlib import Path

from report import Figure
from servers import BUILT, INSTALLED, Lab

OPTIONAL = "jsonschema_rs"


def run(lab: Lab) -> list[Figure]:
    ours, without, ipa = _compressed(INSTALLED), _compressed(INSTALLED, OPTIONAL), _compressed(BUILT / "size/ipa")
    shown = [f"{size / 2**20:.2f} MiB" for size in (ours, without, ipa)]
    raw = {"bytes": {"ours": ours, "ours without " + OPTIONAL: without, "ipa": ipa}}
    first = "size as measured here, with jsonschema-rs, xz; IPA"
    second = "  without jsonschema-rs, which is optional; IPA"
    return [
        Figure("14", first, ours / ipa, 0.15, 0.12, "x", shown[0], shown[2], raw),
        Figure("14", second, without / ipa, 0.15, 0.12, "x", shown[1], shown[2]),
    ]


def _compressed(directory: Path, leave_out: str = "//") -> int:
    """Bytes of the directory as a .tar.xz, without byte code; cached next to the directory."""
    known = directory.with_name(f"{directory.name}-{leave_out.strip('/')}.bytes")
    if known.exists() and known.stat().st_mtime >= directory.stat().st_mtime:
        return int(known.read_text())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(directory.iterdir()):
            if not path.name.startswith(leave_out):
                tar.add(path, path.name, filter=lambda item: None if "__pycache__" in item.name else item)
    size = len(lzma.compress(archive.getvalue(), preset=6))
    known.write_text(str(size))
    return size
