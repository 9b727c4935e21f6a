"""Apps, Databases and Platforms settle where their specs say, whatever happened to them."""

import bcrypt
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from controlplane.plan import Dependent, Plan
from drivers.containers import LABEL_SLOT, ContainerState, Limits, NetworkSpec, Owner
from resources.app import App
from resources.database import PLANS, Database
from resources.platform import Platform
from tests.property.machine import LOOK, RESOURCES, KindMachine
from tests.unit.reconcilers.platforms import ADMITTED
from tests.unit.reconcilers.world import NETWORK, UID, app, database

USERS = {"net-a": "10.202.0.0/24", "net-b": "10.203.0.0/24"}


class AppMachine(KindMachine):
    @initialize()
    def begin(self) -> None:
        self.world.bind("db")
        self.spec = {"replicas": 1, "image": "shop:1"}

    def record(self, *, deleting: bool = False) -> App:
        return app(deleting=deleting, **self.spec)

    @rule(
        replicas=st.integers(0, 3),
        image=st.sampled_from(["shop:1", "shop:2"]),
        resources=RESOURCES,
        value=st.sampled_from(["a", "b"]),
        bound=st.booleans(),
        surge=st.integers(0, 2),
        look=LOOK,
    )
    def edit(
        self,
        replicas: int,
        image: str,
        resources: dict[str, str],
        value: str,
        bound: bool,
        surge: int,
        look: bool,
    ) -> None:
        self.spec = {
            "replicas": replicas,
            "image": image,
            "resources": resources,
            "env": [{"name": "A", "value": value}],
            "databaseRefs": [{"name": "db"}] if bound else [],
            "surge": surge,
        }
        self.look(look)

    @rule(password=st.sampled_from([b"one", b"two"]))
    def rotate(self, password: bytes) -> None:
        self.world.values.data[("Secret", "db-credentials")]["password"] = password
        self.world.bind("db")

    def check(self) -> None:
        wanted = self.record().spec
        mine = self.mine()
        slots = {state.labels[LABEL_SLOT] for state in mine}
        assert {state.name for state in mine} == {f"app-shop-shop-{UID[:8]}-{s}" for s in slots}
        assert len(mine) == wanted.replicas
        assert slots <= {str(slot) for slot in range(wanted.replicas + wanted.surge)}
        for state in mine:
            spec = self.world.engine.containers[state.id].spec
            assert spec is not None
            assert state.image == wanted.image
            assert {item.name: item.value for item in wanted.env}.items() <= spec.env.items()
            assert (spec.secrets_dir is not None) == bool(wanted.database_refs)
            self.same_everywhere(state, Limits(wanted.resources.cpu, wanted.resources.memory))
        if wanted.database_refs and wanted.replicas:
            folder = self.world.files.folders[UID]
            password = self.world.values.data[("Secret", "db-credentials")]["password"]
            assert folder.files["bindings/db/password"] == password


class DatabaseMachine(KindMachine):
    @initialize(engine=st.sampled_from(["postgres", "redis"]))
    def begin(self, engine: str) -> None:
        self.spec = {"engine": engine, "plan": "starter"}

    def record(self, *, deleting: bool = False) -> Database:
        return database(deleting=deleting, **self.spec)

    @rule(plan=st.sampled_from(["starter", "basic"]), published=st.booleans(), look=LOOK)
    def edit(self, plan: str, published: bool, look: bool) -> None:
        self.spec = {**self.spec, "plan": plan, "publish": {} if published else None}
        self.look(look)

    @rule(password=st.sampled_from([b"one", b"two"]))
    def rotate(self, password: bytes) -> None:
        if found := self.world.values.data.get(("Secret", "shop-credentials")):
            found["password"] = password

    @rule(memory=st.sampled_from([0, 2**20, 2**40]), look=LOOK)
    def set_memory(self, memory: int, look: bool) -> None:
        """As `CONFIG SET maxmemory` by a user."""
        for state in self.mine():
            told = self.world.engine.containers[state.id].told
            told.update(dict.fromkeys(told, memory))
        self.look(look)

    def check(self) -> None:
        wanted = self.record().spec
        (state,) = self.mine()
        assert state.name == f"database-shop-shop-{UID[:8]}"
        size = PLANS[wanted.plan].resources
        self.same_everywhere(state, Limits(size.cpu, size.memory))
        redis = {"maxmemory": size.memory // 4 * 3} if wanted.engine == "redis" else {}
        assert self.world.engine.containers[state.id].told == redis
        spec = self.world.engine.containers[state.id].spec
        assert spec is not None
        volume = f"volume-database-shop-shop-{wanted.engine}-nnnnnnnn"
        assert [mount.volume for mount in spec.volumes] == [volume]
        assert [port.host_port for port in spec.ports] == ([30001] if wanted.publish else [])
        plan, report = self.run(self.world.look(self.record()))
        assert plan == Plan()
        assert report.ready
        password = self.world.values.data[("Secret", "shop-credentials")]["password"]
        assert any(password in content for content in self.world.files.folders[UID].files.values())


class PlatformMachine(KindMachine):
    """A service of three containers with data, credentials and a setting, and its users."""

    @initialize()
    def begin(self) -> None:
        self.spec = {"service": "metrics"}
        self.users: dict[str, bool] = {}
        for name, subnet in USERS.items():
            self.run(self.world.containers.ensure_network(network_of(name, subnet)))

    def record(self, *, deleting: bool = False) -> Platform:
        self.world.dependents = tuple(
            Dependent("Bucket", name, "b", "u", "", {}, ADMITTED, False, name, ready)
            for name, ready in sorted(self.users.items())
        )
        meta = {"name": "shop", "namespace": "platform", "uid": UID}
        if deleting:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return Platform.model_validate({"metadata": meta, "spec": self.spec})

    @rule(
        resources=RESOURCES,
        service=st.sampled_from(["metrics", "registry"]),
        days=st.sampled_from([None, "3"]),
        image=st.sampled_from([None, "other:1"]),
        published=st.booleans(),
        look=LOOK,
    )
    def edit(
        self,
        resources: dict[str, str],
        service: str,
        days: str | None,
        image: str | None,
        published: bool,
        look: bool,
    ) -> None:
        port = "prometheus" if service == "metrics" else "api"
        self.spec = {
            "service": service,
            "resources": resources,
            "settings": {"retentionDays": days} if days and service == "metrics" else {},
            "image": image,
            "publish": [{"name": port}] if published else [],
        }
        self.look(look)

    @rule(name=st.sampled_from(["net-a", "net-b"]), state=st.sampled_from([None, True, False]))
    def use(self, name: str, state: bool | None) -> None:
        """A namespace's records use the service, or no more; its network may not be ready."""
        self.users.pop(name, None)
        if state is not None:
            self.users[name] = state

    @rule(name=st.sampled_from(["net-a", "net-b"]))
    def users_network_made_anew(self, name: str) -> None:
        self.world.engine.remove_network(name)
        self.run(self.world.containers.ensure_network(network_of(name, USERS[name])))

    @rule(password=st.sampled_from([b"one", b"two"]))
    def rotate(self, password: bytes) -> None:
        if found := self.world.values.data.get(("Secret", "shop-credentials")):
            found["password"] = password

    def check(self) -> None:
        wanted = self.record().spec
        mine = {state.name: state for state in self.mine()}
        base = f"platform-platform-shop-{UID[:8]}"
        several = wanted.service == "metrics"
        more = {f"{base}-alertmanager", f"{base}-pushgateway"} if several else set()
        assert mine.keys() == {base} | more
        assert all(state.running and not state.paused for state in mine.values())
        limits = [state.limits for state in mine.values()]
        assert sum(each.cpu_millicores for each in limits) == wanted.limits.cpu
        assert sum(each.memory_bytes for each in limits) == wanted.limits.memory
        main = self.world.engine.containers[mine[base].id].spec
        assert main is not None
        if wanted.image:
            assert mine[base].image == wanted.image
        assert [mount.volume for mount in main.volumes] == [
            f"volume-platform-platform-shop-{wanted.service}-nnnnnnnn"
        ]
        assert [port.host_port for port in main.ports] == ([30001] if wanted.publish else [])
        self.check_networks(mine, {} if several else self.users)
        self.check_files(several=several, days=wanted.settings.get("retentionDays", "15"))

    def check_networks(self, mine: dict[str, ContainerState], users: dict[str, bool]) -> None:
        """All are in the service's own network; a shared main one is also in its users'."""
        for name, state in mine.items():
            main = name == f"platform-platform-shop-{UID[:8]}"
            ready = {network for network, is_ready in users.items() if is_ready} if main else set()
            maybe = set(users) if main else set()
            assert {NETWORK} | ready <= state.networks.keys() <= {NETWORK} | maybe
            for network, known_id in state.network_ids.items():
                there = self.world.engine.network_named(network)
                assert there is not None
                assert there.id == known_id
            assert set(state.aliases[NETWORK]) == {"shop" + name.removeprefix(mine_base(name))}

    def check_files(self, *, several: bool, days: str) -> None:
        files = self.world.files.folders[UID].files
        password = self.world.values.data[("Secret", "shop-credentials")]["password"]
        names = {"prometheus.yml", "rules.yml", "web.yml", "password", "alertmanager.yml"}
        assert files.keys() == (names if several else {"registry.yml", "htpasswd"})
        line = files["web.yml" if several else "htpasswd"].decode()
        hashed = line[line.index("$2y$") :][:60]
        assert bcrypt.checkpw(password, hashed.encode())
        if several:
            main = next(s for s in self.mine() if s.name.endswith(UID[:8]))
            spec = self.world.engine.containers[main.id].spec
            assert spec is not None
            assert f"--storage.tsdb.retention.time={days}d" in spec.command


def mine_base(name: str) -> str:
    """A container's name up to what its part of the service is called."""
    return name[: name.index(UID[:8]) + 8]


def network_of(name: str, subnet: str) -> NetworkSpec:
    return NetworkSpec(name, Owner(f"uid-{name}", "Namespace", "", name), subnet)


TestApp = AppMachine.TestCase
TestPlatform = PlatformMachine.TestCase
TestDatabase = DatabaseMachine.TestCase
