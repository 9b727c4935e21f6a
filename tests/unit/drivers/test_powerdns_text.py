"""Contents in PowerDNS' own spelling; that these are right is shown on the real server."""

import pytest

from drivers.powerdns_text import server_text

SPELLED = {
    ("A", "192.0.2.1"): "192.0.2.1",
    ("AAAA", "2001:db8::1"): "2001:db8::1",
    ("AAAA", "::ffff:1.2.3.4"): "::ffff:102:304",
    ("HTTPS", '1 . alpn="h2,h3" port="443" key667="a b"'): '1 . alpn=h2,h3 port=443 key667="a b"',
    ("SVCB", '1 a.b. dohpath="/q{?dns}"'): '1 a.b. key7="/q{?dns}"',
    ("SVCB", '1 a.b. key668="say \\"hi\\""'): '1 a.b. key668="say \\"hi\\""',
    ("SVCB", "0 a.b."): "0 a.b.",
    ("LOC", "52 22 23.000 N 4 53 32.000 E -2.00m"): (
        "52 22 23.000 N 4 53 32.000 E -2.00m 1.00m 10000.00m 10.00m"
    ),
    # the server's arithmetic
    ("LOC", "1 0 0.000 N 39 24 0.000 E 0.00m"): (
        "1 0 0.000 N 39 23 60.000 E 0.00m 1.00m 10000.00m 10.00m"
    ),
    ("LOC", "0 0 0.000 N 0 0 0.000 E 0.00m"): (
        "0 0 0.000 S 0 0 0.000 W 0.00m 1.00m 10000.00m 10.00m"
    ),
    ("TXT", '"a" "b"'): '"a" "b"',
}


@pytest.mark.parametrize(("given", "expected"), SPELLED.items(), ids=str)
def test_a_record_is_spelled_as_the_server_does(given: tuple[str, str], expected: str) -> None:
    assert server_text(*given) == expected
