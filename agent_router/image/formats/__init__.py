"""Names of image formats and what unpacks them, imported when needed: a format is declared, never guessed."""

from importlib import import_module

from agent_router import plugin
from agent_router.image.formats import magic
from agent_router.image.protocols import Buffer, Decoder, Sink

DECODERS = {
    "raw": "raw.Raw", "gz": "compressed.Gz", "xz": "compressed.Xz", "zst": "compressed.Zst", "bz2": "compressed.Bz2",
    "qcow2": "qcow2.decoder.Qcow2",
}  # fmt: skip
# These declare at their beginning how much they unpack to.
TELLING = {"zst": "compressed.zst_size", "qcow2": "qcow2.header.disk_size"}
# A tar archive is unpacked from its compression here; the tree it goes to reads the archive.
ARCHIVES = {"tar": "raw", "tar.gz": "gz", "tar.xz": "xz", "tar.zst": "zst", "tar.bz2": "bz2"}
NAMES = (*DECODERS, *ARCHIVES)
LOOK = magic.LOOK  # this many first bytes are enough for the functions below


def decoder(name: str, sink: Sink) -> Decoder:
    """A new Decoder of the format `name`; raises Incompatible("wrong_format") for one that is not supported."""
    kind = ARCHIVES.get(name, name)
    if kind not in DECODERS:
        message = f"{name} images are not supported by this agent; convert it with qemu-img convert -O qcow2"
        raise plugin.Incompatible("wrong_format", message)
    module, attribute = DECODERS[kind].rsplit(".", 1)
    made = getattr(import_module(f"{__name__}.{module}"), attribute)
    found: Decoder = made(sink, "tar") if name in ARCHIVES else made(sink)
    return found


def refuse_other(name: str, start: Buffer, source_name: str) -> None:
    """Raise Failed("wrong_format") if what begins with `start` is not of the format `name`."""
    magic.refuse_mismatch(start, name, source_name)


def unpacked_size(name: str, start: bytes, source_name: str) -> int:
    """The least that a file that begins with `start` unpacks to, if it declares that; else 0."""
    kind = ARCHIVES.get(name, name)
    if kind not in TELLING or not start:
        return 0
    module, attribute = TELLING[kind].rsplit(".", 1)
    told = getattr(import_module(f"{__name__}.{module}"), attribute)(start, source_name)
    return int(told)
