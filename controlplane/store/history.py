"""The change log as history and audit: versions of a record, and the proof that none was altered.

Every change carries a hash over its metadata, a digest of its bytes and the hash before it. The
chain still verifies when old bodies are dropped; tampering with everything at once shows only
against a head exported earlier (`Head`), which is why there is one to export.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.errors import CompactedError
from controlplane.records import Key, Stored, Verb, Write
from controlplane.store.batch import chain, content_digest, microseconds
from controlplane.store.connect import Connection, Database, Row
from controlplane.store.portions import OF_SIZE, log_sql, of_every_size

# tips: where the record's chains of changes end, once for each time the name was used
_WALK_SQL: Final = """
WITH RECURSIVE walk (revision, previous) AS (
    (
        SELECT c.revision, c.previous FROM objects o JOIN changes c USING (revision)
        WHERE o.kind = $1 AND o.namespace = $2 AND o.name = $3
        UNION ALL
        SELECT revision, previous FROM changes
        WHERE verb = 'delete' AND kind = $1 AND namespace = $2 AND name = $3
    )
    UNION ALL
    SELECT c.revision, c.previous FROM walk w JOIN changes c ON c.revision = w.previous
)
"""
_VERSIONS_SQL: Final = (
    _WALK_SQL
    + """
SELECT c.revision, c.at, c.verb, c.actor, c.manager, c.uid, c.generation,
    c.body IS NOT NULL AS whole
FROM walk JOIN changes c USING (revision) ORDER BY revision DESC LIMIT $4
"""
)
# as it was at a revision; where that change's body was dropped, the change that made its generation
_AT_SQL: Final = (
    _WALK_SQL  # noqa: S608  # two constants
    + """
, target AS (
    SELECT c.revision, c.uid, c.generation, c.verb FROM walk JOIN changes c USING (revision)
    WHERE c.revision <= $4 ORDER BY c.revision DESC LIMIT 1
)
SELECT t.verb AS outcome, c.revision, c.uid, c.generation, c.body, c.managed_fields
FROM target t LEFT JOIN LATERAL (
    SELECT c.* FROM walk JOIN changes c USING (revision)
    WHERE c.revision <= t.revision AND c.uid = t.uid AND c.generation = t.generation
    AND c.body IS NOT NULL ORDER BY c.revision DESC LIMIT 1
) c ON true
"""
)
_LOG_SQL: Final = log_sql(
    "revision, at, verb, actor, manager, uid, kind, namespace, name, generation, body, "
    "body_sha256, managed_fields, hash, epoch, previous"
)
_OBJECTS_SQL: Final = f"""
SELECT o.kind, o.namespace, o.name, o.revision, o.body, o.managed_fields, c.body_sha256
FROM objects o LEFT JOIN changes c USING (revision) WHERE {OF_SIZE}
"""  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class Head:
    """The newest change and its hash: kept elsewhere, it pins everything before it."""

    revision: int
    hash: str


@dataclass(frozen=True, slots=True)
class Version:
    """One change of one record."""

    revision: int
    at: datetime
    verb: Verb
    actor: str
    manager: str
    uid: str
    generation: int
    whole: bool
    """Its object can still be read; else only this line is left."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What verifying found. `problem` is None when everything fits."""

    changes: int
    first: int
    """The oldest revision still in the log."""
    head: Head
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Every method raises StoreUnavailableError when PostgreSQL is away."""

    database: Database

    async def head(self) -> Head:
        """The log's head now, to be exported."""
        async with self.database.reading("cannot read the log's head") as conn:
            row = await conn.fetchrow("SELECT revision, head FROM counter")
        assert row is not None
        return Head(row["revision"], row["head"].hex())

    async def versions(self, key: Key, *, limit: int = 100) -> tuple[Version, ...]:
        """The changes of the record of that name, newest first, earlier ones of the same name
        included."""
        async with self.database.reading(f"cannot read the history of {key}") as conn:
            rows = await conn.fetch(_VERSIONS_SQL, key.kind, key.namespace, key.name, limit)
        return tuple(Version(**row) for row in rows)

    async def at(self, key: Key, revision: int) -> Stored | None:
        """The record as it was at `revision`: None if there was none. Where only its spec is
        kept, status and metadata are those of the change that made the spec.

        Raises CompactedError when nothing of it is kept.
        """
        async with self.database.reading(f"cannot read the history of {key}") as conn:
            row = await conn.fetchrow(_AT_SQL, key.kind, key.namespace, key.name, revision)
        if row is None or row["outcome"] == "delete":
            return None
        if row["body"] is None:
            raise CompactedError(f"cannot read {key} at {revision}: that version is not kept")
        found = (row["uid"], row["revision"], row["generation"], row["body"])
        return Stored(key, *found, row["managed_fields"])

    async def verify(self, exported: Head | None = None) -> Audit:
        """Walk the whole log and the current records against it; one snapshot, constant memory
        but for a number a live record."""
        async with (
            self.database.reading("cannot verify the log") as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await _verify(conn, exported)


async def _verify(conn: Connection, exported: Head | None) -> Audit:
    counter = await conn.fetchrow("SELECT revision, head, anchor, anchor_hash FROM counter")
    assert counter is not None
    head = Head(counter["revision"], counter["head"].hex())
    walk = _Walk(counter["anchor"], counter["anchor_hash"], exported)
    problem = walk.check_exported()
    after = -1  # the first revision is 0 or more
    while problem is None and (rows := await _after(conn, after)):
        for row in rows:
            problem = problem or walk.step(row)
        after = rows[-1]["revision"]
    problem = problem or walk.finish(head) or await _check_objects(conn, walk)
    return Audit(walk.revision - counter["anchor"], counter["anchor"] + 1, head, problem)


async def _after(conn: Connection, revision: int) -> list[Row]:
    rows = await conn.fetch(_LOG_SQL, revision)
    return [row for row in rows if row["revision"] > revision]


class _Walk:
    """The state of a verification: where the chain is, and which changes are the newest of a
    record that lives."""

    def __init__(self, revision: int, head: bytes, exported: Head | None) -> None:
        self.anchor = revision
        self.revision = revision
        self.head = head
        self.exported = exported
        self.tips: set[int] = set()

    def step(self, row: Row) -> str | None:
        revision = row["revision"]
        if revision != self.revision + 1:
            return f"revision {self.revision + 1} is missing"
        write = _as_write(row)
        digest = row["body_sha256"]
        if row["body"] is not None and digest != content_digest(row["body"], row["managed_fields"]):
            return f"revision {revision}: the object is not what was written"
        self.head = chain(self.head, revision, microseconds(row["at"]), write, digest)
        if self.head != row["hash"]:
            return f"revision {revision}: the change is not what was logged"
        self.revision = revision
        self.tips.discard(row["previous"])
        if write.verb != "delete":
            self.tips.add(revision)
        return self.check_exported()

    def check_exported(self) -> str | None:
        known = self.exported
        if known is not None and known.revision < self.anchor:
            # else whoever moves the anchor has it verify whatever they wrote below
            return (
                f"the log begins at revision {self.anchor + 1}, and the exported head, revision "
                f"{known.revision}, can't be compared any more: compare with one exported later, "
                "or with a backup"
            )
        if known is None or known.revision != self.revision or known.hash == self.head.hex():
            return None
        return f"revision {self.revision}: not the log that the exported head was taken from"

    def finish(self, head: Head) -> str | None:
        if (self.revision, self.head.hex()) != (head.revision, head.hash):
            return f"the log ends at revision {self.revision}, the counter says {head.revision}"
        if self.exported is not None and self.exported.revision > self.revision:
            return f"the log ends before the exported head, revision {self.exported.revision}"
        return None


async def _check_objects(conn: Connection, walk: _Walk) -> str | None:
    """The current records are the newest changes, byte for byte, and none is missing."""
    async for row in of_every_size(conn, _OBJECTS_SQL):
        revision = row["revision"]
        if revision <= walk.anchor:
            continue  # its change is older than what the log still has
        name = Key(row["kind"], row["namespace"], row["name"])
        if revision not in walk.tips:
            return f"{name} is not at the revision of its newest change"
        walk.tips.discard(revision)
        if content_digest(row["body"], row["managed_fields"]) != row["body_sha256"]:
            return f"{name} is not what its newest change wrote"
    return f"the record of revision {min(walk.tips)} is missing" if walk.tips else None


def _as_write(row: Row) -> Write:
    return Write(
        verb=row["verb"],
        key=Key(row["kind"], row["namespace"], row["name"]),
        uid=row["uid"],
        generation=row["generation"],
        body=row["body"] or b"",
        managed_fields=row["managed_fields"] or b"",
        expected_revision=row["previous"],
        actor=row["actor"],
        manager=row["manager"],
        epoch=row["epoch"],
    )
