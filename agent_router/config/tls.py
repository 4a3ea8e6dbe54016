"""What TLS the agent's own server is to speak: a file in the state directory that may change while it listens.

{"minimum": "1.2" or "1.3", "ciphers": an OpenSSL list for TLS 1.2, or null}. Ironic tells it in its answer to the
lookup, when the agent has listened for a while already.
"""

import json
import os
import ssl
from collections.abc import Callable
from typing import Any

PLACE = "tls.json"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
LEAST = "1.2"

Limits = dict[str, Any]


def checked(minimum: Any, ciphers: Any) -> tuple[Limits, list[str]]:
    """The limits that can be applied, and a sentence for each that cannot: its default stays then."""
    found: Limits = {"minimum": LEAST, "ciphers": None}
    wrong = []
    if minimum in VERSIONS:
        found["minimum"] = minimum
    elif minimum:
        wrong.append(f"tls_min_version {minimum!r} is not one of {', '.join(VERSIONS)}; {LEAST} stays the minimum")
    if ciphers:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(ciphers)
            found["ciphers"] = ciphers
        except (ssl.SSLError, TypeError, ValueError):  # OpenSSL's own text says no more
            wrong.append(
                f"tls_cipher_suites {ciphers!r} names no cipher of TLS 1.2 that OpenSSL has; the default ones stay"
            )
    return found, wrong


class TlsWrapper:
    """Wraps new connections by the limits as they are now; `make` gives a context with the certificate.

    A connection that is open keeps the context that it began with.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], state: str, warn: Callable[[str], object]) -> None:
        self._make, self._warn = make, warn
        self._path = f"{state}/{PLACE}"
        self._key: tuple[int, int] | None = None
        self._context = self._limited({})

    def wrap(self, sock: Any) -> ssl.SSLSocket:
        """The non-blocking server side; the handshake is still to be done."""
        self._look()
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _look(self) -> None:
        try:
            info = os.stat(self._path)
        except OSError:
            return  # nobody told anything, or no longer: what was told holds
        key = info.st_mtime_ns, info.st_ino
        if key == self._key:
            return
        self._key = key  # a file that cannot be used is complained of once
        try:
            with open(self._path) as file:
                self._context = self._limited(json.load(file))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn(f"{self._path} cannot be used, so TLS stays as it was: {error}")

    def _limited(self, limits: Limits) -> ssl.SSLContext:
        made = self._make()
        made.minimum_version = VERSIONS[limits.get("minimum", LEAST)]
        if limits.get("ciphers"):
            made.set_ciphers(limits["ciphers"])
        return made
