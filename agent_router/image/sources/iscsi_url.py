"""iscsi://[USER%PASSWORD@]PORTAL[:PORT]/IQN/LUN: the form of libiscsi and of qemu."""

import base64
import binascii
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent_router import plugin
from agent_router.image.sources.spec import shown

PORT = 3260  # IANA, RFC 7143
# RFC 3721 and 3980: iqn., eui., naa.; no comma, which would begin another option of qemu.
TARGET = re.compile(r"(iqn\.[0-9]{4}-[0-9]{2}\.|eui\.|naa\.)[A-Za-z0-9.:_-]{1,200}")


@dataclass(frozen=True)
class Lun:
    portal: str  # host:port
    target: str
    lun: int
    user: str | None = None
    password: str = field(default="", repr=False)


def parse(url: str, headers: Mapping[str, str]) -> Lun:
    """CHAP user and password are taken from `Authorization: Basic`, as for http, or from the URL."""
    parts = urllib.parse.urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or PORT
    except ValueError as error:
        raise _bad(url, str(error)) from None
    path = parts.path.split("/")
    if not host or len(path) != 3 or parts.query or parts.fragment:
        raise _bad(url, "it is not iscsi://PORTAL[:PORT]/IQN/LUN")
    if not TARGET.fullmatch(path[1]):
        raise _bad(url, f"{path[1]} is no name of an iSCSI target")
    if not re.fullmatch("[0-9]{1,5}", path[2]):
        raise _bad(url, f"{path[2]} is no number of a LUN")
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise _bad(url, f"{host} is no name of a host")
    user, password = _chap(url, headers)
    portal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Lun(portal, path[1], int(path[2]), user, password)


def _chap(url: str, headers: Mapping[str, str]) -> tuple[str | None, str]:
    given = next((value for key, value in headers.items() if key.lower() == "authorization"), None)
    if given is None:
        userinfo = urllib.parse.urlsplit(url).netloc.rpartition("@")[0]
        # % parts them here, so it cannot escape anything.
        user, _, password = userinfo.partition("%")
    else:
        scheme, _, packed = given.partition(" ")
        try:
            user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            scheme = ""
        if scheme.lower() != "basic" or not user:
            raise plugin.InvalidRequest("bad_url", f"{shown(url)}: CHAP takes Authorization: Basic and nothing else")
    if bool(user) != bool(password):
        raise _bad(url, "CHAP takes a user and a password")
    return user or None, password


def _bad(url: str, why: str) -> plugin.InvalidRequest:
    return plugin.InvalidRequest("bad_url", f"{shown(url)}: {why}")
