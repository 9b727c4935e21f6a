"""The installation's settings: read once from the environment by the composition root.

Deliberately not a registry that modules look things up in: `__main__` hands each object the few
values it needs. docs/settings.md is generated from the fields below.
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from controlplane.errors import TerminalError
from resources.text import Matches

PREFIX: Final = "CP_"
_DOCKER_SOCKET: Final = "unix:///var/run/docker.sock"

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
# a `\w` here, with all of Unicode's letters, takes 20 ms of each start to compile
VaultName = Annotated[
    str,
    Matches(
        "[-A-Za-z0-9_/]+",
        "a place in a Vault: use letters, digits, '-', '_' and '/', such as 'bunker/main'",
        100,
    ),
]
InstanceName = Annotated[
    str,
    Matches(
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "a name of an installation: use lower case letters, digits and '-', such as 'staging'",
        32,
    ),
]
PortRange = Annotated[
    str,
    Matches(
        "[0-9]{1,5}-[0-9]{1,5}",
        "a range of ports: write the first and the last with '-' between, such as '30000-32767'",
    ),
]


class Settings(BaseModel):
    """Every value has a default that works on a fresh host. Field x is read from CP_X."""

    # the page reads the docstrings itself: here that would take 40 ms of each start
    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    """Folder that holds everything the control plane keeps on disk: keys, certificates, the
    embedded PostgreSQL, logs. Default: `/var/lib/bunker` for root, else
    `$XDG_DATA_HOME/bunker` (`~/.local/share/bunker`), so that no checkout ever holds a secret."""

    instance: InstanceName = "bunker"
    """Name of this installation, the value of the `bunker.cloud/instance` label on all it makes,
    and so for good. Several installations can share one Docker engine if their names differ; each
    has a data folder and a `CP_API_PORT` of its own."""

    api_address: str = "127.0.0.1"
    """IP address the API listens on. The default keeps it on this host; put a wider one behind a
    firewall."""

    api_port: Port = 8443
    """TCP port of the API. 8443 is the unprivileged neighbour of 443."""

    database_url: SecretStr | None = None
    """PostgreSQL (14 or newer) to keep records in, as `postgresql://user:password@host/name`.
    Default: none, and a bundled PostgreSQL runs from the data folder."""

    database_connections: Annotated[int, Field(ge=2, le=100)] = 4
    """Connections to PostgreSQL that read, beside the one that writes and the one that listens:
    group commit makes more writers slower, not faster. The bundled PostgreSQL has room for those of
    an API and an agent, from its next start on (`python -m controlplane stop-store`)."""

    secrets: Literal["embedded", "vault"] = "embedded"
    """Where the keys of Secrets are kept: `embedded` in the database, under a key file in the data
    folder; `vault` in HashiCorp Vault or OpenBao, which CP_VAULT_* name. Changed with
    `python -m controlplane secrets migrate --to vault`, or back: docs/vault.md."""

    vault_address: str | None = None
    """Where the Vault is, e.g. `https://vault.example.org:8200`. With `secrets` embedded it is
    only looked into for keys that are still to be moved back. Default: none."""

    vault_role_id: str | None = None
    """Role id of the AppRole that the control plane enters with."""

    vault_secret_id: SecretStr | None = None
    """Secret id of that AppRole. A file (`CP_VAULT_SECRET_ID_FILE`) is seen by fewer, and another
    id needs no restart."""

    vault_secret_id_file: Path | None = None
    """File that holds the secret id, 0600; read each time the AppRole is entered, so that a renewed
    id counts from then on."""

    vault_mount: VaultName = "secret"
    """Mount of the KV version 2 engine. Default: the one that servers in development mode have."""

    vault_path: VaultName | None = None
    """Folder in that engine, of this installation alone. Default: `bunker/<instance>`."""

    vault_approle: VaultName = "approle"
    """Mount of the AppRole method. Default: the one that Vault itself proposes."""

    vault_ca_file: Path | None = None
    """Certificates to trust instead of the system's: a Vault often has an authority of its own."""

    docker_host: str | None = None
    """Socket of this host's Docker engine, as `unix:///path`. Default: `DOCKER_HOST`, else the
    engine's usual socket; `scripts/up` takes that of the `docker` command, and keeps to it. No
    engine of another host: networks, volumes and secret files are looked at on this one."""

    images: Literal["upstream", "local"] = "upstream"
    """Where images come from: `upstream` pulls the published ones, `local` expects those that
    `scripts/images` built on this host, for hosts without a registry."""

    subnet_pool: str = "10.201.0.0/16"
    """IPv4 network that namespaces get their subnets from, one /24 each: 256 namespaces. Seldom
    used in homes and offices; each subnet is checked against the host's routes all the same."""

    port_pool: PortRange = "30000-32767"
    """Host ports given to records that publish one without naming it, first-last. Kubernetes'
    node port range: outside the kernel's ephemeral range, which begins at 32768."""

    runtime_dir: Path
    """Folder for what must not survive a reboot: secret files for containers. On a tmpfs, so that
    no secret reaches a disk. Default: `/run/bunker`, and `/run/bunker-<instance>` for an
    installation of another name; in `/dev/shm` for others than root, or if `/run` is on disk."""

    reconcile_timeout_s: Seconds = 120.0
    """Seconds one pass over one record may take. Long enough for a slow container start. A call
    that takes longer, such as a removal on a busy disk, is not cut off: the pass ends after it, and
    the next one goes on from there. A pull of an image is waited for beside all passes."""

    resync_s: Seconds = 600.0
    """Seconds between looks at a converged record, ±20 %. Events tell sooner; this catches what
    they miss."""

    relist_s: Seconds = 60.0
    """Seconds between full lists of the engine's containers, because event streams lose events."""

    workers_per_kind: Annotated[int, Field(ge=1, le=64)] = 16
    """Records of one kind worked on at once. Most of it is waiting for containers that start: 20
    Apps were Ready in 7.2 s with 16, as many as the engine is asked to start at once, and in
    11.0 s with 4."""

    lease_ttl_s: Annotated[float, Field(ge=3, le=300)] = 6.0
    """Seconds after which another agent may take over from one that stopped renewing; from one
    whose process is gone, at once. Renewed at a sixth of it, and an agent that could not for two
    thirds of it stops acting. With 6 a takeover ends within 10 s on a busy host, too; a store that
    is often slower than 4 s wants more."""

    watch_window_s: Annotated[int, Field(ge=60, le=365 * 86400)] = 3600
    """Seconds for which the log keeps every change whole: a process that was cut off from the
    database for less goes on where it was, and lists nothing again. A client's watch resumes from
    what its API process has in memory, the last 16,384 changes or 16 MiB, whatever this says."""

    history_versions: Annotated[int, Field(ge=1, le=10**9)] = 100
    """Versions of each record kept readable in the change log."""

    shutdown_grace_s: Seconds = 20.0
    """Seconds that passes under way get to finish after SIGTERM. Below the 30 s after which
    service managers kill."""

    request_body_bytes: Annotated[int, Field(ge=4096, le=16 * 2**20)] = 2**20
    """Largest request body in bytes. 1 MiB is what etcd, and so Kubernetes' clients, expect."""

    log_format: Literal["json", "console"] = "json"
    """`json` for collectors, one object a line; `console` for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged. At info a converged system is silent."""

    @field_validator("api_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        ipaddress.ip_address(value)
        return value

    @field_validator("data_dir", "runtime_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("write an absolute path")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_postgres(value.get_secret_value()):
            # without its text: it holds a password
            raise ValueError(
                "write postgresql://user:password@host/name, with signs such as @, / and # in the "
                "password as %40, %2F and %23"
            )
        return value

    @field_validator("docker_host")
    @classmethod
    def _is_engine(cls, value: str | None) -> str | None:
        if value is not None:
            _check_engine(value)
        return value

    @field_validator("subnet_pool")
    @classmethod
    def _is_pool(cls, value: str) -> str:
        if ipaddress.IPv4Network(value).prefixlen > 24:
            raise ValueError("a pool smaller than one /24 holds no namespace")
        return value

    @field_validator("port_pool")
    @classmethod
    def _is_range(cls, value: str) -> str:
        first, last = (int(part) for part in value.split("-"))
        if not 1024 <= first <= last <= 65535:
            raise ValueError("write first-last within 1024-65535, such as 30000-32767")
        return value

    @model_validator(mode="after")
    def _vault_is_whole(self) -> Self:
        if self.secrets == "vault" and self.vault_address is None:
            raise ValueError("CP_SECRETS=vault needs CP_VAULT_ADDRESS")
        entered = self.vault_role_id and (self.vault_secret_id or self.vault_secret_id_file)
        if self.vault_address is not None and not entered:
            raise ValueError(
                "CP_VAULT_ADDRESS needs CP_VAULT_ROLE_ID and CP_VAULT_SECRET_ID_FILE (or "
                "CP_VAULT_SECRET_ID)"
            )
        return self

    @model_validator(mode="after")
    def _bundled_is_found(self) -> Self:
        if self.database_url is None and "," in str(self.data_dir):
            raise ValueError(
                "CP_DATA_DIR: to PostgreSQL's clients a ',' in it is between two servers: choose a "
                "folder without, or set CP_DATABASE_URL"
            )
        return self

    @property
    def ports(self) -> range:
        """The port pool as a range."""
        first, last = (int(part) for part in self.port_pool.split("-"))
        return range(first, last + 1)

    @property
    def bundled_connections(self) -> int:
        """Those of an API and an agent, each with its readers, its writer and its listener; and
        what else there may be, such as commands, psql and a pg_dump."""
        return 2 * self.database_connections + 42

    @property
    def secrets_dir(self) -> Path:
        """Where secret files for containers are written, one folder a record."""
        return self.runtime_dir / "secrets"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, /, *, uid: int | None = None) -> Self:
        """Read CP_* of `env` (default: the process's own); an empty value counts as unset.

        Raises TerminalError naming each variable that is wrong, without its value. Unknown CP_*
        variables are left alone: scripts have their own (CP_VENV).
        """
        env = os.environ if env is None else env
        given = {
            name: value
            for name in cls.model_fields
            if (value := env.get(PREFIX + name.upper(), "")) != ""
        }
        uid = os.getuid() if uid is None else uid
        if "data_dir" not in given:
            given["data_dir"] = str(default_data_dir(env, uid))
        given.setdefault("runtime_dir", default_runtime_dir(given.get("instance", "bunker"), uid))
        try:
            return cls.model_validate(given)
        except ValidationError as exc:
            raise TerminalError(_explain(exc), reason="InvalidSettings") from None


def docker_url(settings: Settings, env: Mapping[str, str] | None = None, /) -> str:
    """Where the agent's Docker engine listens.

    Raises TerminalError for a DOCKER_HOST that is none of this host; only the agent minds.
    """
    url = (os.environ if env is None else env).get("DOCKER_HOST", "")
    if settings.docker_host is not None or not url:
        return settings.docker_host or _DOCKER_SOCKET
    try:
        _check_engine(url)
    except ValueError as exc:
        message = f"cannot read settings: DOCKER_HOST: {exc}, or set CP_DOCKER_HOST"
        raise TerminalError(message, reason="InvalidSettings") from None
    return url


def _check_engine(url: str) -> None:
    """Raises ValueError. To the driver all else is an engine that doesn't answer, for ever."""
    if not url.startswith("unix:///"):
        raise ValueError(
            f"{url!r} is not a socket of this host: write unix:///path, such as {_DOCKER_SOCKET}"
        )


def default_data_dir(env: Mapping[str, str], uid: int) -> Path:
    """The data folder when CP_DATA_DIR is not set."""
    if uid == 0:
        return Path("/var/lib/bunker")
    home = Path(env.get("HOME") or "/")
    return Path(env.get("XDG_DATA_HOME") or home / ".local/share") / "bunker"


def default_runtime_dir(instance: str, uid: int) -> str:
    """The runtime folder when CP_RUNTIME_DIR is not set: one an installation, as it is removed
    with it. In /run only root makes folders."""
    place = "/run" if uid == 0 else "/dev/shm"  # noqa: S108  # in memory; the folder is 0700
    return f"{place}/bunker" if instance == "bunker" else f"{place}/bunker-{instance}"


def _is_postgres(url: str) -> bool:
    """Whether PostgreSQL's clients can read it. To them what they can't is a server that doesn't
    answer, which is waited for without a word."""
    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port  # raises for one that is no number
    except ValueError:
        return False
    return parts.scheme in {"postgresql", "postgres"} and not parts.fragment


def _explain(exc: ValidationError) -> str:
    problems = []
    for error in exc.errors(include_input=False, include_url=False):
        message = error["msg"].removeprefix("Value error, ")
        where = f"{PREFIX}{str(error['loc'][0]).upper()}: " if error["loc"] else ""
        problems.append(where + message)
    return "cannot read settings: " + "; ".join(problems)
