"""The composition root, `python -m controlplane`: puts the parts together and runs them.

The only module that imports everything and reads the environment; nothing imports it. What a
part does is in the part: here is only which parts there are and who gets what; those of the agent
are put together in reconcilers/agent.py, which only a process that runs one imports.

    serve [api|agent]    API and agent in one process, or one of them
    kubeconfig           issue a token and write a kubeconfig
    tokens list|revoke   who has a token; make one worthless
    migrate              start the bundled PostgreSQL; bring the database to this version's schema
    stop-store           stop the bundled PostgreSQL
    secrets migrate      move the keys of Secrets into a Vault, or back
    audit head|verify    print the change log's head, or check the log (against an earlier head)
"""

import gc

# no import makes garbage: looking for some meanwhile would be a tenth of a start
gc.disable()

import argparse
import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import uvloop
from prometheus_client import CollectorRegistry

from api.app import build_app
from api.context import Context, Limits
from api.kubeconfig import kubeconfig, server_url, write_private
from api.serve import serving
from api.served import Catalogue
from api.tls import TlsFiles, ensure_certificates, renewed
from controlplane.access import ROLES, Access
from controlplane.agentclient import RemoteStreams, remote_streams
from controlplane.agentserver import offering
from controlplane.agentwire import SOCKET
from controlplane.arguments import parse
from controlplane.clock import Clock, SystemClock
from controlplane.engine.cache import Cache
from controlplane.engine.manager import Mandate
from controlplane.errors import ControlPlaneError, RetryableError, TerminalError
from controlplane.hushed import Hushed, Learn
from controlplane.keysweep import KeySweeper
from controlplane.logs import configure_logs
from controlplane.moving import Mover
from controlplane.openfiles import raise_open_files
from controlplane.records import Sealer
from controlplane.settings import Settings, docker_url
from controlplane.shared import Shared
from controlplane.stopping import explained, starting
from controlplane.store.audit import head, verified
from controlplane.store.compaction import Compactor, Retention
from controlplane.store.connect import Database
from controlplane.store.embedded import EmbeddedPostgres
from controlplane.store.history import History
from controlplane.store.issued import listed, revoked
from controlplane.store.keeper import kept_up, start_told
from controlplane.store.keys import StoredKeys
from controlplane.store.migrate import ensure_schema
from controlplane.store.records import Records
from controlplane.store.service import PostgresStore
from controlplane.store.tokens import Tokens
from controlplane.vaulted import (
    Backend,
    VaultKeys,
    VaultSealer,
    embedded_sealer,
)
from drivers.vault import HvacVault, VaultServer
from resources.kinds import KINDS

if TYPE_CHECKING:
    from reconcilers.agent import Acting
    from reconcilers.podstreams import PodStreams

Role = Literal["all", "api", "agent"]
MakeAgent = Callable[[Shared, str], "Acting"]
"""From what all parts share, and the address of the engine."""
MASTER_KEY: Final = "master.key"
"""In the data folder, with the embedded secret backend."""
YOUNG_OBJECTS: Final = 5000
"""New objects until some of them are looked at for garbage. With Python's 700 an API under load
spends 13 % of its CPU on that, and answers 3,617 creates a second instead of 4,105; 20,000 are no
better (scripts/bench api, medians of four rounds)."""


def embedded(settings: Settings) -> EmbeddedPostgres | None:
    """The bundled PostgreSQL, unless another is configured."""
    if settings.database_url is not None:
        return None
    return in_folder(settings)


def in_folder(settings: Settings) -> EmbeddedPostgres:
    """The one of the data folder: it may run although another database is configured by now."""
    home, connections = settings.data_dir / "postgres", settings.bundled_connections
    return EmbeddedPostgres(home, connections=connections)


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[Database]:
    """The database, with this version's schema, for the length of a block. A bundled PostgreSQL is
    started for it, and kept up meanwhile."""
    bundled = embedded(settings)
    if bundled is None:
        assert settings.database_url is not None
        dsn = settings.database_url.get_secret_value()
    else:
        dsn = await asyncio.to_thread(bundled.start)
    # already while it is waited for: one that was found running may be ending
    async with kept_up(bundled, SystemClock()):
        database = Database(dsn, settings.database_connections)
        await ensure_schema(database)
        try:
            yield database
        finally:
            database.close()


@asynccontextmanager
async def shared_parts(
    settings: Settings, catalogue: Catalogue, learn: Learn
) -> AsyncIterator[Shared]:
    """Store, cache and records, open for the length of a block; `learn` is told of secrets."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock = SystemClock()
    vault = open_vault(settings, clock)
    async with database_of(settings) as database:
        sealer = await make_sealer(settings, StoredKeys(database), vault)
        cache = Cache()
        store = PostgresStore(database, cache)
        records = Records(
            store,
            cache,
            Hushed(sealer, learn),
            clock,
            {served.info.kind: served.info for served in catalogue},
            catalogue.topology,
        )
        async with store.running():
            yield Shared(
                settings=settings,
                clock=clock,
                database=database,
                store=store,
                cache=cache,
                records=records,
                sealer=sealer,
                registry=CollectorRegistry(),
            )
    if vault is not None:
        await vault.aclose()


def open_vault(settings: Settings, clock: Clock) -> HvacVault | None:
    """The Vault of the settings, if they name one. Asks it nothing yet."""
    if settings.vault_address is None:
        return None
    given = settings.vault_secret_id
    secret_id = settings.vault_secret_id_file if given is None else given.get_secret_value()
    assert secret_id is not None
    server = VaultServer(
        settings.vault_address,
        settings.vault_role_id or "",
        secret_id,
        mount=settings.vault_mount,
        approle=settings.vault_approle,
        ca_file=settings.vault_ca_file,
    )
    return HvacVault(server, clock)


def vault_keys(settings: Settings, vault: HvacVault) -> VaultKeys:
    path = settings.vault_path or f"bunker/{settings.instance}"
    return VaultKeys(vault, path, settings.vault_mount)


async def make_sealer(settings: Settings, table: StoredKeys, vault: HvacVault | None) -> Sealer:
    """The secret backend. Raises SecretsUnavailableError where its keys are in a Vault that the
    settings don't name."""
    file = settings.data_dir / MASTER_KEY
    if vault is not None:
        return VaultSealer(vault_keys(settings, vault), table, file, settings.secrets)
    return await embedded_sealer(table, file)


async def migrate_secrets(settings: Settings, to: Backend) -> str:
    """Move the keys of Secrets; what to tell."""
    vault = open_vault(settings, SystemClock())
    if vault is None:
        raise TerminalError("cannot move Secrets: set CP_VAULT_ADDRESS and its like first")
    file = settings.data_dir / MASTER_KEY
    async with aclosing(vault), database_of(settings) as database:
        keys = vault_keys(settings, vault)
        done = await Mover(StoredKeys(database), keys, file).move(to)
    return f"moved {done.keys} keys; from now on start with CP_SECRETS={done.to}"


def certificates(settings: Settings, clock: Clock) -> TlsFiles:
    """The API's certificate, made at the first start and before it expires."""
    return ensure_certificates(
        settings.data_dir / "tls",
        now=clock.now(),
        names=(settings.api_address, socket.gethostname()),
    )


@asynccontextmanager
async def api_serving(
    shared: Shared,
    catalogue: Catalogue,
    agent: "Acting | None",
    ways: "PodStreams | RemoteStreams",
) -> AsyncIterator[None]:
    """The API on its port for the length of a block."""
    settings = shared.settings
    context = Context(
        records=shared.records,
        view=shared.cache,
        access=Access(Tokens(shared.database), shared.clock),
        kinds=catalogue,
        clock=shared.clock,
        registry=shared.registry,
        limits=Limits(body_bytes=settings.request_body_bytes),
        ready=() if agent is None else (AgentCheck(agent.mandate),),
        pods=ways.pods,
        streams=ways,
    )
    async with (
        renewed(lambda: certificates(settings, shared.clock), shared.clock) as tls,
        serving(build_app(context), settings.api_address, settings.api_port, tls),
    ):
        yield


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """/readyz: the agent of this process leads, so that records will be acted on."""

    mandate: Mandate
    name: str = "agent"

    async def __call__(self) -> None:
        if not self.mandate.leading:
            raise RetryableError("the agent waits for its lease")


def compactor(shared: Shared) -> Compactor:
    settings = shared.settings
    retention = Retention(
        watch_window_s=settings.watch_window_s, history_versions=settings.history_versions
    )
    return Compactor(shared.database, shared.clock, retention)


def agent_maker(role: Role) -> MakeAgent | None:
    """What makes the agent. Imported here: an API alone needs no drivers and no reconcilers."""
    if role == "api":
        return None
    from reconcilers.agent import make_agent

    return make_agent


async def serve(settings: Settings, role: Role, make_agent: MakeAgent | None, learn: Learn) -> None:
    """Run until SIGTERM or SIGINT: then requests and passes under way end, or are abandoned."""
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        catalogue = Catalogue(KINDS)
        async with starting(stop):
            shared = await stack.enter_async_context(shared_parts(settings, catalogue, learn))
        if stop.is_set():
            return
        agent = None if make_agent is None else make_agent(shared, docker_url(settings))
        door = settings.data_dir / SOCKET
        ways = remote_streams(door, shared.clock) if agent is None else agent.ways
        if role != "agent":
            await stack.enter_async_context(api_serving(shared, catalogue, agent, ways))
        else:
            await stack.enter_async_context(offering(door, ways.pods, ways, shared.clock))
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(ways.pods.run(), name="pods"),
                tasks.create_task(catalogue.prepare(shared.clock), name="schemas"),
            ]
            if isinstance(shared.sealer, VaultSealer):
                reaching = shared.sealer.run(shared.clock)
                beside.append(tasks.create_task(reaching, name="vault"))
            if agent is None:
                await stop.wait()
            else:
                stack.push_async_callback(agent.drivers.aclose)
                beside += [
                    tasks.create_task(compactor(shared).run(), name="compaction"),
                    tasks.create_task(agent.reporter.run(), name="reporting"),
                ]
                if isinstance(shared.sealer, VaultSealer):
                    live = StoredKeys(shared.database)
                    sweeper = KeySweeper(shared.sealer.keys, live, shared.clock)
                    beside.append(tasks.create_task(sweeper.run(), name="vault-sweep"))
                await agent.engine.run(stop)
            for task in beside:
                task.cancel()


async def write_kubeconfig(settings: Settings, out: Path, role: str, user: str, days: int) -> None:
    """Issue a token for `days` and write a kubeconfig with it, readable by its owner alone."""
    clock = SystemClock()
    async with database_of(settings) as database:
        access = Access(Tokens(database), clock)
        authority = certificates(settings, clock).ca.read_bytes()
        server = server_url(settings.api_address, settings.api_port)
        token = await access.issue(user, (ROLES[role],), ttl=timedelta(days=days))
        try:
            write_private(out, kubeconfig(server, authority, user, token, name=settings.instance))
        except TerminalError:
            await access.revoke(token)  # nobody has it
            raise


async def tokens_told(settings: Settings, token_id: str | None) -> str:
    """Revoke the token of that id, or list all."""
    async with database_of(settings) as database:
        tokens = Tokens(database)
        return await (listed(tokens) if token_id is None else revoked(tokens, token_id))


async def audit(settings: Settings, action: str, against: str | None) -> str:
    async with database_of(settings) as database:
        history = History(database)
        return await (head(history) if action == "head" else verified(history, against))


async def migrate(settings: Settings) -> None:
    """Leaves the bundled PostgreSQL running, without a control plane that writes to it."""
    async with database_of(settings):
        pass


def collect_garbage() -> None:
    """From now on, and without looking through what was imported: that lives as long as the
    process, and would stop the loop for 36 to 62 ms each time."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()


def run(
    settings: Settings, given: argparse.Namespace, make_agent: MakeAgent | None, learn: Learn
) -> None:
    if given.command == "serve":
        raise_open_files()
        uvloop.run(serve(settings, given.role, make_agent, learn))
    elif given.command == "migrate":
        asyncio.run(migrate(settings))
    elif given.command == "stop-store":
        in_folder(settings).stop()
    else:
        with start_told(embedded(settings), sys.stderr):
            run_command(settings, given)


def run_command(settings: Settings, given: argparse.Namespace) -> None:
    if given.command == "kubeconfig":
        user = given.user or given.role
        asyncio.run(write_kubeconfig(settings, given.out, given.role, user, given.days))
    elif given.command == "tokens":
        print(asyncio.run(tokens_told(settings, getattr(given, "id", None))))
    elif given.command == "audit":
        print(asyncio.run(audit(settings, given.action, given.against)))
    else:
        print(asyncio.run(migrate_secrets(settings, given.to)))


def main() -> int:
    given = parse(sys.argv[1:], about=__doc__ or "", roles=tuple(ROLES))
    make_agent = agent_maker(given.role) if given.command == "serve" else None
    collect_garbage()
    try:
        settings = Settings.from_env()
        log = configure_logs(style=settings.log_format, level=settings.log_level)
        run(settings, given, make_agent, log.learn)
    except (ControlPlaneError, ExceptionGroup) as exc:
        print(explained(exc), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
