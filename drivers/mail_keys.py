"""DKIM keys: the public part of a private one. RFC 6376, 3.6.1; keys are RSA."""

import base64
import hashlib
from typing import Final

SHORTEST_BITS: Final = 1024
"""No verifier takes what a shorter key signed (RFC 8301, 3.2)."""
MOST: Final = 4096
"""Public keys remembered: half a KiB each."""
_known: Final[dict[bytes, str]] = {}


def public_key(private: str) -> str:
    """DER of the public part in base64, as in a TXT record's `p=`; "" if it is no RSA key in PEM
    of SHORTEST_BITS at least.

    Remembered by a hash of the key, as each pass asks again; the key itself isn't.
    """
    name = hashlib.sha256(private.encode(errors="replace")).digest()
    if name not in _known:
        if len(_known) >= MOST:
            _known.clear()
        _known[name] = _derived(private)
    return _known[name]


def _derived(private: str) -> str:
    # slow to import, and needed only where there is a key
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        # its primes aren't tested: that takes a tenth of a second, and hurts nobody but its owner
        loaded = serialization.load_pem_private_key(
            private.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnicodeEncodeError):
        return ""
    if not isinstance(loaded, RSAPrivateKey) or loaded.key_size < SHORTEST_BITS:
        return ""
    der = loaded.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()
