"""The few statements that prepare a PostgreSQL server, built as text for its own psql.

Pure. A password never appears in them, only its SCRAM verifier: what a server logs, or keeps in
pg_stat_statements, then gives nobody a password to log in with.
"""

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata
from typing import Final

from controlplane.errors import TerminalError

SCRAM_ITERATIONS: Final = 4096
"""PostgreSQL's own default (scram_iterations)."""
SALT_BYTES: Final = 16
"""As PostgreSQL makes them."""
PATIENCE_S: Final = 4
"""What each statement that sets a password may take, and any may wait for a lock: behind a lock
that a user holds, psql ends before whoever runs it has gone (nothing could end it then)."""
CONNECT: Final = f"dbname=postgres connect_timeout={PATIENCE_S}"
"""Where to run a script, for psql's `-d`: a server that hangs doesn't keep it, and hears no old
password when it goes on."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")


def quote_identifier(name: str) -> str:
    """A role or database name as SQL. Raises TerminalError for one that PostgreSQL would cut off
    (more than 63 bytes) or that holds anything but letters, digits, `_`, `$` and `-`."""
    if not _IDENTIFIER.fullmatch(name):
        raise TerminalError(
            f"cannot use name {name!r} in PostgreSQL: write a letter or '_', then at most 62 "
            "letters, digits, '_', '$' or '-'",
            reason="InvalidName",
        )
    return f'"{name}"'


def scram_verifier(password: str, *, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """What pg_authid stores for a password: RFC 5803's SCRAM-SHA-256 form.

    Keys as in RFC 5802 section 3, over the password prepared as in RFC 4013.
    """
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    words = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{words[0]}${words[1]}:{words[2]}"


def saslprep(password: str) -> str:
    """RFC 4013 as PostgreSQL applies it: a password that the profile forbids is taken as it is.

    https://www.postgresql.org/docs/current/sasl-authentication.html
    """
    if password.isascii() and password.isprintable():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    return password if not prepared or _forbidden(prepared) else prepared


def _forbidden(text: str) -> bool:
    tables = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    if any(table(char) for char in text for table in tables):
        return True
    # RFC 3454 section 6: text with right-to-left letters has no others, and begins and ends so.
    right_to_left = [stringprep.in_table_d1(char) for char in text]
    if not any(right_to_left):
        return False
    mixed = any(stringprep.in_table_d2(char) for char in text)
    return mixed or not (right_to_left[0] and right_to_left[-1])


def alter_password(user: str, password: str, *, salt: bytes) -> str:
    """One statement that gives a role this password. `salt`: SALT_BYTES random bytes."""
    verifier = scram_verifier(password, salt=salt)
    return f"ALTER ROLE {quote_identifier(user)} WITH LOGIN PASSWORD '{verifier}';"


def prepare_script(user: str, password: str, database: str, *, salt: bytes) -> str:
    """A script for psql that makes role, password and database as wanted, whatever is there.

    Run it as `psql -X -q -v ON_ERROR_STOP=1 -d CONNECT` over the server's own socket; a second
    run changes nothing but the salt. It mends a server whose first start was cut short.
    """
    role, name = quote_identifier(user), quote_identifier(database)
    return "\n".join(
        (
            f"SET lock_timeout = '{PATIENCE_S}s';",
            f"SET statement_timeout = '{PATIENCE_S}s';",
            _unless_exists(f"CREATE ROLE {role} SUPERUSER", "pg_roles", "rolname", user),
            alter_password(user, password, salt=salt),
            # copies files, and that takes as long as the disk does
            "SET statement_timeout = 0;",
            _unless_exists(
                f"CREATE DATABASE {name} OWNER {role}", "pg_database", "datname", database
            ),
            "",
        )
    )


def _unless_exists(statement: str, table: str, column: str, name: str) -> str:
    """Names are checked before they come here: no quote can be in one."""
    absent = f"NOT EXISTS (SELECT 1 FROM {table} WHERE {column} = '{name}')"  # noqa: S608  # checked
    return f"SELECT '{statement}' WHERE {absent} \\gexec"
