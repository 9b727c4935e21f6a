"""What differs between the database engines: login, Secret, files, command and variables. Pure."""

from typing import Final, assert_never

from controlplane.plan import Generated, Template
from drivers.containers import SECRETS_PATH
from reconcilers import _container as box
from reconcilers._servers import Login
from resources.database import Database

STOP_TIMEOUT_S: Final = 60
"""A checkpoint or a save of a few GiB; killed before its end, a server recovers from its log."""
MEMORY_STEP_BYTES: Final = 64 * 2**20
"""What is advised is rounded up to it: as long as it holds, so does the message."""
REDIS_START: Final = """\
set -eu
cd /data
log=appendonlydir/appendonly.aof
if [ -s dump.rdb ] && [ ! -e $log.manifest ] && [ ! -e appendonly.aof ]; then
  mkdir -p appendonlydir
  ln -f dump.rdb $log.1.base.rdb || cp dump.rdb $log.1.base.rdb
  echo 'file appendonly.aof.1.base.rdb seq 1 type b' >appendonlydir/begun
  sync appendonlydir/begun
  mv appendonlydir/begun $log.manifest
fi
exec redis-server "$0"
"""
"""With a log switched on and none there, Redis would begin empty beside the dump of a server that
kept none, and overwrite it at its first stop: the dump becomes the base of the log, its last file
the one that makes it count
(https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/). Measured on 7.0.15."""


def login_of(record: Database) -> Login:
    """As whom the platform asks it, and hands it out."""
    return Login(record.spec.user_name, record.spec.database_name)


def secret_keys(record: Database) -> dict[str, str | Generated | Template]:
    """Keys of https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries."""
    scheme = {"postgres": "postgresql", "redis": "redis"}[record.spec.engine]
    login = login_of(record)
    return {
        "type": scheme,
        "provider": "bunker",
        "host": record.metadata.name,
        "port": str(record.port),
        "username": login.username,
        "password": Generated(),
        "database": login.database,
        "uri": Template(
            f"{scheme}://{{username}}:{{password}}@{{host}}:{{port}}/{{database}}", uri=True
        ),
    }


def files_of(record: Database, content: str) -> tuple[box.SecretFile, ...]:
    """The files its container reads; `content` is the HMAC of its Secret."""
    source = box.SecretSource("Secret", record.secret_name, content)
    match record.spec.engine:
        case "postgres":
            return (box.SecretFile("password", source, "{password}"),)
        case "redis":
            lines = (
                "requirepass {password}",
                "appendonly yes",
                "dir /data",
                f"maxmemory {maxmemory_of(record)}",
                "maxmemory-policy noeviction",
                "",
            )
            return (box.SecretFile("redis.conf", source, "\n".join(lines), plain=True),)
        case _:
            assert_never(record.spec.engine)


def maxmemory_of(record: Database) -> int | None:
    """Bytes that its data may take, by the server's own limit; None: it has none."""
    if record.spec.engine != "redis":
        return None
    # three quarters: a rewrite of the log copies what changes meanwhile
    # (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/)
    return record.spec.limits.memory * 3 // 4


def memory_for(used_bytes: int) -> int:
    """Memory in bytes, in steps of 64 MiB, whose `maxmemory_of` is at least that much."""
    return -(-used_bytes * 4 // (3 * MEMORY_STEP_BYTES)) * MEMORY_STEP_BYTES


def command_of(record: Database) -> tuple[str, ...]:
    """What runs in its container; empty: what the image says."""
    match record.spec.engine:
        case "postgres":
            return ()
        case "redis":
            return ("sh", "-c", REDIS_START, f"{SECRETS_PATH}/redis.conf")
        case _:
            assert_never(record.spec.engine)


def former_commands_of(record: Database) -> tuple[tuple[str, ...], ...]:
    """As earlier releases started it: it goes on so until it is made anew for another reason."""
    return (
        (("redis-server", f"{SECRETS_PATH}/redis.conf"),) if record.spec.engine == "redis" else ()
    )


def env_of(record: Database) -> dict[str, str]:
    """Its container's variables: names and paths, no secret."""
    if record.spec.engine != "postgres":
        return {}
    login = login_of(record)
    return {
        "POSTGRES_USER": login.username,
        "POSTGRES_DB": login.database,
        "POSTGRES_PASSWORD_FILE": f"{SECRETS_PATH}/password",
    }
