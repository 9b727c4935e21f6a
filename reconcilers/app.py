"""App: so many replicas of one container, changed one at a time, told apart by a slot label.

Not here: routing between replicas (the engine's DNS has all of them under the App's name) and
waiting in a pass (the engine of this project comes back).
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from controlplane.clock import Clock
from controlplane.plan import ChildRef, Plan, Reconciler, Report, Wait, Want
from drivers.containers import (
    LABEL_PREFIX,
    LABEL_RESTARTED,
    LABEL_SLOT,
    LABEL_UID,
    Containers,
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkAttachment,
    PublishedPort,
)
from drivers.probe import Probe
from drivers.secretfiles import SecretFiles
from reconcilers import _container as box
from reconcilers._approom import in_use, shared
from reconcilers._bindings import Inputs, env_of, inputs_of, missing
from reconcilers._domains import children_of, name_steps, names_of, published
from reconcilers._lifecycle import has_image, host_address, not_placed, removal
from reconcilers._reach import Asking, Reach, noted, noted_on, reach_of, reaches
from reconcilers._rollout import (
    Replica,
    Rollout,
    backends,
    drained,
    rollout,
    routed,
    slots_of,
    stand_ins,
    strangers_of,
)
from resources.app import App, AppStatus, HealthCheck

STOP_TIMEOUT_S: Final = 10
KEEP_CAPS: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
"""What entrypoints of public images need to take over their folders and drop to their own user
(nginx, httpd); everything else is dropped, and no-new-privileges is on."""
LABEL_GIVEN: Final = LABEL_PREFIX + "given"
"""What of other records its variables were made from, hashed: another needs a new container."""


@dataclass(frozen=True, slots=True)
class AppSeen:
    """What runs of it, by slot."""

    replicas: tuple[Replica, ...] = ()
    image_here: bool = True
    network_id: str | None = None
    files_here: bool = False
    files_version: str | None = None
    """What its secret files were made from; None: there are none, or somebody changed them."""


@dataclass(frozen=True, slots=True)
class AppReconciler(Reconciler[App, AppSeen, box.ContainerStep]):
    containers: Containers
    files: SecretFiles
    probe: Probe
    clock: Clock
    steps: box.ContainerSteps

    def children(self, want: App, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        return children_of(want)

    def reads(self, want: App, /) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source.reads for source in want.spec.env_from))

    async def observe(self, want: Want[App], /) -> AppSeen:
        uid = want.record.metadata.uid
        states, network, files, image_here = await asyncio.gather(
            self.containers.list_containers(uid),
            self.containers.observe_network(want.network),
            self.files.observe_files(uid),
            has_image(self.containers, want, want.record.spec.image),
        )
        replicas = await asyncio.gather(*(self._replica(want, state) for state in states))
        return AppSeen(
            tuple(sorted(replicas, key=lambda r: (r.slot, r.state.name != _name(want, r.slot)))),
            image_here,
            network.id if network else None,
            files is not None,
            files.version if files and files.intact else None,
        )

    async def _replica(self, want: Want[App], state: ContainerState) -> Replica:
        found = state.labels.get(LABEL_SLOT, "")
        slot = int(found) if found.isdecimal() else -1
        age_s = box.age_s(state, self.clock.now())
        ways = self._ways(want, slot, state)
        asking = Asking(self.containers, self.probe, self.clock)
        state, way = await asking.serves(want, state, ways, age_s)
        return Replica(slot, state, way is not None, age_s, (way or ways[0]).port)

    def _ways(self, want: Want[App], slot: int, state: ContainerState) -> tuple[Reach, ...]:
        """How it may be reached: by the spec, and one that is exchanged by its own, too."""
        wanted, made = reach_of(want.record.spec), noted_on(state)
        if made is None or made == wanted:
            return (wanted,)
        replica = Replica(slot, state, serves=False)
        if not _portless(want) and self._stays(want, inputs_of(want), replica):
            return (wanted,)
        return reaches(want, state, made)

    def plan(self, want: Want[App], seen: AppSeen, /) -> Plan[box.ContainerStep]:
        if want.deleting:
            return Plan(_removal(want, seen))
        inputs = inputs_of(want)
        todo, fixes = self._next(want, seen, inputs)
        draining = drained(want, seen.replicas, todo.leaving)
        if todo.surplus and draining is None:
            return Plan(tuple(_remove(replica) for replica in todo.leaving))
        if want.record.spec.replicas == 0:
            # nobody reads them any more, and they hold passwords
            if seen.files_here:
                return Plan((box.RemoveSecrets(want.record.metadata.uid),))
            return Plan(name_steps(want))
        if wait := _blocked(want, seen):
            return Plan(wait=wait)
        held = draining is not None or todo.surplus
        steps = self._container_steps(want, seen, inputs, fixes, Rollout() if held else todo)
        # changed ones have no version, as if there were none
        left = inputs.version is None and seen.files_here
        if inputs.complete and (left or inputs.version != seen.files_version):
            steps = self._files_steps(want, seen, inputs, steps)
        return Plan(steps) if steps else _settle(want, seen, draining)

    def _next(
        self, want: Want[App], seen: AppSeen, inputs: Inputs
    ) -> tuple[Rollout, tuple[tuple[box.ContainerStep, ...], ...]]:
        """Which replicas come and go next, and what corrects those that can stay before that."""
        spec = want.record.spec
        specs: dict[str, ContainerSpec] = {}
        outdated = set()
        # of a second one nothing is corrected: by the name of its slot, that would be the first
        first = {replica.slot: replica for replica in reversed(seen.replicas)}
        for replica in first.values() if not _portless(want) else ():
            made = self._spec(want, inputs, replica.slot, replica)
            if box.current(made, replica.state):
                specs[replica.state.id] = made
            else:
                outdated.add(replica.slot)
        states = {replica.state.id: replica.state for replica in seen.replicas}
        strangers = strangers_of(seen.replicas, slots_of(spec.replicas, spec.surge))
        leave = {replica.state.id for replica in strangers}
        room = shared(want, states.values(), specs.keys(), leave)
        fixes = tuple(
            _fixes(replace(specs[each], limits=limits), states[each], seen, inputs)
            for each, limits in room.limits.items()
        )
        todo = rollout(
            seen.replicas,
            outdated,
            spec.replicas,
            spec.surge,
            busy=any(fixes),
            kept=stand_ins(want, seen.replicas),
            room=room,
        )
        return todo, fixes

    def _files_steps(
        self, want: Want[App], seen: AppSeen, inputs: Inputs, then: tuple[box.ContainerStep, ...]
    ) -> tuple[box.ContainerStep, ...]:
        meta = want.record.metadata
        if inputs.version is not None:
            # readable by any user of the container: as which one it runs is its image's business
            write = box.WriteSecrets(meta.uid, meta.namespace, inputs.files, inputs.version)
            return (write, *then)
        if then or self._updated(want, list(seen.replicas)) < len(seen.replicas):
            return then  # an old replica still has them mounted
        return (box.RemoveSecrets(meta.uid),)

    def _container_steps(
        self,
        want: Want[App],
        seen: AppSeen,
        inputs: Inputs,
        fixes: tuple[tuple[box.ContainerStep, ...], ...],
        todo: Rollout,
    ) -> tuple[box.ContainerStep, ...]:
        # what needs no image is not kept waiting for it
        steps = [step for each in fixes if not _anew(each) for step in each]
        makes = [step for each in fixes if _anew(each) for step in each]
        if inputs.complete:
            if todo.leaving:
                space = want.record.metadata.namespace
                makes += box.check(space, inputs.variables, env_of(want))
            makes += [_remove(replica) for replica in todo.leaving]
            makes += [
                box.RunContainer(self._spec(want, inputs, slot, None), inputs.variables)
                for slot in todo.makes
            ]
        states = [replica.state for replica in seen.replicas]
        before: tuple[box.ContainerStep, ...]
        before = box.pull(want.record.spec.image, makes, states, here=seen.image_here)
        if makes and todo.short and not seen.image_here:
            before = (*box.starts(states), box.EnsureImage(want.record.spec.image))
        if not before and (not inputs.complete or (makes and inputs.variables)):
            before = box.starts(states)
        return (*steps, *(step for step in before if step not in steps), *makes)

    def _spec(
        self, want: Want[App], inputs: Inputs, slot: int, replica: Replica | None
    ) -> ContainerSpec:
        """What fills a slot. Where no restart is asked for any more, one that was made for one may
        stay; its label alone proves nothing, as an image may bring it."""
        made = self._made(want, inputs, slot, replica)
        if replica is None or want.record.spec.restarted_at or box.current(made, replica.state):
            return made
        earlier = replica.state.labels.get(LABEL_RESTARTED)
        if earlier is None:
            return made
        return box.sealed(replace(made, labels={**made.labels, LABEL_RESTARTED: earlier}))

    def _made(
        self, want: Want[App], inputs: Inputs, slot: int, replica: Replica | None
    ) -> ContainerSpec:
        record = want.record
        spec = record.spec
        ports: tuple[PublishedPort, ...] = ()
        if spec.publish is not None and spec.port is not None:
            ports = (PublishedPort(spec.port, want.ports[0], spec.publish.address),)
        given = inputs.given
        if not inputs.complete and replica is not None:
            given = replica.state.labels.get(LABEL_GIVEN, "")
        labels = {LABEL_SLOT: str(slot)} | ({LABEL_GIVEN: given} if given else {})
        labels |= {LABEL_RESTARTED: spec.restarted_at} if spec.restarted_at else {}
        uid = record.metadata.uid
        return box.sealed(
            ContainerSpec(
                name=_name(want, slot),
                owner=box.owner_of(record),
                image=spec.image,
                digest="",
                limits=Limits(spec.resources.cpu, spec.resources.memory),
                command=spec.command,
                env=env_of(want),
                networks=(NetworkAttachment(want.network, (record.metadata.name,)),),
                secrets_dir=self.files.path_of(uid) if spec.database_refs else None,
                ports=ports,
                stop_timeout_s=STOP_TIMEOUT_S,
                labels=labels,
                notes=noted(reach_of(spec)),
                keep_caps=KEEP_CAPS,
            )
        )

    def status(self, want: Want[App], seen: AppSeen, /) -> Report:
        record = want.record
        total = record.spec.replicas
        slots, kept = slots_of(total, record.spec.surge), stand_ins(want, seen.replicas)
        live = [each for each in seen.replicas if each.slot in slots or each in kept]
        routes = self._backends(want, seen)
        serving = sum(replica.serves for replica in live)
        updated = self._updated(want, live)
        port = record.spec.port
        status = AppStatus(
            replicas=len(seen.replicas),
            ready_replicas=serving,
            updated_replicas=updated,
            serving=f"{serving}/{total}",
            selector=f"{LABEL_UID}={record.metadata.uid}",
            image=live[0].state.image if live else None,
            endpoint=f"{record.metadata.name}:{port}" if port else None,
            published=host_address(want),
            backends=routes,
            routed=routed(want, routes),
            names=names_of(want),
        )
        # while replicas are exchanged one by one, one of several may be away
        needed = total if updated == len(live) else max(1, total - 1)
        ready = not want.deleting and serving >= needed
        reason, message = _readiness(want, seen, serving, ready)
        check = record.spec.health_check or HealthCheck()
        probed = ready and total > 0 and record.spec.probe_port is not None
        states, standing = ([each.state for each in of] for of in (seen.replicas, kept))
        return Report(
            status,
            ready,
            reason,
            message,
            published(want),
            in_use=in_use(want, states, standing, exchanging=updated < len(live)),
            exchanged=updated == len(seen.replicas) and not _portless(want),
            recheck_after_s=float(check.interval_seconds) if probed else None,
        )

    def _backends(self, want: Want[App], seen: AppSeen) -> tuple[str, ...]:
        if not want.record.spec.domains or want.deleting:
            return ()
        todo, _ = self._next(want, seen, inputs_of(want))
        return backends(want, seen.replicas, todo.leaving)

    def _updated(self, want: Want[App], live: list[Replica]) -> int:
        if _portless(want):
            return 0
        inputs = inputs_of(want)
        return sum(self._stays(want, inputs, replica) for replica in live)

    def _stays(self, want: Want[App], inputs: Inputs, replica: Replica) -> bool:
        return box.current(self._spec(want, inputs, replica.slot, replica), replica.state)

    async def apply(self, step: box.ContainerStep, /) -> None:
        await self.steps.apply(step)


def _name(want: Want[App], slot: int) -> str:
    return f"{want.record.owned_name}-{slot}"


def _fixes(
    spec: ContainerSpec, state: ContainerState, seen: AppSeen, inputs: Inputs
) -> tuple[box.ContainerStep, ...]:
    """What corrects one that can stay. A container that takes its place has its variables, too, and
    isn't made before they are there."""
    given = inputs.variables if inputs.complete else ()
    steps = box.plan_container(spec, state, seen.network_id, variables=given)
    return () if _anew(steps) and inputs.variables and not inputs.complete else steps


def _remove(replica: Replica) -> box.RemoveContainer:
    return box.RemoveContainer(replica.state.id, STOP_TIMEOUT_S)


def _anew(steps: tuple[box.ContainerStep, ...]) -> bool:
    return any(isinstance(step, box.RunContainer) for step in steps)


def _removal(want: Want[App], seen: AppSeen) -> tuple[box.ContainerStep, ...]:
    states = tuple(replica.state for replica in reversed(seen.replicas))
    return removal(want.record, states, files_here=seen.files_here, stop_timeout_s=STOP_TIMEOUT_S)


def _portless(want: Want[App]) -> bool:
    """Published, and without its port of the host yet: what it shall be isn't known."""
    return want.record.spec.publish is not None and not want.ports


def _blocked(want: Want[App], seen: AppSeen) -> Wait | None:
    """What must be there before a container can be made; nothing stops what runs."""
    if wait := not_placed(want, seen.network_id):
        return wait
    return None if seen.replicas else missing(want, ready_only=True)


def _settle(want: Want[App], seen: AppSeen, draining: Wait | None) -> Plan[box.ContainerStep]:
    """All containers are as they should be for now: names, and what is waited for."""
    if names := name_steps(want):
        return Plan(names)
    if draining is not None:
        return Plan(wait=draining)
    if wait := missing(want, ready_only=False):
        return Plan(wait=wait)
    for replica in seen.replicas:
        if wait := box.trouble(replica.state):
            return Plan(wait=wait)
    starting = [replica for replica in seen.replicas if not replica.serves]
    if not starting:
        return Plan()
    youngest_s = min(replica.age_s for replica in starting)
    return Plan(wait=Wait("Starting", _silence(want, starting), box.recheck_s(youngest_s)))


def _silence(want: Want[App], starting: list[Replica]) -> str:
    names = ", ".join(f"'{replica.state.name}'" for replica in starting)
    port = want.record.spec.probe_port
    if port is None:
        return f"{names} restarted a moment ago"
    check = want.record.spec.health_check
    what = f"GET {check.path} on port" if check and check.path else "connections to port"
    return f"{names} does not answer {what} {port} yet; if it lasts, read its logs"


def _readiness(want: Want[App], seen: AppSeen, serving: int, ready: bool) -> tuple[str, str]:
    total = want.record.spec.replicas
    if want.deleting:
        return "Terminating", "it is being removed"
    if total == 0:
        return "ScaledToZero", "spec.replicas is 0, and so nothing runs"
    if ready:
        return "Serving", f"{serving} of {total} replicas serve"
    for replica in seen.replicas:
        if wait := box.trouble(replica.state):
            return wait.reason, wait.message
    return "NotServing", f"{serving} of {total} replicas serve"
