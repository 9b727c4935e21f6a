"""The API's own certificates: made at first start, renewed before they expire.

A small CA signs the server's certificate, so that clients trust one file (in the kubeconfig) and
the certificate can be renewed, or get another host name, without new kubeconfigs. Bringing your
own certificate is the composition root's business.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.clock import Clock
from controlplane.owning import give

_CA_LIFE: Final = timedelta(days=3650)
_CA_SINCE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Before any clock: whether it is that of now that is wrong, or that of when the CA was made, can't
be told, and another CA would end every kubeconfig."""
_LEAF_LIFE: Final = timedelta(days=397)
"""The longest that clients accept of a server certificate."""
_RENEW_BEFORE: Final = timedelta(days=60)
_SKEW: Final = timedelta(hours=1)
"""Backdated, for clients whose clock is behind."""
_LOOK_S: Final = 24 * 3600.0
"""Between two looks of a running process: a process may run for longer than a certificate."""
_EARLY_LOOKS_S: Final = (60.0,) * 10
"""Before those: a host without a clock of its own is told the time minutes after its start."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificates are: PEM files, keys 0600."""

    ca: Path
    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer with the server's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        return context


@asynccontextmanager
async def renewed(obtain: Callable[[], TlsFiles], clock: Clock) -> AsyncIterator[ssl.SSLContext]:
    """A server's context for the length of a block. Whoever connects is shown the certificate
    that `obtain` (which makes a new one in time) gave on the last day."""
    context = obtain().server_context()
    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(_keep_renewed(context, obtain, clock))
        try:
            yield context
        finally:
            renewing.cancel()


async def _keep_renewed(
    context: ssl.SSLContext, obtain: Callable[[], TlsFiles], clock: Clock
) -> None:
    for pause_s in chain(_EARLY_LOOKS_S, repeat(_LOOK_S)):
        await clock.sleep(pause_s)
        try:
            files = obtain()
            # another process may be writing the pair: one that doesn't fit must not get in
            files.server_context()
            context.load_cert_chain(files.cert, files.key)
        except (OSError, ValueError) as exc:
            _log.error("certificate_not_renewed", error=str(exc))


def ensure_certificates(folder: Path, *, now: datetime, names: Iterable[str] = ()) -> TlsFiles:
    """Make what is missing, expires soon, or lacks one of the names. Twice = once.

    The server's certificate always has 127.0.0.1, ::1, localhost and this host's name. What root
    makes is of the user whose the folder around it is: an API of that user has to read it. A folder
    that is there already stays whose it is.
    """
    _make_folder(folder)
    files = TlsFiles(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    ca_key_path = folder / "ca.key"
    wanted = _alternatives(("localhost", "127.0.0.1", "::1", socket.gethostname(), *names))
    if not (files.ca.exists() and ca_key_path.exists()) or _expires(files.ca, now):
        key, cert = _make_ca(now)
        _write(ca_key_path, _key_pem(key), 0o600)
        _write(files.ca, cert.public_bytes(serialization.Encoding.PEM), 0o644)
    if not _good(files, wanted, now):
        ca_key = serialization.load_pem_private_key(ca_key_path.read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
        key, cert = _make_leaf(ca_key, ca, wanted, now)
        _write(files.key, _key_pem(key), 0o600)
        _write(files.cert, cert.public_bytes(serialization.Encoding.PEM), 0o644)
    return files


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    with suppress(OSError):  # it is a link meanwhile, which may lead anywhere
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give(descriptor, folder.parent)
        finally:
            os.close(descriptor)


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    found: dict[x509.GeneralName, None] = {}
    for name in names:
        try:
            found[x509.IPAddress(ipaddress.ip_address(name))] = None
        except ValueError:
            if name.isascii() and name:
                found[x509.DNSName(name)] = None
    return list(found)


def _expires(path: Path, now: datetime) -> bool:
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    return cert.not_valid_after_utc - _RENEW_BEFORE < now


def _good(files: TlsFiles, wanted: list[x509.GeneralName], now: datetime) -> bool:
    if not (files.cert.exists() and files.key.exists()) or _expires(files.cert, now):
        return False
    cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
    if cert.not_valid_before_utc > now:  # made while the host's clock was ahead
        return False
    try:
        cert.verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
    except (InvalidSignature, ValueError, TypeError):
        return False
    held = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(wanted) <= set(held)


def _make_ca(now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bunker-ca")])
    usage = _usage(ca=True)
    cert = (
        _builder(name, name, key.public_key(), _CA_SINCE, now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, cert


def _make_leaf(
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    names: list[x509.GeneralName],
    now: datetime,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bunker-api")])
    cert = (
        _builder(subject, ca.subject, key.public_key(), now - _SKEW, now + _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return key, cert


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, never readable by others in between."""
    beside = path.with_suffix(path.suffix + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        give(descriptor, path.parent)
    beside.replace(path)
