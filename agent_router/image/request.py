"""The request of image.write as the engine needs it: sources to try, the image wanted, the destination."""

import functools
from typing import Any

from agent_router import plugin
from agent_router.image import formats
from agent_router.image.destinations.disk import Disk
from agent_router.image.engine import digest
from agent_router.image.engine.transfer import WantedImage
from agent_router.image.formats import block_map, plausible
from agent_router.image.protocols import Destination, Sink
from agent_router.image.sources import Spec, checksum_file
from agent_router.image.sources.fetch import fetch

# Keys of a source that every kind of source knows; all others are for one kind alone.
COMMON = ("headers", "patience_s", "ca", "certificate", "key")
# Formats that give an image from its first byte to its last, as a block map needs it.
MAPPED = ("raw", "gz", "xz", "zst", "bz2")
EXTRAS = ("linger_s", "linger_ratio", "upload_bps", "listen")


def understand(request: dict[str, Any]) -> tuple[WantedImage, Destination, str]:
    """What the image must be, the destination, locked against others, and the name of that."""
    refuse_contradictions(request)
    image = wanted_image(request)
    if request.get("device"):
        disk = Disk(request["device"], request.get("zero", "auto"), request.get("max_size_bytes"))
        return image, disk, request["device"]
    from agent_router.image.destinations.tree import Tree  # its imports take 10 ms, which only archives pay for

    tree = Tree(request["tree"], request.get("max_size_bytes"), request.get("allow_devices", False))
    return image, tree, request["tree"]


def wanted_image(request: dict[str, Any]) -> WantedImage:
    """Fetches checksum file and block map."""
    first = source_specs(request, False)[0]
    wanted = digest.parse(
        request.get("digest"), lambda url: checksum_file.look_up(_spec(url, request, False), first.url)
    )
    mapped = None
    if request.get("bmap"):
        spec = _spec(request["bmap"], request, False)
        mapped = functools.partial(_mapped, block_map.parse(fetch(spec, block_map.LIMIT), spec.name))
    look = _warn_unrecognised if request.get("device") else None
    return WantedImage(request.get("format", "raw"), wanted, request.get("size_bytes"), mapped, look)


def _warn_unrecognised(disk: Destination) -> None:
    assert isinstance(disk, Disk)
    if plausible.content(disk.read(0, plausible.LOOK)) is None:
        plugin.warn(plausible.unrecognised(disk.source))


def _mapped(found: block_map.BlockMap, sink: Sink) -> block_map.BlockMapSink:
    return block_map.BlockMapSink(found, sink)


def source_specs(request: dict[str, Any], digest_known: bool) -> list[Spec]:
    """One Spec for each source; what the request says for all of them holds unless a source says otherwise."""
    given = request["sources"]
    return [_spec(one, request, digest_known) for one in (given if isinstance(given, list) else [given])]


def _spec(one: str | dict[str, Any], request: dict[str, Any], digest_known: bool) -> Spec:
    own = dict(one) if isinstance(one, dict) else {"url": one}
    url, proxy = own.pop("url"), own.pop("proxy", request.get("proxy"))
    common: dict[str, Any] = {key: own.pop(key, request.get(key)) for key in COMMON}
    extras = {key: request[key] for key in EXTRAS if key in request} | own
    return Spec(
        url,
        digest_known=digest_known,
        size_bytes=request.get("size_bytes"),
        packed=request.get("format", "raw").rpartition(".")[2],
        device=request.get("device"),
        proxies={"http": proxy, "https": proxy} if proxy else {},
        extras=extras,
        **{key: value for key, value in common.items() if value is not None},
    )


def refuse_contradictions(request: dict[str, Any]) -> None:
    """Raise InvalidRequest for keys that exclude each other, which the schema cannot express."""
    form = request.get("format", "raw")
    if request.get("bmap") and form not in MAPPED:
        message = f"a block map goes with a raw image, compressed or not, and not with {form}: leave bmap out"
        raise plugin.InvalidRequest("bad_bmap", message)
    if bool(request.get("device")) == bool(request.get("tree")):
        message = "give device for a disk, or tree for the directory to unpack a tar archive into, and not both"
        raise plugin.InvalidRequest("no_place", message)
    if request.get("device") and form in formats.ARCHIVES:
        message = f"{form} is unpacked into a tree: mount a file system and give its directory as tree, not device"
        raise plugin.InvalidRequest("wrong_format", message)
    if request.get("tree") and form not in formats.ARCHIVES:
        message = f"{form} is written to a disk: give device, or one of the tar formats with tree"
        raise plugin.InvalidRequest("wrong_format", message)
