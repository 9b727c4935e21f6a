"""DKIM keys: the public part of a private one. RFC 6376, 3.6.1; keys are RSA."""

import base64


def public_key(private: str) -> str:
    """DER of the public part in base64, as in a TXT record's `p=`; "" if it is no private key."""
    # slow to import, and needed only where a key has just been changed
    from cryptography.hazmat.primitives import serialization

    try:
        loaded = serialization.load_pem_private_key(private.encode(), password=None)
    except (ValueError, TypeError):
        return ""
    der = loaded.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()
