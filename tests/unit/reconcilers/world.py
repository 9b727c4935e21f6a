"""A small world for reconcilers: fakes, records in dicts, and a loop that carries plans out.

Stands in for the engine where a test wants to see what becomes of a record; the real one has
tests of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.engine.secretdata import completed, generate, kept
from controlplane.errors import RetryableError
from controlplane.plan import (
    Binding,
    Dependent,
    EnsureChild,
    EnsureSecret,
    Generated,
    OrphanChild,
    Owned,
    Plan,
    RemoveChild,
    Report,
    Resolved,
    SecretValue,
    Want,
)
from drivers.containers import NetworkSpec, Owner, VolumeState
from reconcilers.registry import RECONCILERS, AnyReconciler, Drivers
from resources.app import App
from resources.database import Database
from resources.kinds import MODELS
from resources.meta import Footprint, Record
from tests.clock import ManualClock
from tests.support.fakes import Fakes

NETWORK = "namespace-shop-nnnnnnnn"
NS_UID = "nnnnnnnn-1"
UID = "uuuuuuuu-1"


@dataclass(slots=True)
class FixedUsage:
    """What the budget says, and how many records there are."""

    used: Footprint = field(default_factory=Footprint)
    kept: Footprint = field(default_factory=Footprint)
    count: int = 0

    def allocated(self, namespace: str | None = None, /) -> Footprint:
        return self.used

    def reserved(self) -> Footprint:
        return self.kept

    def records(self, namespace: str, /) -> int:
        return self.count


@dataclass(slots=True)
class Values:
    """Secrets and ConfigMaps of the namespace, by (kind, name)."""

    data: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)

    async def read(self, kind: str, namespace: str, name: str, /) -> Mapping[str, bytes] | None:
        return self.data.get((kind, name))


@dataclass(slots=True)
class World(Fakes):
    """Everything outside one record."""

    clock: ManualClock = field(default_factory=ManualClock)
    values: Values = field(default_factory=Values)
    usage: FixedUsage = field(default_factory=FixedUsage)
    children: dict[tuple[str, str], Owned] = field(default_factory=dict)
    refs: dict[str, Resolved] = field(default_factory=dict)
    services: dict[str, Resolved] = field(default_factory=dict)
    dependents: tuple[Dependent, ...] = ()
    ports: tuple[int, ...] = (30001,)
    held: Footprint = field(default_factory=Footprint)
    """Of the budget, by the record."""
    passes: int = 0

    @property
    def drivers(self) -> Drivers:
        return self.around(self.values, self.usage, self.clock)

    def reconciler(self, kind: str) -> AnyReconciler:
        return RECONCILERS[kind](self.drivers)

    async def network(self) -> None:
        """The namespace's network, as its own reconciler makes it."""
        owner = Owner(NS_UID, "Namespace", "", "shop")
        await self.containers.ensure_network(NetworkSpec(NETWORK, owner, "10.201.0.0/24"))

    def add_volume(self, name: str) -> None:
        """The engine's volume, as its Volume record's own reconciler makes it."""
        self.engine.volumes[name] = VolumeState(name, Owner("v", "Volume", "", name))

    def want(self, record: Record) -> Want[Any]:
        reconciler = self.reconciler(record.info.kind)
        reads = {name: self._hmac(*_split(name)) for name in reconciler.reads(record)}
        names = [(c.kind, c.name) for c in reconciler.children(record, NS_UID)]
        return Want(
            record=record,
            namespace_uid=NS_UID,
            network=NETWORK,
            network_ready=self.engine.network_named(NETWORK) is not None,
            refs=dict(self.refs),
            services=dict(self.services),
            dependents=self.dependents,
            secrets=reads,
            children={name: self._child(name) for name in names if name in self.children},
            ports=self.ports,
            subnet="10.201.0.0/24",
            held=self.held,
        )

    def _child(self, name: tuple[str, str]) -> Owned:
        child = self.children[name]
        if name[0] != "Secret":
            return child
        keys = tuple(self.values.data[("Secret", name[1])])
        return Owned(
            child.kind,
            child.name,
            child.uid,
            True,
            {},
            {},
            self._hmac("Secret", name[1]) or "",
            keys,
            child.owned,
        )

    def _hmac(self, kind: str, name: str) -> str | None:
        found = self.values.data.get((kind, name))
        return None if found is None else f"hmac:{sorted(found.items())!r}"

    def bind(self, name: str, *, ready: bool = True, path: str = "") -> None:
        """A Database that an App refers to, with its Secret."""
        secret = f"{name}-credentials"
        values = {"host": name, "port": "5432", "username": "app", "database": "app"}
        data = {key: value.encode() for key, value in values.items()}
        self.values.data.setdefault(
            ("Secret", secret), data | {"password": b"pw", "uri": b"postgresql://x"}
        )
        binding = Binding(secret, self._hmac("Secret", secret) or "")
        self.refs[path or f"spec.databaseRefs[{name}]"] = Resolved(
            "Database", name, f"uid-{name}", ready, "" if ready else f"{name} starts", binding
        )

    async def look(self, record: Record) -> tuple[Plan[Any], Report]:
        """What would be done, and what is told."""
        reconciler = self.reconciler(record.info.kind)
        want = self.want(record)
        seen = await reconciler.observe(want)
        return reconciler.plan(want, seen), reconciler.status(want, seen)

    async def settle(self, record: Record, *, most: int = 30) -> Report:
        """Passes until nothing is left to do, or only waiting is."""
        reconciler = self.reconciler(record.info.kind)
        for _ in range(most):
            self.passes += 1
            plan, report = await self.look(record)
            if not plan.steps:
                return report
            await self._carry_out(reconciler, plan, record)
        raise AssertionError(f"not settled after {most} passes: {await self.look(record)}")

    async def _carry_out(self, reconciler: AnyReconciler, plan: Plan[Any], record: Record) -> None:
        for step in plan.steps:
            try:
                await self._step(reconciler, step, record)
            except RetryableError:
                return

    async def _step(self, reconciler: AnyReconciler, step: Any, record: Record) -> None:
        match step:
            case EnsureChild(kind=kind, name=name, spec=spec):
                before = self.children.get((kind, name))
                spec = {**(before.spec if before else {}), **spec}
                volume = spec.get("dockerName", f"volume-{name}")
                if kind == "Volume":
                    self.add_volume(volume)
                status = {"dockerName": volume}
                self.children[(kind, name)] = Owned(kind, name, "v", True, spec, status)
            case EnsureSecret(name=name, keys=keys, renew_on=renew_on):
                self._ensure_secret(name, keys, renew_on)
            case OrphanChild(kind=kind, name=name):
                child = self.children[(kind, name)]
                self.children[(kind, name)] = Owned(
                    kind, name, child.uid, child.ready, child.spec, child.status, owned=False
                )
            case RemoveChild(kind=kind, name=name):
                del self.children[(kind, name)]
                self.values.data.pop((kind, name), None)
            case _:
                await reconciler.apply(step)

    def _ensure_secret(self, name: str, keys: Mapping[str, SecretValue], renew_on: str) -> None:
        before = self.values.data.get(("Secret", name), {})
        text = {key: value.decode(errors="surrogateescape") for key, value in before.items()}
        left = kept(text, keys, renew_on)
        made = completed(left, keys, lambda wanted: _generated(name, wanted))
        data = {key: value.encode(errors="surrogateescape") for key, value in made.items()}
        self.values.data[("Secret", name)] = data
        self.children[("Secret", name)] = Owned("Secret", name, "s", True, {}, {})


def _generated(name: str, wanted: Generated) -> str:
    """Known text, and a key where one is wanted."""
    if wanted.form == "text":
        return f"generated-{name}"
    if wanted.form == "x25519":
        return generate(wanted)
    # an RSA key is slow to make, and only some kinds need one
    from tests.support.keys import rsa_key

    return rsa_key()


def _split(name: str) -> tuple[str, str]:
    kind, _, bare = name.partition("/")
    return kind, bare


def record(kind: str, spec: Mapping[str, Any], *, deleting: bool = False, **rest: Any) -> Any:
    """A record named `shop` of the namespace `shop`."""
    meta = {"name": "shop", "uid": UID, **({"namespace": "shop"} if _in_namespace(kind) else {})}
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return MODELS[kind].model_validate({"metadata": meta, "spec": spec, **rest})


def _in_namespace(kind: str) -> bool:
    return MODELS[kind].info.namespaced


def app(*, deleting: bool = False, **spec: Any) -> App:
    found = record("App", {"image": "shop:1", "port": 80, **spec}, deleting=deleting)
    assert isinstance(found, App)
    return found


def database(engine: str = "postgres", *, deleting: bool = False, **spec: Any) -> Database:
    found = record("Database", {"engine": engine, **spec}, deleting=deleting)
    assert isinstance(found, Database)
    return found


async def world() -> World:
    """One whose namespace has its network."""
    made = World()
    await made.network()
    return made


def names(plan: Plan[Any]) -> list[str]:
    """What the steps of a plan are called, in order."""
    return [type(step).__name__ for step in plan.steps]
