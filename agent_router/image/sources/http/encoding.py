"""Content-Encoding: did the server compress on the way, or is that how the file is stored?

Object stores keep what the upload said: aws-chunked, an empty value, the name of a character set, or gzip for a .gz.
"""

import http.client
import urllib.parse

from agent_router import plugin
from agent_router.image.sources.spec import Spec

# Codings that change the bytes: the format that a file has which is stored like this.
FORMATS = {
    "gzip": "gz", "x-gzip": "gz", "zstd": "zst", "xz": "xz", "x-xz": "xz", "bzip2": "bz2", "x-bzip2": "bz2", "br": "br",
    "deflate": "deflate", "compress": "compress", "x-compress": "compress", "dcb": "dcb", "dcz": "dcz",
}  # fmt: skip
SUFFIXES = {"gz": (".gz", ".tgz"), "zst": (".zst", ".tzst"), "xz": (".xz", ".txz"), "bz2": (".bz2", ".tbz2")}


def refuse_encoding(response: http.client.HTTPResponse, url: str, spec: Spec) -> None:
    """Raise Failed("encoded") if these are not the bytes as published."""
    given = ",".join(response.headers.get_all("Content-Encoding", []))
    changing = [coding for coding in given.lower().replace(" ", "").split(",") if coding in FORMATS]
    if not changing or (len(changing) == 1 and _stored(FORMATS[changing[0]], url, spec)):
        return
    message = (
        f"{spec.name}: the server sends it as {', '.join(changing)} although told not to: disable compression there, "
        "or declare that format if the file is stored like this"
    )
    raise plugin.Failed("encoded", message)


def _stored(form: str, url: str, spec: Spec) -> bool:
    """The file itself is packed like that: it is sent as published, and its digest is of that."""
    suffixes = SUFFIXES.get(form, ())
    return form == spec.packed or any(urllib.parse.urlsplit(one).path.endswith(suffixes) for one in (url, spec.url))
