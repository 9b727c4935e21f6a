"""Model: a language model behind one authenticated endpoint.

With `llamacpp` the record's container fetches, holds and runs it, like a Database its data; with
`ollama` a server of the platform does, and the container is the gateway to it, with the key.
What the container, the Secrets and the order say is in _modelserver.py.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never

from controlplane.clock import Clock
from controlplane.errors import RetryableError
from controlplane.plan import (
    ChildRef,
    EnsureSecret,
    Generated,
    Plan,
    Reconciler,
    RecordStep,
    Report,
    SecretReader,
    Template,
    Wait,
    Want,
)
from drivers.containers import Containers
from drivers.models import ModelOrder, Models, ModelServer
from drivers.probe import Probe, Target
from drivers.secretfiles import SecretFiles
from reconcilers import _container as box
from reconcilers import _modelserver as made
from reconcilers._credentials import credential
from reconcilers._images import LLAMACPP
from reconcilers._lifecycle import (
    file_steps,
    has_image,
    host_address,
    not_placed,
    read_own,
    removal,
    served,
)
from reconcilers._modelplan import (
    SERVED_RECHECK_S,
    EnsureModel,
    LoadModel,
    ModelSeen,
    ModelStep,
    RemoveModel,
    held_by_service,
    keys_written,
    no_service,
    phase_of,
    plan_model,
    readiness,
    url_of,
)
from reconcilers._modelsource import Credentials, located
from reconcilers._secrets import is_whole, secret_ref, tells_truth
from reconcilers._volumes import (
    mounted,
    no_room,
    release,
    storage_of,
    volume_steps,
    volume_wait,
)
from resources.model import PORT, Engine, Model, ModelStatus
from resources.quantity import format_bytes

PROBE_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class ModelReconciler(Reconciler[Model, ModelSeen, ModelStep]):
    containers: Containers
    files: SecretFiles
    values: SecretReader
    models: Mapping[Engine, Models]
    probe: Probe
    clock: Clock
    steps: box.ContainerSteps

    def children(self, want: Model, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        secrets = ChildRef("Secret", want.secret_name), ChildRef("Secret", want.admin_name)
        return (ChildRef("Volume", made.volume_name(want, namespace_uid)), *secrets)

    def reads(self, want: Model, /) -> tuple[str, ...]:
        ref = want.spec.source.secret_ref
        return () if ref is None else (f"Secret/{ref.name}",)

    # --- observe ---

    async def observe(self, want: Want[Model], /) -> ModelSeen:
        record = want.record
        uid = record.metadata.uid
        container, network, files, values, image_here = await asyncio.gather(
            self.containers.observe_container(record.owned_name, uid),
            self.containers.observe_network(want.network),
            self.files.observe_files(uid),
            read_own(self.values, want, record.secret_name),
            has_image(self.containers, want, LLAMACPP),
        )
        seen = ModelSeen(
            container,
            image_here,
            network.id if network else None,
            files is not None,
            files.version if files and files.intact else None,
            secret_true=values is None or tells_truth(values, made.secret_keys(record)),
            age_s=box.age_s(container, self.clock.now()) if container else 0.0,
        )
        if record.spec.engine == "ollama":
            return await self._observe_ollama(want, seen)
        return await self._observe_llamacpp(want, seen)

    async def _observe_llamacpp(self, want: Want[Model], seen: ModelSeen) -> ModelSeen:
        url = url_of(want, seen.container)
        if url is None or want.deleting:
            return seen
        server = await self._server(url, want.record.metadata.namespace, want.record.admin_name)
        name = made.inner_name(want.record)
        try:
            model = await self.models["llamacpp"].observe_model(server, name)
        except RetryableError as exc:
            if exc.reason != "KeyRefused" or keys_written(want, seen):
                raise
            return seen  # it has another key than the one it is to have, which is written next
        return replace(seen, model=model, answers=model is not None)

    async def _observe_ollama(self, want: Want[Model], seen: ModelSeen) -> ModelSeen:
        place = await self._place(want)
        if place is None:
            return seen
        name = made.inner_name(want.record)
        model = await self.models["ollama"].observe_model(ModelServer(place.url), name)
        answers = await self._answers(want, seen)
        return replace(seen, place=place, model=model, answers=answers)

    async def _answers(self, want: Want[Model], seen: ModelSeen) -> bool:
        state = seen.container
        if url_of(want, state) is None or state is None:
            return False
        target = Target(state.networks[want.network], PORT, "/healthz")
        return (await self.probe.observe(target, timeout_s=PROBE_TIMEOUT_S)).ok

    async def _place(self, want: Want[Model]) -> made.Place | None:
        """Where the service is now: its network is that of its container with this address."""
        service = want.services[want.record.spec.service]
        endpoint = str((service.status.get("endpoints") or {}).get("api") or "")
        if not endpoint:
            return None
        url = endpoint if "://" in endpoint else f"http://{endpoint}"
        if service.spec.get("external") or service.uid is None:
            return made.Place(url, url)
        address, _, port = endpoint.rpartition(":")
        for state in await self.containers.list_containers(service.uid):
            for network, found in state.networks.items():
                if found == address:
                    inner = f"http://{state.name}:{port}"
                    return made.Place(url, inner, network, state.network_ids.get(network, ""))
        return None

    async def _server(self, url: str, namespace: str, admin_name: str) -> ModelServer:
        values = await self.values.read("Secret", namespace, admin_name)
        if not (values or {}).get("token"):
            return ModelServer(url)
        secret = f"{namespace}/{admin_name}"
        token = credential(values, "token", secret=secret, use="reach the model server")
        return ModelServer(url, token)

    # --- plan ---

    def plan(self, want: Want[Model], seen: ModelSeen, /) -> Plan[ModelStep]:
        if want.deleting:
            return self._plan_removal(want, seen)
        if wait := not_placed(want, seen.network_id):
            return Plan(wait=wait)
        if records := self._records(want, seen):
            return Plan(records)
        steps = self._container_steps(want, seen)
        if isinstance(steps, Wait):
            return Plan(wait=steps)
        plan: Plan[ModelStep] = Plan(steps) if steps else plan_model(want, seen)
        return Plan(wait=no_room(made.volume_of(want))) if plan.converged else plan

    def _container_steps(self, want: Want[Model], seen: ModelSeen) -> tuple[ModelStep, ...] | Wait:
        mount = None
        if want.record.spec.engine == "llamacpp":
            volume = made.volume_of(want)
            mount = mounted(volume, runs=seen.container is not None)
            if mount is None:
                name = made.volume_name(want.record, want.namespace_uid)
                return volume_wait(name, volume)
        elif seen.place is None:
            return _without_server(want, seen)
        directory = self.files.path_of(want.record.metadata.uid)
        spec = made.container_spec(want, directory, mount=mount, place=seen.place)
        networks = {want.network: seen.network_id or ""}
        if seen.place is not None and seen.place.network:
            networks[seen.place.network] = seen.place.network_id
        steps: tuple[ModelStep, ...] = box.plan_container(spec, seen.container, networks)
        files = made.secret_files(want)
        steps = (*file_steps(want.record, files, seen.files_version, made.USER), *steps)
        states = (seen.container,) if seen.container else ()
        return (*box.pull(spec.image, steps, states, here=seen.image_here), *steps)

    def _records(self, want: Want[Model], seen: ModelSeen) -> tuple[RecordStep, ...]:
        """Its Volume and its two Secrets, as they should be."""
        record = want.record
        steps: list[RecordStep] = []
        if record.spec.engine == "llamacpp":
            steps += volume_steps(want, made.keeping(want))
        wanted: dict[str, dict[str, str | Generated | Template]] = {
            record.secret_name: made.secret_keys(record),
            record.admin_name: {"token": Generated()},
        }
        for name, keys in wanted.items():
            whole = is_whole(want.children.get(("Secret", name)), keys)
            if not whole or (name == record.secret_name and not seen.secret_true):
                steps.append(EnsureSecret(name, keys, type="servicebinding.io/openai"))
        return tuple(steps)

    def _plan_removal(self, want: Want[Model], seen: ModelSeen) -> Plan[ModelStep]:
        record = want.record
        steps: tuple[ModelStep, ...] = ()
        if record.spec.engine == "ollama" and want.services[record.spec.service].uid is not None:
            if seen.place is None or seen.model is None:
                return Plan(wait=held_by_service(want))
            names = (made.inner_name(record),) if seen.model.phase != "empty" else ()
            for name in (*names, *seen.model.others):
                steps += (RemoveModel("ollama", seen.place.url, name),)
        here = (seen.container,) if seen.container else ()
        steps += removal(
            record, here, files_here=seen.files_here, stop_timeout_s=made.STOP_TIMEOUT_S
        )
        volume = ("Volume", made.volume_name(record, want.namespace_uid))
        secrets = (("Secret", record.secret_name), ("Secret", record.admin_name))
        return Plan((*steps, *release(want, (volume, *secrets), retain=False)))

    # --- status ---

    def status(self, want: Want[Model], seen: ModelSeen, /) -> Report:
        record = want.record
        state, model = seen.container, seen.model
        llamacpp = record.spec.engine == "llamacpp"
        status = ModelStatus(
            phase=phase_of(record, model),
            progress=made.progress(model) if model else None,
            size=format_bytes(model.size_bytes) if model and model.size_bytes else None,
            digest=(model.digest or None) if model else None,
            loaded=model.loaded if model else False,
            endpoint=f"http://{record.metadata.name}:{PORT}/v1",
            published=host_address(want),
            secret_ref=secret_ref(want),
            volume=made.volume_name(record, want.namespace_uid) if llamacpp else None,
            storage=storage_of(made.volume_of(want)) if llamacpp else None,
            image=state.image if state else None,
            container=state.name if state else None,
        )
        return served(status, state, readiness(want, seen), SERVED_RECHECK_S)

    # --- apply ---

    async def apply(self, step: ModelStep, /) -> None:
        match step:
            case EnsureModel():
                server = await self._driver_server(step.engine, step)
                order = await self._located(step)
                await self.models[step.engine].ensure_model(server, order)
            case LoadModel():
                server = await self._driver_server(step.engine, step)
                await self.models[step.engine].load_model(
                    server, step.name, keep_alive_s=step.keep_alive_s
                )
            case RemoveModel(engine=engine, url=url, name=name):
                await self.models[engine].delete_model(ModelServer(url), name)
            case (
                box.EnsureImage()
                | box.WriteSecrets()
                | box.RemoveSecrets()
                | box.CheckVariables()
                | box.RunContainer()
                | box.FixContainer()
                | box.StartContainer()
                | box.RestartContainer()
                | box.RemoveContainer()
            ):
                await self.steps.apply(step)
            case _:
                assert_never(step)

    async def _driver_server(self, engine: Engine, step: EnsureModel | LoadModel) -> ModelServer:
        if engine == "ollama":
            return ModelServer(step.url)
        return await self._server(step.url, step.namespace, step.admin_name)

    async def _located(self, step: EnsureModel) -> ModelOrder:
        values: Credentials = None
        if step.found.secret_name is not None:
            values = await self.values.read("Secret", step.namespace, step.found.secret_name)
        url, headers = located(step.found, values, self.clock.now())
        return replace(step.order, url=url, headers=headers)


def _without_server(want: Want[Model], seen: ModelSeen) -> tuple[ModelStep, ...] | Wait:
    """A gateway stays as it is while its server is away for a moment. Once that is gone it leads
    nowhere, and would keep the platform's network from going."""
    if seen.container is None:
        return no_service(want)
    if want.services[want.record.spec.service].uid is not None:
        return ()
    return (box.RemoveContainer(seen.container.id, made.STOP_TIMEOUT_S),)
