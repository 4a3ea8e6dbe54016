"""What a failed exchange means to a person, and whether retrying may help."""

import datetime
import http.client
import socket
import ssl

from agent_router import plugin
from agent_router.image.sources.http.connection import ErrorStatus, ProxyErrorStatus

RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
BUSY = "it may be busy or starting: try later, or wait longer with a larger patience_s"
CURES = {
    401: "user and password, or a token, are missing or wrong: set the header Authorization",
    403: "the server denies access",
    404: "there is no such file",
    407: "the proxy requires a user and a password: http://NAME:PASSWORD@HOST:PORT",
    **dict.fromkeys(RETRY_STATUS, BUSY),
}
# X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED: in a ramdisk the clock is as suspicious as the certificate.
TIME_ERRORS = {9, 10}
# No way to a CA that is trusted, in the words of OpenSSL.
CA_ERRORS = {2, 18, 19, 20, 21}


def hopeless(error: Exception) -> bool:
    """True for what will be the same in half a minute: 404, unknown name, wrong certificate."""
    if isinstance(error, ErrorStatus):
        return error.status not in RETRY_STATUS
    if isinstance(error, socket.gaierror):
        return error.errno != socket.EAI_AGAIN
    # A handshake that breaks off is a broken connection like any other.
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def reason(error: Exception) -> str:
    """In half a sentence, with the cure if there is one."""
    if isinstance(error, ErrorStatus):
        text = f"the proxy answered {error}" if isinstance(error, ProxyErrorStatus) else str(error)
        if error.withheld and error.status in (401, 403, 404):  # some answer 404 to who must not know
            return f"{text}; {error.withheld}"
        return f"{text}; {CURES[error.status]}" if error.status in CURES else text
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was not accepted: {error.verify_message}{_tls_cure(error.verify_code)}"
    if isinstance(error, http.client.IncompleteRead):
        # With chunks the expected length is unknown.
        return "its end is missing" if error.expected is None else f"{error.expected} bytes are missing"
    inner = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(inner) or type(error).__name__


def _tls_cure(code: int) -> str:
    if code in TIME_ERRORS:
        return f"; the clock of this machine says {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    return "; give the certificate of its CA as ca" if code in CA_ERRORS else ""


def failed(name: str, error: Exception) -> plugin.Failed:
    """`unreachable` if nobody answered, `http_error` with the status otherwise."""
    if isinstance(error, ErrorStatus):
        return plugin.Failed("http_error", f"{name}: {reason(error)}", details={"status": error.status})
    return plugin.Failed("unreachable", f"{name}: {reason(error)}")
