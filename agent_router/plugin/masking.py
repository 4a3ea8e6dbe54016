"""Mask secrets in text: in everything that the router shows, and in what log.collect packs.

A text is masked before it is cut: half a secret would not be found any more. Where it was cut before, mask_end helps.
"""

import re
from collections.abc import Iterable

MASK = "***"
_PLAIN = re.compile(r"[ !#-&(-\[\]-~]*")  # written in only one way
FEW = 500  # to look for each in the whole text is faster than to look at each character
PREFIX = 4  # characters, by which many are looked up; a beginning that is shorter gives nothing away
_USER = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"@]*@")
_QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"]*\?)[^\s'\"]+")


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


def mask_urls(text: str) -> str:
    """Without user and password in a URL, and without its query, where signatures and tokens are."""
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text))
