"""The embedded secret backend: AES-256-GCM envelopes under a master key in a 0600 file.

Each Secret has a key of its own, wrapped by the master key and kept in the store beside it;
destroying that key makes every copy of the Secret, in log and backups too, unreadable. Another
backend (Vault) implements records.Sealer in its place. No key and no plaintext is cached here.
"""

import base64
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.errors import SecretLostError, SecretsUnavailableError, TerminalError
from controlplane.owning import give

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = _NONCE_BYTES + KEY_BYTES + 16
_FILE_PREFIX: Final = "bunker-master-key-1:"
_STORED: Final = b"\x01"
"""First byte of a blob whose key is in the store."""
_CARRIED: Final = b"\x02"
"""First byte of a dry run's blob, which carries its own wrapped key."""


class ObjectKeys(Protocol):
    """Where the wrapped keys are kept: store/keys.py, a dict in tests."""

    async def get(self, uid: str, /) -> bytes | None: ...

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        """Keep `wrapped` unless there is one already; returns the one that is kept."""
        ...

    async def delete(self, uid: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class MasterKey:
    """Wraps the object keys, and keys the digests; one derived key for each use."""

    secret: bytes = field(repr=False)

    def derive(self, use: bytes) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"bunker.cloud " + use).derive(self.secret)


def load_master_key(path: Path, *, may_create: bool) -> MasterKey:
    """Read the key file; make it if it is missing and `may_create` (nothing is sealed yet).

    Raises TerminalError for a file that others can read or that is not a key,
    SecretsUnavailableError when it is missing and must not be made anew.
    """
    if may_create and not path.exists():
        _create(path, new_master())
    try:
        info = path.stat()
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as exc:
        raise SecretsUnavailableError(
            f"cannot read the master key '{path}': {exc.strerror}; restore it: without it no "
            "Secret can be opened"
        ) from exc
    # root may use another user's: the agent shares the data folder of an unprivileged API
    foreign = os.geteuid() != 0 and info.st_uid not in {os.geteuid(), 0}
    if stat.S_IMODE(info.st_mode) & 0o077 or foreign:
        raise TerminalError(
            f"cannot use the master key '{path}': others can read it; chmod 600 it",
            reason="MasterKeyExposed",
        )
    return MasterKey(_decode(path, text))


def new_master() -> bytes:
    """Random bytes for a master key."""
    return os.urandom(KEY_BYTES)


def write_master_key(path: Path, master: MasterKey) -> None:
    """Write a master key that exists elsewhere into a file of its own; one that is there stays."""
    if not path.exists():
        _create(path, master.secret)


def _create(path: Path, secret: bytes) -> None:
    """Whole or not at all: written aside, made durable, then linked to its name."""
    # no pid: in containers of one image, and after a crash in the midst of this, it is the same
    aside = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    text = _FILE_PREFIX + base64.b64encode(secret).decode() + "\n"
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            give(file.fileno(), path.parent)  # of one without rights an API has to read it
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return  # another process was first: its key is the key
    finally:
        aside.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _decode(path: Path, text: str) -> bytes:
    try:
        secret = base64.b64decode(text.strip().removeprefix(_FILE_PREFIX), validate=True)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES or not text.startswith(_FILE_PREFIX):
        raise TerminalError(
            f"cannot use the master key '{path}': it is not a key file; restore it",
            reason="MasterKeyDamaged",
        )
    return secret


class EmbeddedSealer:
    """Implements records.Sealer."""

    def __init__(self, master: MasterKey, keys: ObjectKeys) -> None:
        self._wrapping = AESGCM(master.derive(b"wrap"))
        self._digesting = master.derive(b"digest")
        self._keys = keys

    async def seal(self, uid: str, plaintext: bytes, /, *, ephemeral: bool = False) -> bytes:
        """Encrypt under the object's key, made on first use; bound to the uid."""
        if ephemeral:
            wrapped = self._wrap(uid, AESGCM.generate_key(256))
            return _CARRIED + wrapped + _encrypt(self._unwrap(uid, wrapped), plaintext, uid)
        kept = await self._keys.get(uid)
        if kept is None:
            kept = await self._keys.put(uid, self._wrap(uid, AESGCM.generate_key(256)))
        return _STORED + _encrypt(self._unwrap(uid, kept), plaintext, uid)

    async def open(self, uid: str, blob: bytes, /) -> bytes:
        """Decrypt. Raises SecretLostError when the key was destroyed, SecretsUnavailableError
        when key and blob don't belong together (another master key, or tampering)."""
        if blob[:1] == _CARRIED:
            carried, sealed = blob[1 : 1 + _WRAPPED_BYTES], blob[1 + _WRAPPED_BYTES :]
            return self._decrypt(uid, carried, sealed)
        wrapped = await self._keys.get(uid)
        if wrapped is None:
            raise SecretLostError(f"cannot open the data of '{uid}': its key is gone")
        return self._decrypt(uid, wrapped, blob[1:])

    def digest(self, plaintext: bytes, /) -> str:
        """Keyed HMAC-SHA256, hex."""
        mac = HMAC(self._digesting, SHA256())
        mac.update(plaintext)
        return mac.finalize().hex()

    async def destroy(self, uid: str, /) -> None:
        """Forget the object's key; the store does so by itself when the record goes."""
        await self._keys.delete(uid)

    def _wrap(self, uid: str, key: bytes) -> bytes:
        return _encrypt(self._wrapping, key, "key " + uid)

    def _unwrap(self, uid: str, wrapped: bytes) -> AESGCM:
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(self._wrapping.decrypt(nonce, sealed, b"key " + uid.encode()))
        except (InvalidTag, ValueError) as exc:
            raise SecretsUnavailableError(
                f"cannot open the key of '{uid}': it was altered, or wrapped by another master key"
            ) from exc

    def _decrypt(self, uid: str, wrapped: bytes, sealed: bytes) -> bytes:
        key = self._unwrap(uid, wrapped)
        try:
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], uid.encode())
        except (InvalidTag, ValueError) as exc:
            raise SecretsUnavailableError(
                f"cannot open the data of '{uid}': it was altered or belongs to another record"
            ) from exc


def _encrypt(key: AESGCM, plaintext: bytes, aad: str) -> bytes:
    # 96 random bits a message: far from a repeat within one object's few thousand versions
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plaintext, aad.encode())
