"""From the request of image.write to what the engine works with: places to ask, the image wanted, where it goes."""

import functools
from typing import Any

from agent_router import plugin
from agent_router.image import bmap, checksum_file, digest, formats
from agent_router.image.attempt import Image
from agent_router.image.protocols import Place, Sink
from agent_router.image.sources import Spec
from agent_router.image.sources.fetch import fetch
from agent_router.image.target import Target

# Of a source, what every source knows; the rest is for one kind alone.
COMMON = ("headers", "patience_s", "ca", "certificate", "key")
# Formats that give an image from its first byte to its last, as a block map needs it.
MAPPED = ("raw", "gz", "xz", "zst", "bz2")
EXTRAS = ("linger_s", "linger_ratio", "upload_bps", "listen")


def specs(request: dict[str, Any], digest_known: bool) -> list[Spec]:
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
        device=request.get("device"),
        proxies={"http": proxy, "https": proxy} if proxy else {},
        extras=extras,
        **{key: value for key, value in common.items() if value is not None},
    )


def image(request: dict[str, Any]) -> Image:
    """What the image must be; fetches checksum file and block map."""
    first = specs(request, False)[0]
    wanted = digest.parse(
        request.get("digest"), lambda url: checksum_file.look_up(_spec(url, request, False), first.url)
    )
    before = None
    if request.get("bmap"):
        spec = _spec(request["bmap"], request, False)
        before = functools.partial(_mapped, bmap.parse(fetch(spec, bmap.LIMIT), spec.name))
    return Image(request.get("format", "raw"), wanted, request.get("size_bytes"), before)


def _mapped(found: bmap.Bmap, sink: Sink) -> Sink:
    return bmap.MappedSink(found, sink)


def place(request: dict[str, Any]) -> Place:
    """The disk, locked against others, or the tree."""
    refuse_place(request)
    if request.get("device"):
        return Target(request["device"], request.get("zero", "auto"), request.get("max_size_bytes"))
    from agent_router.image.tree import Tree  # what unpacks archives takes 10 ms, which a disk need not pay for

    return Tree(request["tree"], request.get("max_size_bytes"), request.get("allow_devices", False))


def refuse_place(request: dict[str, Any]) -> None:
    """Raise InvalidRequest for what does not go together; the schema lets it pass."""
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
