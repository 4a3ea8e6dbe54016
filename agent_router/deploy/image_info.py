"""Ironic's image_info: where the image is, the credentials, and which digest it must have.

What this agent does not support is refused here, before anything is touched, with a remedy.
"""

import base64
import binascii
import urllib.parse
from typing import Any

from agent_router import plugin
from agent_router.image.engine import digest
from agent_router.image.sources import Spec, checksum_file, shown

PATIENCE_S = 60
# What Ironic may declare as disk_format. Compressed ones only by name: nothing is guessed.
FORMATS = ("raw", "qcow2", "gz", "xz", "zst", "bz2")
CURE = (
    "correct image_disk_format in the node's instance_info (disk_format in the image service), or let the conductor "
    "make it raw: image_download_source = local with force_raw_images = True"
)


def image_format(info: dict[str, Any]) -> str:
    """What the image is declared as; raises Incompatible for one that cannot be written."""
    if info.get("image_type") == "partition":
        message = "Partition images cannot be deployed by this agent yet; use a whole-disk image"
        raise plugin.Incompatible("partition_image", message)
    declared = info.get("disk_format") or "raw"
    if declared not in FORMATS:
        message = f"The image is declared as {declared}, and this agent writes {', '.join(FORMATS)}; {CURE}"
        raise plugin.Incompatible("wrong_format", message)
    return str(declared)


def spec(info: dict[str, Any], digest_known: bool) -> Spec:
    """Where to read the image from; a URL that ends in .meta4 or .torrent is followed."""
    url = str(info["urls"][0])
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise plugin.InvalidRequest("bad_url", f"{shown(url)} is not a URL of http or https")
    if parts.username is not None:
        message = f"{shown(url)}: a user name in the URL is not sent; use image_server_user and image_server_password"
        raise plugin.InvalidRequest("bad_url", message)
    return Spec(url, headers(info), PATIENCE_S, digest_known, packed=info.get("disk_format"), proxies=proxies(info))


def proxies(info: dict[str, Any]) -> dict[str, str]:
    found = dict(info.get("proxies") or {})
    return found | ({"no": info["no_proxy"]} if info.get("no_proxy") else {})


def headers(info: dict[str, Any]) -> dict[str, str]:
    """The Authorization header, from image_request_authorization or name and password."""
    given = info.get("image_request_authorization")
    if given:
        try:
            return {"Authorization": base64.b64decode(given, validate=True).decode("ascii")}
        except (binascii.Error, ValueError):
            message = "image_request_authorization is not base64 of an Authorization header"
            raise plugin.InvalidRequest("bad_authorization", message) from None
    if info.get("image_server_auth_strategy") == "http_basic" or info.get("image_server_user"):
        pair = f"{info.get('image_server_user', '')}:{info.get('image_server_password', '')}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}


def digest_of(info: dict[str, Any]) -> tuple[str, str]:
    """(algorithm, hexadecimal digits) that the image must have; os_hash_value first, then checksum."""
    value = str(info.get("os_hash_value") or info.get("checksum") or "").strip()
    algorithm = str(info.get("os_hash_algo") or "") if info.get("os_hash_value") else ""
    if not value:
        message = "image_info has neither checksum nor os_hash_value, so the image could not be verified"
        raise plugin.InvalidRequest("no_checksum", message)
    if value.lower().startswith(("http://", "https://")):
        where = Spec(value, headers(info), PATIENCE_S, proxies=proxies(info))
        return checksum_file.look_up(where, str(info["urls"][0]))
    return digest.one(value, algorithm)
