"""The text within a PGP clear signature (RFC 9580, 7). The signature is not verified: there is no key to trust."""

import re

SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
SIGNATURE = "-----BEGIN PGP SIGNATURE-----"


def without_signature(text: str) -> str:
    """What was signed, dashes unescaped; "" if it is cut off. A text that is not signed is returned as it is."""
    start = re.search(rf"^{SIGNED}[ \t]*\r?\n(?:\S.*\n)*[ \t\r]*\n", text, re.MULTILINE)  # headers up to an empty line
    if start is None:
        return "" if re.search(f"^{SIGNED}", text, re.MULTILINE) else text
    signed, found, _ = text[start.end() :].partition(SIGNATURE)
    return re.sub("^- ", "", signed, flags=re.MULTILINE) if found else ""
