"""WireGuard's keys: Curve25519 in base64 (https://www.wireguard.com/protocol/). Pure but for the
system's random generator."""

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


def generate_private_key() -> str:
    """A new private key, 44 characters of base64."""
    return base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key_of(private_key: str) -> str:
    """The public half. Raises ValueError, without the key in it, for what is no private key."""
    try:
        raw = base64.b64decode(private_key, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not a WireGuard private key: it isn't base64") from None
    if len(raw) != 32:
        raise ValueError(f"not a WireGuard private key: {len(raw)} bytes instead of 32")
    public = X25519PrivateKey.from_private_bytes(raw).public_key()
    return base64.b64encode(public.public_bytes_raw()).decode()
