"""Private keys for tests: made once, as each takes a tenth of a second."""

from functools import cache

from controlplane.engine.secretdata import generate
from controlplane.plan import Generated


@cache
def rsa_key(number: int = 0) -> str:
    """An RSA key in PEM; another number is another key."""
    del number
    return generate(Generated(2048, form="rsa"))


def quick(wanted: Generated) -> str:
    """As the engine generates values, but always the same key."""
    return rsa_key() if wanted.form == "rsa" else generate(wanted)
