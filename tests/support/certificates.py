"""Certificates for tests: self-signed ones, and a CA with what it signs. Made by openssl(1), as an operator would."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Certificate and key for localhost and 127.0.0.1, as PEM files."""
    cert, key = directory / "agent.crt", directory / "agent.key"
    subprocess.run(
        ["openssl", "req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def client_context(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cert))


@dataclass
class Certificates:
    """Files in `directory`: ca.pem, and NAME.pem with NAME.key for everything that was signed."""

    directory: Path

    def __post_init__(self) -> None:
        self._openssl("req", "-x509", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
                      "-addext", "basicConstraints=critical,CA:TRUE", *NEW_KEY)  # fmt: skip

    def sign(self, name: str, alternative: str = "IP:127.0.0.1", *, days: int = 1) -> None:
        self._openssl("req", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", *NEW_KEY)
        (self.directory / "extensions").write_text(f"subjectAltName={alternative}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", str(days), "-extfile", "extensions", "-out", f"{name}.pem")  # fmt: skip

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def text(self, name: str) -> str:
        return (self.directory / name).read_text()

    def server_context(self, name: str, *, clients: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        if clients:
            context.load_verify_locations(self.path("ca.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _openssl(self, *args: str) -> None:
        subprocess.run(["openssl", *args], cwd=self.directory, check=True, capture_output=True)
