"""Ironic's device hints: does a disk match {"size": ">= 100", "model": "<in> ssd", …}?

The operators and their quirks ("=" means ≥) are those of oslo.utils' specs_matcher, which Ironic
itself checks hints with. All hints of one object must match. Pure functions.
"""

import operator
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from agent_router.plugin import InvalidRequest

GIB = 1 << 30
TEXTS = {
    "model", "vendor", "serial", "wwn", "wwn_with_extension", "wwn_vendor_extension", "name", "hctl",
    "by_path", "tran",
}  # fmt: skip
TRUE, FALSE = {"1", "t", "true", "on", "y", "yes"}, {"0", "f", "false", "off", "n", "no"}
# The longer of two that begin alike first.
OPERATOR = re.compile(r"\s*(<all-in>|<range-in>|<in>|<or>|s==|s!=|s<=|s>=|s<|s>|==|!=|<=|>=|=|<|>)")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.ge, "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge,
    "<": operator.lt, ">": operator.gt, "s==": operator.eq, "s!=": operator.ne, "s<": operator.lt,
    "s<=": operator.le, "s>": operator.gt, "s>=": operator.ge,
}  # fmt: skip
NEGATIVE = {"!=", "s!="}
RANGE = re.compile(r"([\[(])\s*(\S+)\s+(\S+?)\s*([\])])")


def matches(disk: dict[str, Any], hints: dict[str, Any]) -> bool:
    """Whether a disk (as disks.describe gives it) fits every hint; raises InvalidRequest("bad_hints")."""
    return all(_fits(disk, name, wanted) for name, wanted in hints.items())


def _fits(disk: dict[str, Any], name: str, wanted: Any) -> bool:
    if name == "size":
        return _number_fits(disk["size"] / GIB, name, wanted)
    if name == "rotational":
        return bool(disk["rotational"]) == _boolean(name, wanted)
    if name not in TEXTS:
        raise _bad(name, wanted, f"is not one of rotational, size, {', '.join(sorted(TEXTS))}")
    value = [disk["name"], *disk.get("links", [])] if name == "name" else disk.get(name)
    values = [str(one) for one in (value if isinstance(value, list) else [value]) if one]
    # A negative hint excludes a disk by any of its values; what is unknown fits no hint.
    every = split(wanted)[0] in NEGATIVE
    return bool(values) and (all if every else any)(_text_fits(one, name, wanted) for one in values)


def split(wanted: Any) -> tuple[str, list[str]]:
    """("<or>", ["a b", "c"]) of "<or> a b <or> c"; ("", [text]) without an operator."""
    text = str(wanted).strip().lower()
    found = OPERATOR.match(text)
    if found is None:
        return "", [text]
    return found[1], [part.strip() for part in text.split(found[1]) if part.strip()]


def _text_fits(value: str, name: str, wanted: Any) -> bool:
    sign, parts = split(wanted)
    if not isinstance(wanted, str) or not parts or not parts[0]:
        raise _bad(name, wanted, "must be a text that is not empty")
    value, parts = quote(value.strip().lower()), [quote(part) for part in parts]
    if sign == "<or>":
        return value in parts
    if sign == "<in>":
        return parts[0] in value
    if sign == "<all-in>":
        return all(word in value for word in parts[0].split("%20"))
    if sign in ("", "s==", "s!=", "s<", "s<=", "s>", "s>="):
        return COMPARE[sign or "s=="](value, parts[0])
    return _number_fits(value, name, wanted)


def _number_fits(value: Any, name: str, wanted: Any) -> bool:
    sign, parts = split(wanted)
    try:
        if sign == "<range-in>":
            return _in_range(float(value), parts[0])
        limits = [float(part) for part in parts]
        if sign == "<or>":
            return float(value) in limits
        return COMPARE[sign or "=="](float(value), limits[0])
    except (ValueError, IndexError, KeyError):
        if name == "size":
            raise _bad(name, wanted, "must be a number of GiB, with an operator that is for numbers") from None
        return False  # a text that is no number is not greater than one


def _in_range(value: float, text: str) -> bool:
    found = RANGE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    low, high = float(found[2]), float(found[3])
    above = value >= low if found[1] == "[" else value > low
    return above and (value <= high if found[4] == "]" else value < high)


def _boolean(name: str, wanted: Any) -> bool:
    text = str(wanted).strip().lower()
    if text not in TRUE | FALSE:
        raise _bad(name, wanted, "must be true or false")
    return text in TRUE


def _bad(name: str, wanted: Any, why: str) -> InvalidRequest:
    return InvalidRequest("bad_hints", f"the hint {name}: {wanted!r} {why}")
