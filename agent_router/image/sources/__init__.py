"""Where the published bytes come from. The engine uses only this module.

    failed = []                          # [{"source": name, "code": …, "message": …}]
    for spec in sources.expand([Spec("https://a/disk.raw.zst.meta4"), Spec("magnet:?xt=…")], failed):
        source = sources.make(spec)      # a protocols.Source; nothing is opened yet
        source.open()

Each source is in a module of its own, imported on demand: a deployment over HTTP does not pay for BitTorrent.
"""

import importlib

from agent_router.image.protocols import Source
from agent_router.image.sources.expand import expand
from agent_router.image.sources.spec import Spec, shown

__all__ = ["Spec", "expand", "make", "shown"]

CLASSES = {
    "http": "http.source.HttpSource", "file": "file.FileSource", "torrent": "torrent.source.TorrentSource",
    "multicast": "multicast.MulticastSource", "iscsi": "iscsi.IscsiSource",
}  # fmt: skip


def make(spec: Spec) -> Source:
    """The source of one spec; raises InvalidRequest("bad_url") for a URL that no source can read.

    One with `mirrors` continues with the next of them where it failed, and lists those it gave up in stats()["failed"]:
    [{"source": name, "code": …, "message": …}]. These need not be tried again by their own specs.
    """
    where = "http.mirrors.Mirrors" if spec.mirrors else CLASSES[spec.transport]
    module, name = where.rsplit(".", 1)
    made: Source = getattr(importlib.import_module(f"agent_router.image.sources.{module}"), name)(spec)
    return made
