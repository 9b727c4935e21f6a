"""Who may send as whom, as the mail server's guard decides it: on the server's own schema."""

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.images.mail import FOLDER, Maps


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mail_senders", FOLDER / "senders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


senders = _load()


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Two tenants: a.test with a mailbox, its alias, a group and a catch-all; b.test."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.executescript((FOLDER / "schema.sql").read_text())
    for name, claim in (("a.test", "A"), ("b.test", "B")):
        connection.execute(
            "INSERT INTO domain VALUES (?, 'o', ?, 1, 's1', ?)",
            (name, claim, "key" if claim == "A" else ""),
        )
    for address, claim in (("alice@a.test", "A"), ("carl@a.test", "A"), ("bob@b.test", "B")):
        connection.execute(
            "INSERT INTO mailbox VALUES (?, ?, 'o', ?, 1, '', 'x', '/h', 1, '', 1)",
            (address, address.partition("@")[2], claim),
        )
    for address, targets in (
        ("al@a.test", "alice@a.test"),
        ("team@a.test", "alice@a.test,bob@b.test"),
        ("@a.test", "carl@a.test"),
    ):
        connection.execute(
            "INSERT INTO alias VALUES (?, 'a.test', 'o', 'A', 1, ?, '')", (address, targets)
        )
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("login", "address", "allowed"),
    [
        ("alice@a.test", "alice@a.test", True),
        ("alice@a.test", "alice+tag@a.test", True),
        ("alice@a.test", "al@a.test", True),
        ("alice@a.test", "team@a.test", True),
        ("alice@a.test", "carl@a.test", False),
        ("alice@a.test", "anything@a.test", False),
        ("carl@a.test", "anything@a.test", True),
        ("carl@a.test", "alice@a.test", False),
        ("bob@b.test", "team@a.test", False),
        ("bob@b.test", "alice@a.test", False),
        ("alice@a.test", "bob@b.test", False),
        ("alice@a.test", "alice@elsewhere.test", False),
    ],
)
def test_who_may_send_as_whom(
    database: sqlite3.Connection, login: str, address: str, allowed: bool
) -> None:
    assert senders.may_send(database, login, address) is allowed


def test_what_is_switched_off_sends_nothing(database: sqlite3.Connection) -> None:
    database.execute("UPDATE mailbox SET active=0 WHERE address='alice@a.test'")
    database.execute("UPDATE domain SET active=0 WHERE name='a.test'")
    assert not senders.may_send(database, "alice@a.test", "alice@a.test")
    assert senders.key_of(database, "a.test") is None
    assert senders.is_ours(database, "a.test"), "and nobody else may use its name meanwhile"


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE domain SET active=0 WHERE name='a.test'", id="domain"),
        pytest.param("UPDATE mailbox SET active=0 WHERE address='alice@a.test'", id="mailbox"),
        pytest.param("UPDATE alias SET active=0 WHERE address IN ('al@a.test', 'team@a.test')",
                     id="aliases"),
        pytest.param("UPDATE alias SET targets='x@out.test' WHERE address='al@a.test'", id="out"),
        pytest.param("SELECT 1", id="all on"),
    ],
)  # fmt: skip
def test_guard_and_postfix_agree_on_who_may_send(
    database: sqlite3.Connection, tmp_path: Path, statement: str
) -> None:
    maps = Maps(tmp_path, database)
    database.execute(statement)
    local_parts = ("alice", "alice+tag", "al", "team", "carl", "bob", "anything")
    for address in (
        f"{local}@{domain}" for local in local_parts for domain in ("a.test", "b.test")
    ):
        for login in ("alice@a.test", "carl@a.test", "bob@b.test"):
            allowed = login in maps.address("senders", address)
            assert senders.may_send(database, login, address) is allowed, (login, address)


@pytest.mark.parametrize(
    ("statement", "login", "address"),
    [
        # an alias, or a catch-all, of a disabled domain leads to a mailbox of an enabled one
        ("UPDATE alias SET domain='c.test', address='info@c.test' WHERE address='al@a.test'",
         "alice@a.test", "info@c.test"),
        ("UPDATE alias SET domain='c.test', address='@c.test' WHERE address='al@a.test'",
         "alice@a.test", "anything@c.test"),
        # whose catch-all it is
        ("UPDATE mailbox SET active=0 WHERE address='alice@a.test'", "carl@a.test", "alice@a.test"),
        ("UPDATE alias SET active=0 WHERE address='al@a.test'", "carl@a.test", "al@a.test"),
        ("UPDATE alias SET targets='x@out.test' WHERE address='al@a.test'",
         "carl@a.test", "al@a.test"),
    ],
)  # fmt: skip
def test_nobody_sends_as_what_is_disabled_or_leads_elsewhere(
    database: sqlite3.Connection, statement: str, login: str, address: str
) -> None:
    database.execute("INSERT INTO domain VALUES ('c.test', 'o', 'A', 0, 's1', 'key')")
    database.execute(statement)
    assert not senders.may_send(database, login, address)


def test_only_a_domain_with_a_key_signs(database: sqlite3.Connection) -> None:
    assert senders.key_of(database, "a.test").private == "key"
    assert senders.key_of(database, "b.test") is None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"alice@a.test", ["alice@a.test"]),
        (b"Alice <ALICE@A.test>", ["alice@a.test"]),
        (b'"boss@b.test" <alice@a.test>', ["alice@a.test"]),
        (b"=?utf-8?q?J=C3=A4ne?= <alice@a.test>", ["alice@a.test"]),
        ("Jäne <alice@a.test>".encode(), ["alice@a.test"]),
        (b"alice@a.test, bob@b.test", ["alice@a.test", "bob@b.test"]),
        (b"a group: alice@a.test, bob@b.test;", ["alice@a.test", "bob@b.test"]),
        (b"Alice\r\n <alice@a.test>", ["alice@a.test"]),
    ],
)
def test_a_from_header_is_read_as_readers_do(header: bytes, found: list[str]) -> None:
    assert senders.from_addresses([header]) == found


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([b"a@a.test", b"b@b.test"], id="two"),
        pytest.param([b""], id="empty"),
        pytest.param([b"undisclosed:;"], id="empty group"),
        pytest.param([b"alice"], id="no domain"),
        pytest.param([b"<alice@a.test> <bob@b.test>"], id="two in one"),
        pytest.param([b"alice@a.test <bob@b.test>"], id="unquoted address as name"),
        pytest.param(["alice@ä.test".encode()], id="domain that ought to be encoded"),
        pytest.param([b"=?utf-8?q?alice=40a.test?="], id="encoded address"),
    ],
)
def test_a_from_header_that_could_be_read_otherwise_is_refused(values: list[bytes]) -> None:
    with pytest.raises(ValueError, match="From header"):
        senders.from_addresses(values)


@pytest.mark.parametrize(
    ("values", "domains"),
    [
        ([b"x@out.test"], {"out.test"}),
        ([], set()),
        ([b"x@out.test", b"alice@a.test"], {"out.test", "a.test"}),
        ([b"<x@out.test> <alice@a.test>"], {"out.test", "a.test"}),
        ([b"alice@ a.test <x@out.test"], {"a.test", "out.test"}),
        ([b'"alice@a.test" <x@out.test>'], {"out.test"}),
    ],
)
def test_domains_that_mail_from_outside_may_be_read_as(
    values: list[bytes], domains: set[str]
) -> None:
    assert senders.claimed_domains(values) == domains
