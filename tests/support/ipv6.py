"""Tests on IPv6 addresses, on hosts that have any."""

from pathlib import Path

import pytest

_ADDRESSES = Path("/proc/net/if_inet6")
needs_ipv6 = pytest.mark.skipif(
    not (_ADDRESSES.exists() and _ADDRESSES.read_text()), reason="this host has no IPv6"
)
