"""The mail server's database: where it is, and how to open it.

Run as a program it makes what is missing. SQLite in WAL mode: readers never wait for a writer.
"""

import contextlib
import shutil
import sqlite3
from pathlib import Path

PATH = Path("/data/db/mail.db")
SCHEMA = Path(__file__).with_name("schema.sql")
BUSY_S = 5.0
"""A writer holds the lock for milliseconds; a busy machine may take a thousand times as long."""


def connect(path: Path = PATH) -> sqlite3.Connection:
    """Autocommit but for explicit transactions; rows by name."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def closing():
    """A connection for one question."""
    return contextlib.closing(connect())


if __name__ == "__main__":
    with connect() as database:
        database.executescript(SCHEMA.read_text())
    for part in PATH.parent.iterdir():
        # SQLite gives its side files the owner and mode of the database, whoever makes them.
        shutil.chown(part, "root", "postfix")
        part.chmod(0o660)
