"""The trust store for a Java from PyPI: the format is read back as a Java would read it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.engines.spark import truststore
from jobs.engines.spark.truststore import encode_trust_store, trusted_certificates

PEM_A = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
PEM_B = "-----BEGIN CERTIFICATE-----\nREVG\n-----END CERTIFICATE-----\n"


def read_trust_store(data: bytes) -> list[bytes]:
    """The certificates of a JKS file, its structure and seal checked."""
    body, seal = data[:-20], data[-20:]
    assert seal == hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()
    magic, version, count = struct.unpack_from(">III", body)
    assert (magic, version) == (0xFEEDFEED, 2)
    certificates, position = [], 12
    for number in range(count):
        alias = f"ca-{number}".encode()
        header = struct.pack(">IH", 2, len(alias)) + alias + struct.pack(">QH", 0, 5) + b"X.509"
        assert body[position : position + len(header)] == header
        position += len(header)
        (length,) = struct.unpack_from(">I", body, position)
        certificates.append(body[position + 4 : position + 4 + length])
        position += 4 + length
    assert position == len(body)
    return certificates


@pytest.mark.parametrize("certificates", [[], [b"ABC"], [b"ABC", b"x" * 70_000]])
def test_a_trust_store_holds_the_certificates(certificates: list[bytes]) -> None:
    assert read_trust_store(encode_trust_store(certificates)) == certificates


def test_certificates_come_from_the_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(f"# a comment\n{PEM_A}{PEM_B}{PEM_A}")
    use_paths(monkeypatch, cafile=str(file), capath=None)
    assert trusted_certificates() == [b"ABC", b"DEF"]


def test_without_a_file_they_come_from_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_text(PEM_B)
    (tmp_path / "two.crt").write_text(PEM_A)
    (tmp_path / "notes.txt").write_text("not a certificate")
    use_paths(monkeypatch, cafile=None, capath=str(tmp_path))
    assert trusted_certificates() == [b"DEF", b"ABC"]


def test_a_python_that_trusts_nobody_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    use_paths(monkeypatch, cafile=None, capath=None)
    assert trusted_certificates() == []


def use_paths(monkeypatch: pytest.MonkeyPatch, cafile: str | None, capath: str | None) -> None:
    paths = SimpleNamespace(cafile=cafile, capath=capath)
    monkeypatch.setattr(truststore.ssl, "get_default_verify_paths", lambda: paths)
