"""The identity of this agent: the token that callers must send, and the TLS certificate that it presents.

Both are kept in the state directory, so that they survive a restart of the agent.
"""

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from agent_router.linux import files

BACKDATE_S = 3600
LIFETIME_S = 10 * 365 * 86400
OPENSSL_LIMIT_S = 60
NAMES = "names"  # file beside the certificate, with its names
CA_CONFIG = """[ca]
default_ca = own
[own]
database = {directory}/database
new_certs_dir = {directory}
default_md = sha256
policy = any
x509_extensions = usage
copy_extensions = copy
rand_serial = yes
[any]
commonName = supplied
[usage]
basicConstraints = critical,CA:TRUE
extendedKeyUsage = serverAuth
"""


class IdentityError(Exception):
    """The certificate cannot be made; str() names the cause."""


def token(given: str, directory: Path) -> str:
    """The token given by the boot loader, else the stored one, else a new one that only root can read."""
    kept = directory / "token"
    if not given and kept.exists():
        return kept.read_text()
    made = given or secrets.token_hex(24)
    files.replace(kept, made)
    return made


def certificate(names: Iterable[str], directory: Path, hostname: str) -> tuple[str, str]:
    """Paths of (certificate, key) in PEM; made once, for these addresses and host names."""
    directory.mkdir(mode=0o700, exist_ok=True)
    cert, key = directory / "cert.pem", directory / "key.pem"
    if not has_certificate(directory):
        given = list(names)
        kinds = [f"IP:{name}" if is_address(name) else f"DNS:{name}" for name in given]
        (directory / NAMES).write_text("\n".join(given))
        make_certificate(cert, key, [*kinds, f"DNS:{hostname}"])
    return str(cert), str(key)


def has_certificate(directory: Path) -> bool:
    return (directory / "cert.pem").exists() and (directory / "key.pem").exists()


def names_of(cert: str) -> list[str]:
    """The addresses and host names that certificate() was given; [] for any other certificate."""
    try:
        return (Path(cert).parent / NAMES).read_text().split()
    except OSError:
        return []


def is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def make_certificate(cert: Path, key: Path, names: list[str]) -> None:
    """Self-signed, P-256; each file appears complete or not at all."""
    # `openssl req -x509` of version 3.0 has no option for the start date; `openssl ca` has, but needs a database.
    with tempfile.TemporaryDirectory(dir=cert.parent) as work:
        directory = Path(work)
        new_cert, new_key, request = (directory / name for name in ("cert", "key", "request"))
        (directory / "database").touch()
        (directory / "config").write_text(CA_CONFIG.format(directory=directory))
        new_key.touch(0o600)  # exists with its mode before openssl fills it
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-keyout", str(new_key), "-out", str(request),
                 "-subj", "/CN=agent-router", "-addext", f"subjectAltName={','.join(names)}")  # fmt: skip
        dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at)) for at in validity(time.time(), _built_at())]
        _openssl("ca", "-selfsign", "-batch", "-notext", "-config", str(directory / "config"),
                 "-keyfile", str(new_key), "-in", str(request), "-out", str(new_cert),
                 "-startdate", dates[0], "-enddate", dates[1])  # fmt: skip
        new_key.rename(key)
        new_cert.rename(cert)


def validity(now: float, built: float) -> tuple[float, float]:
    """(begin, end), Unix time. The clock of a machine without a battery may be years off and be set only after
    this; but it is never really earlier than the build of this ramdisk."""
    return min(now - BACKDATE_S, built), max(now, built) + LIFETIME_S


def _built_at() -> float:
    return os.stat(__file__).st_mtime


def fingerprint(cert: str) -> str:
    """SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint` show it, but in lower case."""
    import hashlib
    import ssl

    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(cert).read_text())).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["openssl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=OPENSSL_LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise IdentityError("openssl is not installed; install it, or give a certificate and key") from None
    except subprocess.TimeoutExpired:
        raise IdentityError(f"openssl {arguments[0]} did not finish within {OPENSSL_LIMIT_S} s") from None
    if done.returncode:
        raise IdentityError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
