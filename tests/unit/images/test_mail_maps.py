"""Where mail goes and who may send it, as the mail server's Postfix is told: on its own schema."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.images.mail import FOLDER, Maps

DISABLED = "550 5.2.1"


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """One tenant: a.test with a catch-all, a disabled mailbox and a disabled alias; off.test,
    which is disabled as a whole, and nothing in it by itself."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.executescript((FOLDER / "schema.sql").read_text())
    for name, active in (("a.test", 1), ("off.test", 0)):
        connection.execute("INSERT INTO domain VALUES (?, 'o', 'A', ?, 's', 'k')", (name, active))
    for address, active, forward in (
        ("alice@a.test", 1, ""),
        ("carl@a.test", 1, ""),
        ("jane@a.test", 0, ""),
        ("away@a.test", 1, "x@out.test"),
        ("bob@off.test", 1, "y@out.test"),
    ):
        connection.execute(
            "INSERT INTO mailbox VALUES (?, ?, 'o', 'A', ?, '', 'x', '/h', 1, ?, 1)",
            (address, address.partition("@")[2], active, forward),
        )
    for address, active, targets in (
        ("team@a.test", 1, "alice@a.test,jane@a.test,old@a.test"),
        ("old@a.test", 0, "alice@a.test"),
        ("out@a.test", 1, "z@out.test"),
        ("@a.test", 1, "carl@a.test"),
        ("info@off.test", 1, "alice@a.test"),
        ("@off.test", 1, "alice@a.test"),
    ):
        connection.execute(
            "INSERT INTO alias VALUES (?, ?, 'o', 'A', ?, ?, '')",
            (address, address.partition("@")[2], active, targets),
        )
    yield connection
    connection.close()


@pytest.fixture
def maps(tmp_path: Path, database: sqlite3.Connection) -> Maps:
    return Maps(tmp_path, database)


@pytest.mark.parametrize(
    ("address", "ends"),
    [
        ("alice@a.test", {"alice@a.test"}),
        ("nobody@a.test", {"carl@a.test"}),
        ("away@a.test", {"away@a.test", "x@out.test"}),
        ("info@off.test", {"info@off.test"}),
        ("nobody@off.test", {"nobody@off.test"}),
        ("bob@off.test", {"bob@off.test"}),
        # what is off takes nothing, and neither does a catch-all for it
        ("team@a.test", {"alice@a.test", "jane@a.test", "old@a.test"}),
    ],
)
def test_where_mail_goes(maps: Maps, address: str, ends: set[str]) -> None:
    assert maps.goes_to(address) == ends


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("alice@a.test", True),
        ("nobody@a.test", True),
        ("jane@a.test", False),
        ("jane+tag@a.test", False),
        ("old@a.test", False),
        ("bob@off.test", False),
        ("info@off.test", False),
        ("nobody@off.test", False),
        ("x@below.off.test", True),
        ("x@out.test", True),
    ],
)
def test_what_is_disabled_says_so(maps: Maps, address: str, taken: bool) -> None:
    found = maps.access("disabled", address)
    assert (found == []) is taken
    assert all(each.startswith(DISABLED) for each in found)


def test_a_disabled_catch_all_takes_nothing(maps: Maps, database: sqlite3.Connection) -> None:
    database.execute("UPDATE alias SET active=0 WHERE address='@a.test'")
    assert maps.address("aliases", "nobody@a.test") == [], "Postfix would take it as one listed"
    assert "carl@a.test" not in maps.address("senders", "nobody@a.test")


@pytest.mark.parametrize(
    ("address", "logins"),
    [
        ("alice@a.test", {"alice@a.test"}),
        ("team@a.test", {"alice@a.test"}),
        ("nobody@a.test", {"carl@a.test"}),
        ("jane@a.test", set()),
        ("jane+tag@a.test", set()),
        ("old@a.test", set()),
        ("out@a.test", set()),
        ("bob@off.test", set()),
        ("info@off.test", set()),
        ("nobody@off.test", set()),
    ],
)
def test_who_may_send_as_an_address(maps: Maps, address: str, logins: set[str]) -> None:
    found = maps.address("senders", address)
    assert {each for each in found if "@" in each} == logins


def test_a_domain_takes_mail_again_once_it_is_enabled(
    maps: Maps, database: sqlite3.Connection
) -> None:
    database.execute("UPDATE domain SET active=1")
    assert maps.goes_to("info@off.test") == {"alice@a.test"}
    assert maps.goes_to("bob@off.test") == {"bob@off.test", "y@out.test"}
    assert maps.access("disabled", "info@off.test") == []
    assert "alice@a.test" in maps.address("senders", "info@off.test")
