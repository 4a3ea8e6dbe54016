"""Mask secrets in text: in everything that the router shows, and in what log.collect packs.

A text is masked before it is cut: half a secret would not be found any more. Where it was cut before, mask_end helps.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable

MASK = "***"
_USER = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"@]*@")
_QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"]*\?)[^\s'\"]+")
_PLAIN = re.compile(r"[ !#-&(-\[\]-~]*")  # written in only one way
FEW = 500  # to look for each in the whole text is faster than to look at each character
PREFIX = 4  # characters, by which many are looked up; a beginning that is shorter gives nothing away


def mask(text: str, hidden: Iterable[str]) -> str:
    """Replace each secret, in plain form, as JSON escapes it and as Python's repr() shows it."""
    return masker(hidden)(text)


def mask_end(text: str, hidden: Iterable[str]) -> str:
    """The same of a text that may have been cut at its end, where half a secret may be left over."""
    forms = _forms(hidden)
    text = _masker(forms)(text)
    for form in forms:
        at = text.find(form[:PREFIX], max(0, len(text) - len(form)))
        while at >= 0 and not form.startswith(text[at:]):
            at = text.find(form[:PREFIX], at + 1)
        if at >= 0:
            return text[:at] + MASK
    return text


def masker(hidden: Iterable[str]) -> Callable[[str], str]:
    """What masks the secrets `hidden` in one text after the other."""
    return _masker(_forms(hidden))


def _masker(forms: list[str]) -> Callable[[str], str]:
    if len(forms) > FEW:
        return _Many(forms)

    def each(text: str) -> str:
        for form in forms:
            text = text.replace(form, MASK)
        return text

    return each


class _Many:
    """Looks at each character of a text once, whatever the number of secrets."""

    def __init__(self, forms: list[str]) -> None:
        self._width = min(PREFIX, len(forms[-1]))
        self._by_start: dict[str, list[str]] = defaultdict(list)
        for form in forms:
            self._by_start[form[: self._width]].append(form)

    def __call__(self, text: str) -> str:
        parts, kept, at = [], 0, 0
        while at <= len(text) - self._width:
            forms = self._by_start.get(text[at : at + self._width])
            form = forms and next((form for form in forms if text.startswith(form, at)), "")
            if form:
                parts += [text[kept:at], MASK]
                at = kept = at + len(form)
            else:
                at += 1
        return "".join([*parts, text[kept:]])


def _forms(hidden: Iterable[str]) -> list[str]:
    """How the secrets may be written, long ones first: one may contain another."""
    found: set[str] = set()
    for secret in hidden:
        found.add(secret)
        if not _PLAIN.fullmatch(secret):
            found |= {repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return sorted(found, key=lambda form: (-len(form), form))


def mask_urls(text: str) -> str:
    """Without user and password in a URL, and without its query, where signatures and tokens are."""
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text))
