"""Private keys for tests: made once, as each takes a tenth of a second."""

import subprocess
from functools import cache

from controlplane.engine.secretdata import generate
from controlplane.plan import Generated


@cache
def rsa_key(number: int = 0) -> str:
    """An RSA key in PEM; another number is another key."""
    del number
    return generate(Generated(2048, form="rsa"))


@cache
def short_rsa_key(bits: int) -> str:
    """An RSA key in PEM of a size that our own library makes no more."""
    argv = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}"]
    return subprocess.run(argv, capture_output=True, check=True, text=True, timeout=20).stdout


def quick(wanted: Generated) -> str:
    """As the engine generates values, but always the same key."""
    return rsa_key() if wanted.form == "rsa" else generate(wanted)
