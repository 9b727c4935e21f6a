"""The API's own certificates."""

import ipaddress
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from api.tls import ensure_certificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _names(path: Path) -> tuple[list[str], list[object]]:
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return san.get_values_for_type(x509.DNSName), list(san.get_values_for_type(x509.IPAddress))


def test_made_once_with_the_names_clients_use(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path / "tls", now=NOW, names=("cloud.example.com",))
    dns, addresses = _names(files.cert)
    assert {"localhost", "cloud.example.com"} <= set(dns)
    assert {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")} <= set(addresses)
    before = files.cert.read_bytes()
    again = ensure_certificates(tmp_path / "tls", now=NOW, names=("cloud.example.com",))
    assert again.cert.read_bytes() == before


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path / "tls", now=NOW)
    for path in (files.key, tmp_path / "tls" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_renewed_before_it_expires_under_the_same_authority(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, now=NOW)
    ca, cert = files.ca.read_bytes(), files.cert.read_bytes()
    ensure_certificates(tmp_path, now=NOW + timedelta(days=350))
    assert files.ca.read_bytes() == ca
    assert files.cert.read_bytes() != cert


def test_another_name_needs_another_certificate(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, now=NOW)
    before = files.cert.read_bytes()
    ensure_certificates(tmp_path, now=NOW, names=("10.0.0.7",))
    assert files.cert.read_bytes() != before
    assert ipaddress.ip_address("10.0.0.7") in _names(files.cert)[1]


def test_the_server_context_loads(tmp_path: Path) -> None:
    assert ensure_certificates(tmp_path, now=NOW).server_context().get_ca_certs() == []
