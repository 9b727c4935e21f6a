"""DNS names, values and zone files: what becomes of them, and what is said of wrong ones."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from resources.dns import clash, content, full_name, host_name, know_alias, mailbox_name, within
from resources.zonefile import MAX_TEXT, read_zone_file

ZONE = "shop.example.org"
VALUES = {
    ("A", "192.0.2.1"): "192.0.2.1",
    ("AAAA", "2001:DB8:0::1"): "2001:db8::1",
    ("ALIAS", "Www.Example.net"): "www.example.net.",
    ("CAA", "0 issue letsencrypt.org"): '0 issue "letsencrypt.org"',
    ("CNAME", "@"): f"{ZONE}.",
    ("HTTPS", "1 . port=443 alpn=h2"): '1 . alpn="h2" port="443"',
    ("MX", "10  mail"): f"10 mail.{ZONE}.",
    ("MX", "0 ."): "0 .",
    ("SRV", "1 2 3 Sip.example.net."): "1 2 3 sip.example.net.",
    ("TLSA", f"3 1 1 {'AB' * 32}"): f"3 1 1 {'ab' * 32}",
    ("TXT", 'say "hi" \\'): '"say \\"hi\\" \\\\"',
    ("TXT", "ä"): '"\\195\\164"',
    ("TXT", ""): '""',
    ("TXT", '"'): '"\\""',
    ("TXT", '"a" "b"'): '"a" "b"',
}


@pytest.mark.parametrize(("given", "expected"), VALUES.items(), ids=str)
def test_a_value_has_one_form(given: tuple[str, str], expected: str) -> None:
    rdtype, value = given
    assert content(rdtype, value, ZONE) == expected
    assert content(rdtype, expected, ZONE) == expected, "its own form stays"


WRONG = {
    ("A", "1.2.3.400"): "'1.2.3.400' is not an IPv4 address, such as '192.0.2.10'",
    ("CNAME", "föö.example"): "use ASCII letters only",
    ("CNAME", "a b"): "too many words",
    ("CNAME", '"a'): "is not a host name",
    ("CNAME", '"' + '\\"' * 4095): "is not a host name",
    ("MX", '10 "a'): "is not a host name",
    ("CNAME", "-a.b"): "'-a.b' is not a host name",
    ("DS", "1 13 2 abcd"): "digest",
    ("MX", "mail"): "a word is missing",
    ("NS", "_a.example"): "not a server's name",
    ("NS", "."): "not a server's name",
    ("SSHFP", "4 2 zz"): "is not '<algorithm> <hash type> <fingerprint in hex>'",
    ("TXT", "a\nb"): "line breaks",
    ("TXT", "x" * 9000): "at most 8192",
    ("TXT", '"a" b"'): "write it as it is, without quotes",
    ("CNAME", "x" * 100): "'... is not a host name",
}


@pytest.mark.parametrize(("given", "says"), WRONG.items(), ids=lambda each: str(each)[:40])
def test_a_wrong_value_is_named_with_the_rule(given: tuple[str, str], says: str) -> None:
    with pytest.raises(ValueError) as refused:
        content(*given, ZONE)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_become_absolute() -> None:
    assert full_name("@", ZONE) == f"{ZONE}."
    assert full_name("www", ZONE) == f"www.{ZONE}."
    assert full_name(f"www.{ZONE}", ZONE) == f"www.{ZONE}."
    assert full_name("www.example.net.", ZONE) == "www.example.net."
    assert full_name("notshop.example.org", ZONE) == f"notshop.example.org.{ZONE}."
    assert host_name("mail", ZONE) == f"mail.{ZONE}."
    assert host_name("mail.example.net", ZONE) == "mail.example.net."
    assert within(f"a.{ZONE}.", ZONE)
    assert within(f"{ZONE}.", ZONE)
    assert not within(f"not{ZONE}.", ZONE)
    assert mailbox_name("dns.admin@example.net") == "dns\\.admin.example.net."


CLASHES = [
    ("CNAME", set(), True, "write an ALIAS"),
    ("NS", set(), True, "spec.nameservers"),
    ("DS", set(), True, "the zone above"),
    ("CNAME", {"A"}, False, "beside other records (A)"),
    ("A", {"CNAME"}, False, "beside a CNAME"),
    ("ALIAS", {"A", "MX"}, False, "beside A"),
    ("AAAA", {"ALIAS"}, False, "beside an ALIAS"),
]


@pytest.mark.parametrize(("rdtype", "others", "apex", "says"), CLASHES)
def test_what_cannot_be_together_is_told(
    rdtype: str, others: set[str], apex: bool, says: str
) -> None:
    assert says in (clash(rdtype, others, apex=apex) or "")


@pytest.mark.parametrize(("rdtype", "others"), [("ALIAS", {"MX", "NS"}), ("TXT", {"ALIAS", "A"})])
def test_what_can_be_together_is_let_be(rdtype: str, others: set[str]) -> None:
    assert clash(rdtype, others, apex=True) is None


def test_a_zone_file_is_read_into_sets() -> None:
    text = (
        "$ORIGIN shop.example.org.\n$TTL 1h\n@ SOA ns1 admin 1 2h 1h 2w 5m\n@ NS ns1\n"
        "@ MX 10 Mail\n 60 A 192.0.2.1\nal ALIAS www.example.net.\n"
        "$GENERATE 1-2 host$ A 192.0.2.$ ; two (or so)\nout.example.net. A 192.0.2.9\n"
        "c CNAME a.example.net.\nd DS 1 13 2 " + "ab" * 32 + "\nd NS ns.example.net.\n"
        "x HINFO PC DOS\n@ CAA 0 issue ca.example\n"
    )
    found = read_zone_file(text, ZONE, 300)
    assert [(s.name.removesuffix(f"{ZONE}."), s.type, s.ttl) for s in found.sets] == [
        ("al.", "ALIAS", 3600),
        ("c.", "CNAME", 3600),
        ("d.", "DS", 3600),
        ("d.", "NS", 3600),
        ("host1.", "A", 3600),
        ("host2.", "A", 3600),
        ("", "A", 60),
        ("", "CAA", 3600),
        ("", "MX", 3600),
    ]
    assert found.nameservers == (f"ns1.{ZONE}.",)
    assert found.left_out == (f"x.{ZONE}. HINFO: zones have no such type",)


def test_a_file_without_ttl_has_the_zones() -> None:
    (found,) = read_zone_file("www A 192.0.2.1\n", ZONE, 77).sets
    assert found.ttl == 77


def test_many_threads_may_learn_of_an_alias_at_once() -> None:
    with ThreadPoolExecutor(2) as threads:
        for learned in [threads.submit(know_alias.__wrapped__) for _ in range(2)]:
            learned.result()
    assert content("ALIAS", "a.b.", ZONE) == "a.b."


def test_an_alias_beside_an_address_is_left_out() -> None:
    found = read_zone_file("@ ALIAS www.example.net.\n@ A 192.0.2.1\n", ZONE, 300)
    assert not found.sets
    assert len(found.left_out) == 2


BROKEN = {
    "www A 1.2.3.400\n": "in or before line 2",
    "$INCLUDE /etc/passwd\n": "$INCLUDE is not allowed",
    "$GENERATE 0-9999 h$ A 192.0.2.1\n": "$GENERATE makes 10000 records",
    "$GENERATE (0-9999) h$ A 192.0.2.1\n": "$GENERATE on one line",
    "@ A 192.0.2.1\n( $GENERATE 0-9999 h$ A 192.0.2.1 )\n": "makes 10000 records",
    '$GENERATE "0-9999" h$ A 192.0.2.1\n': "$GENERATE on one line",
    "\r$generate (\n0-9999 h$ A 192.0.2.1 )\n": "$GENERATE on one line",
    "$GENERATE 0-9999 h$ A 192.0.2.1\n$GENERATE 9999-0 h$ A 192.0.2.1\n": "makes 10001 records",
    "@ CNAME a.b.\n@ A 192.0.2.1\n": "CNAME",
    "x LUA A \"os.exit()\"\n": "unknown rdatatype 'LUA'",
    "@ NS _a.example.\n": "not a server's name",
    "\n\n(": "line 3",
    ";" * (MAX_TEXT + 1): f"at most {MAX_TEXT}",
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), BROKEN.items(), ids=lambda text: text[:30])
def test_a_broken_file_is_told_with_the_line(text: str, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_zone_file(text, ZONE, 300)
    assert says in str(refused.value)
