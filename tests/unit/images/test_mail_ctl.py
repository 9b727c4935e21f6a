"""What the mail server does with a mailbox that goes: on its own schema, and folders."""

import importlib.machinery
import importlib.util
import shutil
import sqlite3
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "manifests/images/mail"
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
