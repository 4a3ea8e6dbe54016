"""Ironic's image_info: where the image is, how to log in there, and which digest it must have.

What this agent cannot do yet is refused here, before anything is touched, with what cures it.
"""

import base64
import binascii
import hashlib
import os
import re
import urllib.parse
from typing import Any

from agent_router import plugin
from agent_router.image.source import Source, shown

PATIENCE_S = 60
CURE = (
    "let the conductor make it raw: image_download_source = local (in [agent] or in the node's driver_info) "
    "with force_raw_images = True"
)
BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
BROKEN = {"md5", "sha1"}
CHECKSUM_FILE_LIMIT = 1 << 20


def refuse_unknown(info: dict[str, Any]) -> None:
    """Raise Incompatible for an image that is no raw whole-disk image."""
    if info.get("image_type") == "partition":
        message = "Partition images cannot be deployed by this agent yet; use a whole-disk image"
        raise plugin.Incompatible("partition_image", message)
    form = info.get("disk_format")
    if form not in (None, "", "raw"):
        message = f"The image is declared as {form}, and this agent writes raw images; {CURE}"
        raise plugin.Incompatible("not_raw", message)


def source(info: dict[str, Any], digest_known: bool) -> Source:
    """Where to read the image from. Sets the proxies of this process."""
    url = str(info["urls"][0])
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise plugin.InvalidRequest("bad_url", f"{shown(url)} is not a URL of http or https")
    if parts.username is not None:
        message = f"{shown(url)}: a name within the URL is not sent; use image_server_user and image_server_password"
        raise plugin.InvalidRequest("bad_url", message)
    set_proxies(info)
    return Source(url, headers(info), PATIENCE_S, digest_known)


def set_proxies(info: dict[str, Any]) -> None:
    # The variables are what urllib asks; a plugin has a process, and so an environment, of its own.
    for scheme, url in (info.get("proxies") or {}).items():
        os.environ[f"{scheme}_proxy"] = url
    if info.get("no_proxy"):
        os.environ["no_proxy"] = info["no_proxy"]


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


def digest(info: dict[str, Any]) -> tuple[str, str]:
    """(algorithm, hexadecimal digits) that the image must have; os_hash_value first, then checksum."""
    value = str(info.get("os_hash_value") or info.get("checksum") or "").strip()
    algorithm = str(info.get("os_hash_algo") or "").lower() if info.get("os_hash_value") else ""
    if not value:
        message = "image_info has neither checksum nor os_hash_value, so the image could not be verified"
        raise plugin.InvalidRequest("no_checksum", message)
    if value.startswith(("http://", "https://")):
        value = from_file(_fetch(value, info), str(info["urls"][0]), value)
    algorithm = algorithm or BY_LENGTH.get(len(value), "")
    if algorithm not in hashlib.algorithms_available or not re.fullmatch("[0-9a-fA-F]+", value):
        raise plugin.InvalidRequest("bad_checksum", f"{value!r} is no {algorithm or 'known'} checksum in hexadecimal")
    if len(value) != hashlib.new(algorithm, usedforsecurity=False).digest_size * 2:
        raise plugin.InvalidRequest("bad_checksum", f"{value!r} does not have the length of a {algorithm} checksum")
    if algorithm in BROKEN:
        plugin.warn(f"{algorithm} tells damage, not forgery: use sha256 or sha512 for the image")
    return algorithm, value.lower()


def _fetch(url: str, info: dict[str, Any]) -> str:
    set_proxies(info)
    reader = Source(url, headers(info), PATIENCE_S, False)
    buffer = bytearray(CHECKSUM_FILE_LIMIT)
    try:
        reader.open()
        count = reader.readinto(memoryview(buffer))
    finally:
        reader.close()
    return buffer[:count].decode(errors="replace")


def from_file(text: str, image_url: str, url: str) -> str:
    """The digest of the image in a file like SHA256SUMS, GNU or BSD style, or with nothing else in it."""
    name = os.path.basename(urllib.parse.urlsplit(image_url).path)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) == 1 and re.fullmatch("[0-9a-fA-F]+", lines[0]):
        return lines[0]
    for line in lines:
        gnu = re.fullmatch(r"([0-9a-fA-F]+)\s+[* ]?(?:\S*/)?(\S+)", line)
        bsd = re.fullmatch(r"\w+ \((?:.*/)?(.+)\) = ([0-9a-fA-F]+)", line)
        if gnu and gnu[2] == name:
            return gnu[1]
        if bsd and bsd[1] == name:
            return bsd[2]
    raise plugin.Failed("no_checksum", f"{shown(url)} has no checksum of {name}")
