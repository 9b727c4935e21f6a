"""Platform: one service of the cloud itself, in one container or a few, its data on a Volume.

What differs between the services is in _service_<name>.py, how containers come of it in
_running.py. Not here: what a service is used for, which is the business of the kinds that use it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from controlplane.clock import Clock
from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import (
    ChildRef,
    EnsureSecret,
    Plan,
    Reconciler,
    RecordStep,
    Report,
    SecretReader,
    Wait,
    Want,
)
from drivers.containers import Containers
from drivers.probe import Probe, Target
from drivers.secretfiles import SecretFiles
from reconcilers import _container as box
from reconcilers._images import Source
from reconcilers._lifecycle import has_image, removal
from reconcilers._platform_seen import (
    SERVED_RECHECK_S,
    PlatformSeen,
    by_name,
    external_report,
    readiness,
    routes,
    silence,
    silence_external,
)
from reconcilers._running import (
    Assembler,
    Assembly,
    Part,
    endpoints_of,
    published_of,
    secret_keys,
    user_networks,
)
from reconcilers._secrets import is_whole, lost, secret_ref, tells_truth
from reconcilers._volumes import (
    Keeping,
    keeps_data,
    mounted,
    no_room,
    release,
    storage_of,
    volume_name,
    volume_steps,
    volume_wait,
)
from resources.meta import PLATFORM_NAMESPACE
from resources.platform import Platform, PlatformStatus

STOP_TIMEOUT_S: Final = 30
"""For containers that are no longer part of the service; its own say how long they need."""
PROBE_TIMEOUT_S: Final = 3.0
NOT_APPLIED_AT_MOST_S: Final = 2.0
"""Until an ingress is asked again whether it works by its newest routes; mostly it does after some
50 ms. With a name handed back and forth between two tenants, it was up to 67 s by backoff alone."""


@dataclass(frozen=True, slots=True)
class PlatformReconciler(Reconciler[Platform, PlatformSeen, box.ContainerStep]):
    containers: Containers
    files: SecretFiles
    values: SecretReader
    probe: Probe
    clock: Clock
    steps: box.ContainerSteps
    images: Source

    def children(self, want: Platform, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        volume = volume_name(want, namespace_uid, want.spec.service)
        return ChildRef("Volume", volume), ChildRef("Secret", want.secret_name)

    async def observe(self, want: Want[Platform], /) -> PlatformSeen:
        uid = want.record.metadata.uid
        states, files = await asyncio.gather(
            self.containers.list_containers(uid), self.files.observe_files(uid)
        )
        found, doubles = by_name(states)
        seen = PlatformSeen(
            found,
            doubles,
            files_here=files is not None,
            files_version=files.version if files and files.intact else None,
            hour=int(self.clock.now().timestamp() // 3600),
        )
        if want.deleting:
            return seen
        _check_home(want.record)
        if want.record.spec.external is not None:
            return replace(seen, external_ok=await self._external(want.record))
        return await self._observe_running(want, seen)

    async def _observe_running(self, want: Want[Platform], seen: PlatformSeen) -> PlatformSeen:
        states = tuple(seen.containers.values())
        attached = {network for state in states for network in state.networks}
        wanted = (want.network, *user_networks(want, attached))
        found = await asyncio.gather(*(self.containers.observe_network(n) for n in wanted))
        values = await self.values.read("Secret", PLATFORM_NAMESPACE, want.record.secret_name)
        networks = {n: state.id for n, state in zip(wanted, found, strict=True) if state}
        wanted_now = self._assemble(want, replace(seen, networks=networks))
        parts = wanted_now.parts
        images = sorted({part.spec.image for part in parts})
        here = await asyncio.gather(*(has_image(self.containers, want, each) for each in images))
        serving = await asyncio.gather(*(self._serves(want, seen, part) for part in parts))
        ages = [box.age_s(state, self.clock.now()) for state in states]
        return replace(
            seen,
            networks=networks,
            images=frozenset(image for image, ok in zip(images, here, strict=True) if ok),
            serving=frozenset(
                part.spec.name for part, ok in zip(parts, serving, strict=True) if ok
            ),
            age_s=min(ages, default=0.0),
            secret_true=values is None or tells_truth(values, secret_keys(want)),
            applied=await self._applied(want, seen, wanted_now, values),
        )

    async def _serves(self, want: Want[Platform], seen: PlatformSeen, part: Part) -> bool:
        state = seen.containers.get(part.spec.name)
        if state is None or not state.running or state.paused:
            return False
        health = part.made_of.health
        if health is None:
            return True
        address = state.networks.get(want.network)
        if not address:
            return False
        target = Target(address, health.port, health.path)
        return (await self.probe.observe(target, timeout_s=PROBE_TIMEOUT_S)).ok

    async def _applied(
        self,
        want: Want[Platform],
        seen: PlatformSeen,
        wanted: Assembly,
        values: Mapping[str, bytes] | None,
    ) -> bool:
        if wanted.routing is None:
            return True
        main = seen.containers.get(wanted.parts[0].spec.name)
        address = main.networks.get(want.network) if main and main.running else None
        if not address or seen.files_version != wanted.version or values is None:
            return False
        login = (values.get("username", b"").decode(), values.get("password", b"").decode())
        ask = wanted.routing.applied
        target = Target(address, ask.port, ask.path, login)
        return (await self.probe.observe(target, timeout_s=PROBE_TIMEOUT_S)).ok

    async def _external(self, record: Platform) -> bool:
        external = record.spec.external
        host, port = external.host_port if external else ("", 0)
        target = Target(host, port)
        return (await self.probe.observe(target, timeout_s=PROBE_TIMEOUT_S)).ok

    def _assemble(self, want: Want[Platform], seen: PlatformSeen) -> Assembly:
        volume = want.children.get(("Volume", self._volume_name(want)))
        mount = None
        if want.record.spec.storage_bytes:
            mount = mounted(volume, runs=bool(seen.containers))
        others = tuple(network for network in seen.networks if network != want.network)
        secrets_dir = self.files.path_of(want.record.metadata.uid)
        return Assembler(self.images, secrets_dir, mount, others, seen.hour).assemble(want)

    def plan(self, want: Want[Platform], seen: PlatformSeen, /) -> Plan[box.ContainerStep]:
        if want.deleting:
            return Plan((*_removal(want, seen), *self._release(want)))
        if want.record.spec.external is not None:
            return self._plan_external(want, seen)
        if not want.network_ready or want.network not in seen.networks:
            return Plan(wait=Wait("NamespaceNotReady", "waiting for the namespace's network"))
        if len(want.ports) < len(want.record.spec.publish):
            return Plan(wait=Wait("PortPending", "waiting for ports of the host"))
        if wait := self._locked(want, seen):
            return Plan(wait=wait)
        if records := self._records(want, seen):
            return Plan(records)
        if wait := self._volume_wait(want, seen):
            return Plan(wait=wait)
        plan = self._plan_containers(want, seen, self._assemble(want, seen))
        return Plan(wait=self._no_room(want)) if plan.converged else plan

    def _plan_external(self, want: Want[Platform], seen: PlatformSeen) -> Plan[box.ContainerStep]:
        if steps := _removal(want, seen):
            return Plan(steps)
        if seen.external_ok:
            return Plan()
        return Plan(wait=Wait("Unreachable", silence_external(want.record), SERVED_RECHECK_S))

    def _records(self, want: Want[Platform], seen: PlatformSeen) -> tuple[RecordStep, ...]:
        """Its Secret and its Volume, as they should be: no data before the key to it."""
        record = want.record
        steps: tuple[RecordStep, ...] = ()
        keys = secret_keys(want)
        secret = want.children.get(("Secret", record.secret_name))
        if keys and not (is_whole(secret, keys) and seen.secret_true):
            kind = f"servicebinding.io/{record.spec.service}"
            claim = self._volume_name(want)
            steps += (EnsureSecret(record.secret_name, keys, claim=claim, type=kind),)
        if record.spec.storage_bytes:
            secret_name = record.secret_name if keys else None
            name, size = self._volume_name(want), record.spec.storage_bytes
            steps += volume_steps(want, Keeping(name, record.spec.service, size, secret_name))
        return steps

    def _locked(self, want: Want[Platform], seen: PlatformSeen) -> Wait | None:
        """Its data needs a key that the Secret has lost: what runs has it still, and a new one
        would shut it out for good."""
        name, data = want.record.secret_name, self._volume_name(want)
        volume = want.children.get(("Volume", data))
        if volume is None or volume.deleting or not volume.status.get("dockerName"):
            return None
        key = lost(want.children.get(("Secret", name)), secret_keys(want))
        if key is None:
            return None
        folder = self.files.path_of(want.record.metadata.uid)
        where = f" (it is in a file under {folder} on this host)" if seen.files_here else ""
        removed = (
            "this Platform with spec.deletionPolicy 'Delete'" if volume.owned else "that Volume"
        )
        message = (
            f"Secret '{name}' has no '{key}', and nothing else opens the data of Volume "
            f"'{data}': put it back{where}, or delete {removed} to begin empty"
        )
        return Wait("UnsealKeyMissing", message)

    def _volume_wait(self, want: Want[Platform], seen: PlatformSeen) -> Wait | None:
        if not want.record.spec.storage_bytes:
            return None
        name = self._volume_name(want)
        volume = want.children.get(("Volume", name))
        if mounted(volume, runs=bool(seen.containers)) is not None:
            return None
        return volume_wait(name, volume)

    def _no_room(self, want: Want[Platform]) -> Wait | None:
        kept = want.record.spec.storage_bytes
        return no_room(want.children.get(("Volume", self._volume_name(want)))) if kept else None

    def _plan_containers(
        self, want: Want[Platform], seen: PlatformSeen, wanted: Assembly
    ) -> Plan[box.ContainerStep]:
        names = {part.spec.name for part in wanted.parts}
        extra = [state for name, state in seen.containers.items() if name not in names]
        steps: tuple[box.ContainerStep, ...] = tuple(
            box.RemoveContainer(state.id, STOP_TIMEOUT_S) for state in (*extra, *seen.doubles)
        )
        if wanted.files and seen.files_version != wanted.version:
            meta = want.record.metadata
            steps += (
                box.WriteSecrets(
                    meta.uid, meta.namespace, wanted.files, wanted.version, wanted.user
                ),
            )
        for part in wanted.parts:
            state = seen.containers.get(part.spec.name)
            own = _networks_of(part, seen)
            todo = box.plan_container(part.spec, state, own, variables=part.variables)
            here, states = part.spec.image in seen.images, (state,) if state else ()
            steps += (*box.pull(part.spec.image, todo, states, here=here), *todo)
        if steps:
            return Plan(steps)
        return self._answer(seen, wanted)

    def _answer(self, seen: PlatformSeen, wanted: Assembly) -> Plan[box.ContainerStep]:
        """All containers are as they should be: do they serve?"""
        for state in seen.containers.values():
            if wait := box.trouble(state):
                return Plan(wait=wait)
        silent = [p.spec.name for p in wanted.parts if p.spec.name not in seen.serving]
        if not silent and not seen.applied:
            # An error rather than a wait, to be told if it lasts. With the engine's backoff, but no
            # more than this: while many Apps change, it may fail once for each and not converge
            # between, and would then be asked minutes later.
            raise RetryableError(
                "cannot route by the newest records yet: the service still works by older ones",
                at_most_s=NOT_APPLIED_AT_MOST_S,
                reason="NotApplied",
            )
        if not silent:
            return Plan()
        return Plan(wait=Wait("Starting", silence(silent), box.recheck_s(seen.age_s)))

    def _release(self, want: Want[Platform]) -> tuple[RecordStep, ...]:
        names = (("Volume", self._volume_name(want)), ("Secret", want.record.secret_name))
        policy = want.record.spec.deletion_policy
        return release(want, names, retain=keeps_data(want.record, policy))

    def _volume_name(self, want: Want[Platform]) -> str:
        return volume_name(want.record, want.namespace_uid, want.record.spec.service)

    def status(self, want: Want[Platform], seen: PlatformSeen, /) -> Report:
        record = want.record
        if record.spec.external is not None and not want.deleting:
            return external_report(record, seen)
        wanted = None if want.deleting else self._assemble(want, seen)
        parts = wanted.parts if wanted else ()
        addresses = {
            name: state.networks.get(want.network, "") for name, state in seen.containers.items()
        }
        endpoints = endpoints_of(record, addresses, parts)
        main = seen.containers.get(record.owned_name)
        status = PlatformStatus(
            endpoint=endpoints.get(record.spec.offer.primary),
            endpoints=endpoints,
            address=f"{record.metadata.name}:{record.primary_port}",
            published=published_of(want),
            secret_ref=secret_ref(want),
            volume=self._volume_name(want) if record.spec.storage_bytes else None,
            storage=storage_of(want.children.get(("Volume", self._volume_name(want)))),
            container=main.name if main else None,
            container_id=main.id if main else None,
            image=main.image if main else None,
            version=parts[0].image.release if parts and record.spec.image is None else None,
            used_by=tuple(sorted({each.namespace for each in want.dependents})),
            routes=routes(want, seen, wanted),
        )
        ready, reason, message = readiness(want, seen, parts)
        states = (*seen.containers.values(), *seen.doubles)
        return Report(
            status,
            ready,
            reason,
            message,
            in_use=box.held(*states),
            recheck_after_s=SERVED_RECHECK_S if ready else None,
        )

    async def apply(self, step: box.ContainerStep, /) -> None:
        await self.steps.apply(step)


def _check_home(record: Platform) -> None:
    if not record.at_home:
        raise TerminalError(
            f"cannot run a service of the platform in namespace '{record.metadata.namespace}': "
            f"metadata.namespace must be '{PLATFORM_NAMESPACE}'; delete this record and make it "
            "there",
            reason="WrongNamespace",
        )


def _networks_of(part: Part, seen: PlatformSeen) -> dict[str, str]:
    return {each.network: seen.networks.get(each.network, "") for each in part.spec.networks}


def _removal(want: Want[Platform], seen: PlatformSeen) -> tuple[box.ContainerStep, ...]:
    states = (*seen.doubles, *seen.containers.values())
    return removal(want.record, states, files_here=seen.files_here, stop_timeout_s=STOP_TIMEOUT_S)
