"""What the mail server does with a mailbox that goes: on its own schema, and folders."""

import importlib.machinery
import importlib.util
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from drivers.mail_keys import public_key
from tests.support.keys import rsa_key
from tests.unit.images.mail import FOLDER

ADDRESS = "alice@a.test"


@pytest.fixture
def mailctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As a module, with a folder of mail of its own."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    # for passwords alone, and gone from Python 3.13 on
    monkeypatch.setitem(sys.modules, "crypt", ModuleType("crypt"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("mailctl", str(FOLDER / "mailctl"))
    spec = importlib.util.spec_from_loader("mailctl", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "MAIL", tmp_path)
    monkeypatch.setattr(module, "kick", lambda address: None)
    return module


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    """A mailbox with a letter."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.executescript((FOLDER / "schema.sql").read_text())
    home = tmp_path / "A/a.test/alice"
    connection.execute(
        "INSERT INTO mailbox (address, domain, owner, claim, active, display_name, password, home,"
        " quota_bytes) VALUES (?, 'a.test', 'o', 'A', 1, '', '', ?, 0)",
        (ADDRESS, str(home)),
    )
    deliver(home)
    return connection


def deliver(home: Path) -> None:
    (home / "mail/new").mkdir(parents=True, exist_ok=True)
    (home / "mail/new/letter").write_text("hello")


def delete(mailctl: ModuleType, database: sqlite3.Connection) -> None:
    given = {"address": ADDRESS, "owner": "o", "keep_mail": False}
    mailctl.delete_mailbox(database, given)


@pytest.mark.parametrize("letters", [0, 1, 1000])
def test_mail_that_arrives_while_its_mailbox_goes_is_not_in_the_next_one(
    mailctl: ModuleType,
    database: sqlite3.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    letters: int,
) -> None:
    remove, left = shutil.rmtree, [letters]

    def removing(path: Path, **how: Any) -> None:
        remove(path, **how)
        if left[0]:
            left[0] -= 1
            deliver(path)

    monkeypatch.setattr(mailctl.shutil, "rmtree", removing)
    home = tmp_path / "A/a.test/alice"
    if letters == 1000:
        with pytest.raises(mailctl.Refused) as refused:
            delete(mailctl, database)
        assert refused.value.reason == "MailLeft"
        # off, and still there to go on with
        assert database.execute("SELECT active FROM mailbox").fetchone()["active"] == 0
        left[0] = 0
    delete(mailctl, database)
    assert not home.exists()
    assert database.execute("SELECT * FROM mailbox").fetchall() == []


def traditional(key: str) -> str:
    """As `openssl genrsa -traditional` writes it."""
    loaded = serialization.load_pem_private_key(key.encode(), password=None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def serve(mailctl: ModuleType, database: sqlite3.Connection, key: str) -> Any:
    """What is seen of a domain once it has that key."""
    mailctl.ensure_domain(
        database,
        {"name": "a.test", "owner": "o", "claim": "A", "active": True, "selector": "s1",
         "dkim_key": key},
    )  # fmt: skip
    return mailctl.observe_domain(database, {"name": "a.test"})


WRITTEN: dict[str, Callable[[str], str]] = {
    "as ours": lambda key: key,
    "on Windows": lambda key: key.replace("\n", "\r\n"),
    "with blanks": lambda key: key.replace("KEY-----\n", "KEY----- \n"),
    "without its last newline": str.strip,
    "with a comment": lambda key: f"the key of a.test\n{key}",
    "in the old form": traditional,
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_key_signs_however_it_is_written(
    mailctl: ModuleType, database: sqlite3.Connection, how: str
) -> None:
    """The guard's library reads it only in lines that end in LF: RFC 7468 allows for more."""
    given = WRITTEN[how](rsa_key())
    seen = serve(mailctl, database, given)
    assert seen["public_key"] == public_key(given) != ""
    (stored,) = database.execute("SELECT dkim_key FROM domain").fetchone()
    assert stored == rsa_key()


def test_a_key_that_an_earlier_release_stored_as_it_was_is_set_anew(
    mailctl: ModuleType, database: sqlite3.Connection
) -> None:
    serve(mailctl, database, rsa_key())
    given = WRITTEN["on Windows"](rsa_key())
    database.execute("UPDATE domain SET dkim_key=?", (given,))
    assert mailctl.observe_domain(database, {"name": "a.test"})["public_key"] == ""
    assert serve(mailctl, database, given)["public_key"] == public_key(given)


def test_what_is_no_key_is_refused_and_a_key_taken_away(
    mailctl: ModuleType, database: sqlite3.Connection
) -> None:
    serve(mailctl, database, rsa_key())
    with pytest.raises(mailctl.Refused) as refused:
        serve(mailctl, database, "no key")
    assert refused.value.reason == "KeyInvalid"
    assert serve(mailctl, database, "")["public_key"] == ""
