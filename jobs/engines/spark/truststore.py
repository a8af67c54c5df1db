"""Writes the certificates that this Python trusts as a Java trust store. A Java that came from PyPI knows only the
public authorities; on a network with its own, Spark could not fetch jars with it although pip just could."""

import hashlib
import re
import ssl
import struct
from pathlib import Path

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
MAGIC, FORMAT_VERSION, TRUSTED_CERTIFICATE = 0xFEEDFEED, 2, 2
# Certificates are public: Java's own well-known password seals the file against accidents only.
PASSWORD = "changeit"  # noqa: S105


def trusted_certificates() -> list[bytes]:
    """The certificates (DER) in the file or folder that OpenSSL, and so Python and pip, trust by default."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        files = [Path(paths.cafile)]
    else:
        files = [file for file in sorted(Path(paths.capath or "/nowhere").glob("*")) if file.suffix in {".pem", ".crt"}]
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    return list(dict.fromkeys(ssl.PEM_cert_to_DER_cert(pem) for text in texts for pem in PEM.findall(text)))


def encode_trust_store(certificates: list[bytes]) -> bytes:
    """The certificates as a Java key store (the format JKS, which every Java reads)."""
    entries = [
        struct.pack(">I", TRUSTED_CERTIFICATE) + _text(f"ca-{number}") + struct.pack(">Q", 0) + _text("X.509")
        # The length comes before the certificate itself.
        + struct.pack(">I", len(certificate)) + certificate
        for number, certificate in enumerate(certificates)
    ]  # fmt: skip
    body = struct.pack(">III", MAGIC, FORMAT_VERSION, len(entries)) + b"".join(entries)
    # The format prescribes SHA-1 over the password and these words.
    seal = hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body, usedforsecurity=False)
    return body + seal.digest()


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded
