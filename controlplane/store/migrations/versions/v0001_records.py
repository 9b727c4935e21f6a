"""Records, the change log, keys, leases and tokens."""

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    # revision starts so that the first write is 1000; head is the hash of the empty log
    """
    CREATE TABLE counter (
        id smallint PRIMARY KEY CHECK (id = 1),
        revision bigint NOT NULL,
        head bytea NOT NULL,
        compacted bigint NOT NULL,
        anchor bigint NOT NULL,
        anchor_hash bytea NOT NULL,
        epoch bigint NOT NULL,
        epochs bigint[] NOT NULL
    ) WITH (fillfactor = 10)
    """,
    "INSERT INTO counter VALUES (1, 999, sha256(''), 999, 999, sha256(''), 0, '{}')",
    # updates touch no indexed column: room on the page keeps them heap-only
    """
    CREATE TABLE objects (
        kind text COLLATE "C" NOT NULL,
        namespace text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        uid text COLLATE "C" NOT NULL,
        revision bigint NOT NULL,
        generation bigint NOT NULL,
        deleting boolean NOT NULL,
        body bytea NOT NULL,
        managed_fields bytea NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE changes (
        revision bigint PRIMARY KEY,
        at timestamptz NOT NULL,
        verb text COLLATE "C" NOT NULL,
        actor text NOT NULL,
        manager text NOT NULL,
        uid text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL,
        namespace text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        generation bigint NOT NULL,
        body bytea,
        body_sha256 bytea NOT NULL,
        managed_fields bytea,
        hash bytea NOT NULL,
        batch uuid NOT NULL,
        epoch bigint,
        previous bigint
    )
    """,
    # `previous` links a record's changes: no index by name to keep up on every write. A live
    # record's chain starts from objects, a deleted one's from here
    """
    CREATE INDEX changes_deletes ON changes (kind, namespace, name, revision)
    WHERE verb = 'delete'
    """,
    """
    CREATE TABLE object_keys (
        uid text COLLATE "C" PRIMARY KEY,
        wrapped bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE leases (
        name text COLLATE "C" PRIMARY KEY,
        holder jsonb NOT NULL,
        epoch bigint NOT NULL,
        ttl_s double precision NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE tokens (
        hash bytea PRIMARY KEY,
        username text NOT NULL,
        groups text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
