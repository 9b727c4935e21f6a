"""What a mail server holds: domains, mailboxes, aliases, and where mail is."""

import json
import time
from typing import Any, Final

from tests.containers import docker
from tests.e2e.mailing import Login
from tests.integration.crashes.holding import At, Holding

LETTER: Final = "kept"
"""Its subject."""
TABLES: Final = ("domain", "mailbox", "alias")
DUMP: Final = f"""
import json, pathlib, sqlite3
database = sqlite3.connect("file:/data/db/mail.db?mode=ro", uri=True)
database.row_factory = sqlite3.Row
ask = lambda table: [dict(row) for row in database.execute(f"SELECT * FROM {{table}} ORDER BY 1")]
found = {{table: ask(table) for table in {TABLES!r}}}
letters = lambda home: sum(
    b"Subject: {LETTER}" in each.read_bytes() for each in home.glob("mail/*/*") if each.is_file())
homes = pathlib.Path("/data/mail").glob("*/*/*")
found["mail"] = sorted([str(home), home.stat().st_ino, letters(home)] for home in homes)
print(json.dumps(found))
"""
DELIVERED_S: Final = 20.0


def mailboxes(at: At) -> Holding:
    """Raises OSError where it doesn't answer."""
    said = docker("exec", at.state.id, "python3", "-I", "-c", DUMP, check=False)
    if not said.startswith("{"):
        raise OSError("no database yet")
    found = json.loads(said)
    folders = found.pop("mail")
    things = {f"{table}[{next(iter(row.values()))}" for table in TABLES for row in found[table]}
    things |= {f"mail[{path} {inode}" for path, inode, _ in folders}
    tree: dict[str, Any] = {table: [_row(row) for row in found[table]] for table in TABLES}
    tree["letters"] = {path: count for path, _, count in folders}
    return Holding(frozenset(things), lambda: tree)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is another in each run."""
    hidden = {"password": "a hash", "dkim_key": "a key"}
    return {name: hidden[name] if name in hidden and v else v for name, v in row.items()}


def write_letter(login: Login) -> None:
    """To oneself; delivered when this returns."""
    assert login.send(login.user, LETTER) == "sent"
    end_s = time.monotonic() + DELIVERED_S
    while not login.subjects():
        assert time.monotonic() < end_s, "the letter does not arrive"
        time.sleep(0.1)  # a real server's time can't be moved by hand
