"""Database: one server in one container, its data on a Volume record, its password in a Secret.

What differs between the engines is in _engines.py (what runs), _images.py (from which image) and
_servers.py (how to ask and to heal); what an answer leads to, in _databaseplan.py.
Deliberately not here: backups, pooling and parameters, which are kinds and fields to come.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from controlplane.clock import Clock
from controlplane.errors import RetryableError
from controlplane.plan import (
    ChildRef,
    EnsureSecret,
    Owned,
    Plan,
    Reconciler,
    RecordStep,
    Report,
    SecretReader,
    Wait,
    Want,
)
from drivers.containers import (
    Containers,
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkAttachment,
    PublishedPort,
    VolumeMount,
)
from drivers.secretfiles import SecretFiles
from reconcilers import _container as box
from reconcilers import _volumes as volumes
from reconcilers._databaseplan import (
    SERVED_RECHECK_S,
    DatabaseStep,
    HealPassword,
    LimitMemory,
    as_promised,
    held_back,
    plan_answer,
    readiness,
    resizing,
    too_full,
)
from reconcilers._engines import (
    STOP_TIMEOUT_S,
    command_of,
    env_of,
    files_of,
    former_commands_of,
    login_of,
    secret_keys,
)
from reconcilers._images import ImageChoice, Source, image_for
from reconcilers._lifecycle import (
    file_steps,
    has_image,
    host_address,
    not_placed,
    read_own,
    removal,
    served,
)
from reconcilers._secrets import is_whole, secret_ref, tells_truth
from reconcilers._servers import SILENT, DatabaseServers, Told
from reconcilers._volumes import (
    Keeping,
    keeps_data,
    mounted,
    no_room,
    release,
    storage_of,
    volume_steps,
    volume_wait,
)
from resources.database import VERSIONS, Database, DatabaseStatus
from resources.meta import ConditionType

SETTLED_S: Final = 2.0
ASK_AGAIN_S: Final = 1.0
"""After the first silence of one that served: a busy one may not answer for once, and to tell that
stirs all that refer to it."""


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """What runs of it."""

    container: ContainerState | None = None
    image_here: bool = True
    network_id: str | None = None
    files_here: bool = False
    files_version: str | None = None
    """What its secret files were made from; None: there are none, or somebody changed them."""
    told: Told = SILENT
    secret_true: bool = True
    """Whether its Secret, if there is one, says where and as whom it is reached."""
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DatabaseReconciler(Reconciler[Database, DatabaseSeen, DatabaseStep]):
    containers: Containers
    files: SecretFiles
    values: SecretReader
    servers: DatabaseServers
    clock: Clock
    steps: box.ContainerSteps
    images: Source

    def children(self, want: Database, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        return (
            ChildRef("Volume", volume_name(want, namespace_uid)),
            ChildRef("Secret", want.secret_name),
        )

    async def observe(self, want: Want[Database], /) -> DatabaseSeen:
        record = want.record
        uid = record.metadata.uid
        reference = self._image(want).reference
        container, network, files, values, image_here = await asyncio.gather(
            self.containers.observe_container(record.owned_name, uid),
            self.containers.observe_network(want.network),
            self.files.observe_files(uid),
            read_own(self.values, want, record.secret_name),
            has_image(self.containers, want, reference),
        )
        age_s = box.age_s(container, self.clock.now()) if container else 0.0
        told = SILENT
        address = container.networks.get(want.network) if container else None
        if container and container.running and not container.paused and address and values:
            password = values.get("password", b"").decode(errors="replace")
            told = await self._ask(record, address, password)
            if told.answer == "silent" and age_s >= SETTLED_S and _was_ready(record):
                # it may have died since, and is healed now
                container = await self.containers.observe_container(record.owned_name, uid)
                if container and container.running:
                    await self.clock.sleep(ASK_AGAIN_S)
                    told = await self._ask(record, address, password)
        return DatabaseSeen(
            container,
            image_here,
            network.id if network else None,
            files is not None,
            files.version if files and files.intact else None,
            told,
            values is None or tells_truth(values, secret_keys(record)),
            age_s,
        )

    async def _ask(self, record: Database, address: str, password: str) -> Told:
        login = login_of(record)
        return await self.servers.ask(record.spec.engine, address, record.port, login, password)

    def plan(self, want: Want[Database], seen: DatabaseSeen, /) -> Plan[DatabaseStep]:
        if want.deleting:
            return Plan((*_removal(want, seen), *_release(want)))
        unfit = _handed_on(want) or _made_for_another(want)
        if wait := not_placed(want, seen.network_id) or unfit:
            return Plan(wait=wait)
        if records := self._records(want, seen):
            return Plan(records)
        volume = _volume(want)
        mount = mounted(volume, runs=seen.container is not None)
        if mount is None:
            return Plan(wait=volume_wait(volume_name(want.record, want.namespace_uid), volume))
        kept = as_promised(want, seen.container, seen.told)
        plan = self._plan_server(kept, seen, mount)
        if plan.converged:
            return Plan(wait=no_room(volume) if kept is want else too_full(want, seen.told))
        return plan

    def _plan_server(
        self, want: Want[Database], seen: DatabaseSeen, mount: str
    ) -> Plan[DatabaseStep]:
        spec = self._spec(want, mount)
        secret = want.children.get(("Secret", want.record.secret_name))
        files = files_of(want.record, secret.content_hmac if secret else "")
        steps = box.plan_container(spec, seen.container, seen.network_id)
        user = (self._image(want).uid, self._image(want).gid)
        steps = (*file_steps(want.record, files, seen.files_version, user), *steps)
        if steps or seen.container is None:
            states = (seen.container,) if seen.container else ()
            pull = box.pull(spec.image, steps, states, here=seen.image_here)
            return Plan((*pull, *resizing(want, seen.container, seen.told, spec.limits, steps)))
        return plan_answer(want, seen.container, seen.told, seen.age_s)

    def _records(self, want: Want[Database], seen: DatabaseSeen) -> tuple[RecordStep, ...]:
        """Its Volume and its Secret, as they should be."""
        record = want.record
        keeping = self._keeping(want, seen)
        steps = volume_steps(want, keeping)
        secret = want.children.get(("Secret", record.secret_name))
        keys = secret_keys(record)
        if not is_whole(secret, keys) or not seen.secret_true:
            steps += (EnsureSecret(record.secret_name, keys, claim=keeping.name),)
        return steps

    def _keeping(self, want: Want[Database], seen: DatabaseSeen) -> Keeping:
        record = want.record
        name = volume_name(record, want.namespace_uid)
        size, secret = record.spec.storage_bytes, record.secret_name
        keeping = Keeping(name, record.spec.engine, size, secret, _major(want))
        volume, login = _volume(want), login_of(record)
        known = replace(keeping, username=login.username, database=login.database)
        if volume is None or seen.told.answer == "serving":
            return known
        # of data from elsewhere nobody knows what wrote it, nor its login, before it has let
        # somebody in
        if volume.spec.get("dockerName") and not volume.spec.get("major"):
            return replace(keeping, major="")
        return known if volume.spec.get("username") else keeping

    def _image(self, want: Want[Database]) -> ImageChoice:
        return image_for(want.record.spec.engine, _major(want), source=self.images)

    def _spec(self, want: Want[Database], mount: str) -> ContainerSpec:
        record = want.record
        limits = record.spec.limits
        image = self._image(want)
        ports: tuple[PublishedPort, ...] = ()
        if record.spec.publish is not None:
            ports = (PublishedPort(record.port, want.ports[0], record.spec.publish.address),)
        return box.sealed(
            ContainerSpec(
                name=record.owned_name,
                owner=box.owner_of(record),
                image=image.reference,
                digest="",
                limits=Limits(limits.cpu, limits.memory),
                command=command_of(record),
                former_commands=former_commands_of(record),
                env=env_of(record),
                networks=(NetworkAttachment(want.network, (record.metadata.name,)),),
                volumes=(VolumeMount(mount, image.data_path),),
                secrets_dir=self.files.path_of(record.metadata.uid),
                ports=ports,
                user=image.user,
                stop_timeout_s=STOP_TIMEOUT_S,
            )
        )

    def status(self, want: Want[Database], seen: DatabaseSeen, /) -> Report:
        record = want.record
        state = seen.container
        status = DatabaseStatus(
            version=None if _handed_on(want) else _major(want),
            image=state.image if state else None,
            endpoint=f"{record.metadata.name}:{record.port}",
            published=host_address(want),
            secret_ref=secret_ref(want),
            volume=volume_name(record, want.namespace_uid),
            storage=storage_of(_volume(want)),
            container=state.name if state else None,
        )
        told = readiness(want, state, seen.told)
        report = served(status, state, told, SERVED_RECHECK_S)
        volume = _volume(want)
        # without a Volume there is no data yet that could need more
        begun = volume is not None and volume.status.get("dockerName")
        if begun and as_promised(want, state, seen.told) is not want:
            return held_back(report, state)
        return report

    async def apply(self, step: DatabaseStep, /) -> None:
        match step:
            case HealPassword(
                container_id=container_id,
                engine=engine,
                namespace=namespace,
                secret_name=name,
                login=login,
            ):
                password = await self._password(namespace, name)
                await self.servers.heal(engine, container_id, login, password)
            case LimitMemory(address=address, port=port, namespace=namespace, secret_name=name):
                password = await self._password(namespace, name)
                await self.servers.limit(address, port, password, step.maxmemory_bytes)
            case _:
                await self.steps.apply(step)

    async def _password(self, namespace: str, secret_name: str) -> str:
        values = await self.values.read("Secret", namespace, secret_name)
        password = (values or {}).get("password", b"").decode()
        if not password:
            # PostgreSQL would be told to have none, and then lets nobody in
            message = f"cannot read the password in Secret '{secret_name}': it has just gone"
            raise RetryableError(message, reason="SecretMissing")
        return password


def _was_ready(record: Database) -> bool:
    return any(
        each.type == ConditionType.READY and each.status == "True"
        for each in record.status.conditions
    )


def volume_name(record: Database, namespace_uid: str) -> str:
    """Name of its Volume: the same for the next record of this name, not for another tenant's."""
    if record.spec.volume_ref is not None:
        return record.spec.volume_ref.name
    return volumes.volume_name(record, namespace_uid, record.spec.engine)


def _major(want: Want[Database]) -> str:
    """The version asked for; else the one that wrote the data; else the newest on offer."""
    record = want.record
    if record.spec.version is not None:
        return record.spec.version
    volume = _volume(want)
    written = str(volume.spec.get("major", "")) if volume else ""
    offered = VERSIONS[record.spec.engine]
    return written if written in offered else record.status.version or offered[-1]


def _volume(want: Want[Database]) -> Owned | None:
    return want.children.get(("Volume", volume_name(want.record, want.namespace_uid)))


def _handed_on(want: Want[Database]) -> Wait | None:
    """Data from elsewhere, of which something isn't known yet: an empty server beside it would be
    taken for it."""
    record, volume = want.record, _volume(want)
    if record.spec.volume_ref is None:
        return None
    name = record.spec.volume_ref.name
    if volume is None:
        message = (
            f"spec.volumeRef names Volume '{name}', which does not exist: apply it, or make this "
            "Database anew without spec.volumeRef to begin empty"
        )
        return Wait("VolumeNotFound", message)
    known = volume.spec.get("major") or record.spec.version or record.status.version
    if known or not volume.spec.get("dockerName") or len(VERSIONS[record.spec.engine]) == 1:
        return None
    message = (
        f"nothing says which major version of {record.spec.engine} wrote the data of Volume "
        f"'{name}': set its spec.major"
    )
    return Wait("MajorUnknown", message)


def _made_for_another(want: Want[Database]) -> Wait | None:
    """A retained Volume with data of another major, on which no server would start; of another
    user, without whom nobody gets in; or of another database, beside which a new one is empty."""
    volume = _volume(want)
    held = volume.spec if volume else {}
    login = login_of(want.record)
    asked = {"major": _major(want), "username": login.username, "database": login.database}
    other = {key: held[key] for key in asked if held.get(key) not in (None, "", asked[key])}
    if not other:
        return None
    names = {"major": "version"}
    made_with = " and ".join(
        f"spec.{names.get(key, key)} '{value}' (not '{asked[key]}')" for key, value in other.items()
    )
    message = (
        f"Volume '{volume_name(want.record, want.namespace_uid)}' holds data that was made with "
        f"{made_with}; make this Database anew with that, or under another name"
    )
    return Wait("VersionDiffers" if "major" in other else "LoginDiffers", message)


def _removal(want: Want[Database], seen: DatabaseSeen) -> tuple[DatabaseStep, ...]:
    here = (seen.container,) if seen.container else ()
    return removal(want.record, here, files_here=seen.files_here, stop_timeout_s=STOP_TIMEOUT_S)


def _release(want: Want[Database]) -> tuple[RecordStep, ...]:
    """Its Volume and Secret: kept for the next record of this name, or destroyed with it."""
    names = (
        ("Volume", volume_name(want.record, want.namespace_uid)),
        ("Secret", want.record.secret_name),
    )
    policy = want.record.spec.deletion_policy
    return release(want, names, retain=keeps_data(want.record, policy))
