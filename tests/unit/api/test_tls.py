"""The API's own certificates."""

import ipaddress
import os
import ssl
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from api.tls import TlsFiles, ensure_certificates, renewed
from tests.clock import ManualClock

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_what_root_makes_is_of_whom_the_data_folder_is(tmp_path: Path) -> None:
    """An API without rights, whose folder root writes a kubeconfig from."""
    os.chown(tmp_path, 12345, 54321)
    for names in ((), ("10.0.0.7",)):
        ensure_certificates(tmp_path / "tls", now=NOW, names=names)
        for path in (tmp_path / "tls", *(tmp_path / "tls").iterdir()):
            assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321), path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_root_gives_away_no_folder_that_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    os.chown(folder, 12345, 54321)
    ensure_certificates(folder, now=NOW)
    for path in (folder, *folder.iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321), path


def test_renewed_before_it_expires_under_the_same_authority(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, now=NOW)
    ca, cert = files.ca.read_bytes(), files.cert.read_bytes()
    ensure_certificates(tmp_path, now=NOW + timedelta(days=350))
    assert files.ca.read_bytes() == ca
    assert files.cert.read_bytes() != cert


def test_what_was_made_while_the_clock_was_ahead_serves_now(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, now=NOW + timedelta(days=1000))
    authority = files.ca.read_bytes()
    ensure_certificates(tmp_path, now=NOW)
    assert files.ca.read_bytes() == authority
    for path in (files.ca, files.cert):
        made = x509.load_pem_x509_certificate(path.read_bytes())
        assert made.not_valid_before_utc < NOW < made.not_valid_after_utc


async def test_a_clock_that_is_set_right_after_the_start_is_followed(tmp_path: Path) -> None:
    clock, behind = ManualClock(), [timedelta(days=2000)]

    def obtain() -> TlsFiles:
        return ensure_certificates(tmp_path, now=clock.now() - behind[0])

    async with renewed(obtain, clock) as context:
        behind[0] = timedelta(0)
        await clock.advance(60)
        shown = x509.load_der_x509_certificate(presented(context))
        assert shown.not_valid_before_utc < clock.now() < shown.not_valid_after_utc


def test_a_certificate_of_another_authority_is_made_anew(tmp_path: Path) -> None:
    """As after a death between the two, or files from two backups."""
    files = ensure_certificates(tmp_path / "tls", now=NOW)
    ensure_certificates(tmp_path / "other", now=NOW)
    for name in ("ca.key", "ca.crt"):
        (tmp_path / "other" / name).replace(tmp_path / "tls" / name)
    ensure_certificates(tmp_path / "tls", now=NOW)
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    x509.load_pem_x509_certificate(files.cert.read_bytes()).verify_directly_issued_by(authority)


def test_another_name_needs_another_certificate(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, now=NOW)
    before = files.cert.read_bytes()
    ensure_certificates(tmp_path, now=NOW, names=("10.0.0.7",))
    assert files.cert.read_bytes() != before
    assert ipaddress.ip_address("10.0.0.7") in _names(files.cert)[1]


def test_the_server_context_loads(tmp_path: Path) -> None:
    assert ensure_certificates(tmp_path, now=NOW).server_context().get_ca_certs() == []


def presented(context: ssl.SSLContext) -> bytes:
    """The certificate that a client is shown."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there)
    answering = context.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = asking.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def kept(files: TlsFiles) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.cert.read_text())


async def test_a_process_that_runs_for_a_year_shows_the_renewed_certificate(tmp_path: Path) -> None:
    clock = ManualClock()

    def obtain() -> TlsFiles:
        return ensure_certificates(tmp_path, now=clock.now())

    async with renewed(obtain, clock) as context:
        first = presented(context)
        await clock.advance(timedelta(days=300).total_seconds())
        assert presented(context) == first
        await clock.advance(timedelta(days=60).total_seconds())
        assert presented(context) == kept(obtain()) != first


async def test_a_pair_that_does_not_fit_is_not_shown(tmp_path: Path) -> None:
    clock = ManualClock()
    good = ensure_certificates(tmp_path / "good", now=NOW)
    other = ensure_certificates(tmp_path / "other", now=NOW)
    files = [good, TlsFiles(good.ca, other.cert, good.key), other]
    async with renewed(lambda: files[0], clock) as context:
        del files[0]
        await clock.advance(timedelta(days=1).total_seconds())
        assert presented(context) == kept(good)
        del files[0]
        await clock.advance(timedelta(days=1).total_seconds())
        assert presented(context) == kept(other)
