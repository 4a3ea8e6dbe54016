"""A progress event in words, for people."""

from typing import Any

MIB, GIB = 1 << 20, 1 << 30


def progress_text(progress: dict[str, Any] | None) -> str:
    """For example "15 % (10.0 of 64.0 MiB), 19.9 MiB/s"; "" without progress."""
    if not progress:
        return ""
    done, total = progress["done"], progress.get("total")
    if not isinstance(total, int | float):  # a plugin may write anything there
        total = None
    unit, message = str(progress.get("unit", "")), str(progress.get("message", ""))
    if unit in ("B", "bytes"):
        scale, unit = (GIB, "GiB") if max(done, total or 0) >= 10 * GIB else (MIB, "MiB")
        done, total = round(done / scale, 1), round(total / scale, 1) if total else total
    if isinstance(total, int | float) and total > 0:
        share = f"{min(1, done / total):.0%}".replace("%", " %")
        text = share if unit == "%" else f"{share} ({done:g} of {total:g} {unit})".replace(" )", ")")
    else:
        text = f"{done:g} {unit}".strip()
    return f"{text}, {message}" if message else text
