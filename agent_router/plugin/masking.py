"""Mask secrets in text: in everything that the router shows, and in what log.collect packs."""

import json
import re

MASK = "***"
_USER = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"@]*@")
_QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"]*\?)[^\s'\"]+")


def mask(text: str, hidden: list[str]) -> str:
    """Replace each secret, in plain form, as JSON escapes it and as Python's repr() shows it."""
    for secret in hidden:
        if secret.isascii() and secret.isalnum():
            text = text.replace(secret, MASK)
            continue
        for form in _forms(secret):
            text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> set[str]:
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


def mask_urls(text: str) -> str:
    """Without user and password in a URL, and without its query, where signatures and tokens are."""
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text))
