"""TLS as a source wants it: certificates verified, 1.2 at least, keys never on a disk."""

import os
import ssl

from agent_router import plugin
from agent_router.image.sources.spec import Spec


def context(spec: Spec) -> ssl.SSLContext:
    """With the CA and the client certificate of the spec; raises InvalidRequest("bad_certificate")."""
    try:
        made = _trusting(spec.ca)
    except (OSError, ValueError) as error:
        raise _bad("ca", "certificates", spec.ca, error) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if spec.certificate:
        try:
            _present(made, spec.certificate, spec.key)
        except (OSError, ValueError) as error:
            raise _bad("certificate and key", "a certificate with its key", spec.certificate, error) from None
    return made


def _trusting(ca: str | None) -> ssl.SSLContext:
    """Whoever the system trusts, or only what is given: then it is meant instead."""
    if not ca:
        return ssl.create_default_context()
    if is_pem(ca):
        return ssl.create_default_context(cadata=ca)
    if os.path.isdir(ca):
        return ssl.create_default_context(capath=ca)
    return ssl.create_default_context(cafile=ca)


def _present(made: ssl.SSLContext, certificate: str, key: str | None) -> None:
    # OpenSSL reads these from files only; a file in memory has a path, and goes with its descriptor.
    descriptors: list[int] = []

    def path(given: str) -> str:
        if not is_pem(given):
            return given
        descriptors.append(os.memfd_create("pem", os.MFD_CLOEXEC))
        with open(descriptors[-1], "w", closefd=False) as file:
            file.write(given)
        return f"/proc/self/fd/{descriptors[-1]}"

    try:
        # An encrypted key would otherwise be asked for on the terminal.
        made.load_cert_chain(path(certificate), path(key) if key else None, password=lambda: "")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_pem(given: str) -> bool:
    return "-----BEGIN " in given


def _bad(which: str, what: str, given: str | None, error: Exception) -> plugin.InvalidRequest:
    shown = "the PEM text" if is_pem(given or "") else given
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return plugin.InvalidRequest("bad_certificate", f"{which}: {shown} is not {what} that can be used: {reason}")
