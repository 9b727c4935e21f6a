"""Models, from any history of edits, outside harm and faults, are what their spec says.

The oracle reads the fakes and the spec, and knows nothing of plans.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import Plan
from drivers.containers import ContainerState, Limits
from drivers.fake.models import FakeFile, FakeModels
from resources.model import Model
from tests.property.machine import LOOK, RESOURCES, KindMachine
from tests.unit.reconcilers.models import NAME, PLATFORM_NETWORK, SERVICE_UID, VOLUME, model, served
from tests.unit.reconcilers.world import NETWORK, UID

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
KEEP = {"always": None, "5m": 300, "0s": 0, "1h": 3600}
MODEL_VERBS = st.sampled_from(["observe_model", "ensure_model", "load_model", "delete_model"])


class ModelMachine(KindMachine):
    """What both engines have in common."""

    @property
    def models(self) -> FakeModels:
        raise AssertionError("each machine has its own")

    def record(self, *, deleting: bool = False) -> Model:
        return model(deleting=deleting, **self.spec)

    @rule(resources=RESOURCES, keep=st.sampled_from(sorted(KEEP)), look=LOOK)
    def edit(self, resources: dict[str, str], keep: str, look: bool) -> None:
        self.spec = {**self.spec, "resources": resources, "keepAlive": keep}
        self.look(look)

    @rule(published=st.booleans(), look=LOOK)
    def publish(self, published: bool, look: bool) -> None:
        self.spec = {**self.spec, "publish": {} if published else None}
        self.look(look)

    @rule(pin=st.booleans(), look=LOOK)
    def pin(self, pin: bool, look: bool) -> None:
        self.spec = {**self.spec, "digest": self.wanted_digest() if pin else None}
        self.look(look)

    @rule()
    def a_wrong_digest_stalls_it(self) -> None:
        wrong = {**self.spec, "digest": "sha256:" + "f" * 64}
        reason = ""
        for _ in range(3):
            try:
                self.attempt(model(**wrong))
                _, report = self.run(self.world.look(model(**wrong)))
                assert not report.ready
            except TerminalError as error:
                reason = error.reason
        assert reason in ("", "DigestMismatch")

    @rule(look=LOOK)
    def removed_behind_its_back(self, look: bool) -> None:
        self.models.held.clear()
        self.look(look)

    @rule(look=LOOK)
    def unloaded_behind_its_back(self, look: bool) -> None:
        for held in self.models.held.values():
            held.loaded = False
        self.look(look)

    @rule(verb=MODEL_VERBS)
    def model_fault(self, verb: str) -> None:
        self.models.faults.fail_next(verb, RetryableError("planted", reason="BadAnswer"))
        self.attempt(self.record())

    @rule(which=st.sampled_from(["token", "admin"]))
    def rotate(self, which: str) -> None:
        name = "shop-credentials" if which == "token" else "shop-admin"
        if found := self.world.values.data.get(("Secret", name)):
            found["token"] = b"another"

    def settle(self, record: Any) -> None:
        self.world.engine.away = False
        for verb in ("observe_model", "ensure_model", "load_model", "delete_model"):
            while self.models.faults._planted[verb]:
                self.models.faults._planted[verb].popleft()
        for _ in range(4):  # a pull is waited for
            self.attempt(record)
        super().settle(record)

    def wanted_digest(self) -> str:
        raise AssertionError("each machine has its own")

    def mine(self) -> list[ContainerState]:
        return [state for state in super().mine() if state.owner and state.owner.uid != SERVICE_UID]

    def check(self) -> None:
        wanted = self.record().spec
        (state,) = self.mine()
        assert state.name == NAME
        assert wanted.resources is not None
        assert state.running
        assert not state.paused
        assert state.limits == Limits(wanted.resources.cpu, wanted.resources.memory)
        assert state.aliases[NETWORK] == ("shop",)
        spec = self.world.engine.containers[state.id].spec
        assert spec is not None
        assert [port.host_port for port in spec.ports] == ([30001] if wanted.publish else [])
        files = self.world.files.folders[UID].files
        for path, name in (("token", "shop-credentials"), ("admin", "shop-admin")):
            assert files[path] == self.world.values.data[("Secret", name)]["token"]
        plan, report = self.run(self.world.look(self.record()))
        assert plan == Plan()
        assert report.ready
        (held,) = self.models.held.values()
        assert held.present
        assert held.file is not None
        assert held.file.digest == self.wanted_digest()
        if wanted.keep_alive == "always":
            assert held.loaded

    @rule()
    def deleting_leaves_nothing(self) -> None:
        self.settle(self.record(deleting=True))
        assert not self.mine()
        assert not self.world.files.folders
        assert not [key for key in self.world.children if key[0] == "Volume"]


class LlamaMachine(ModelMachine):
    @initialize()
    def begin(self) -> None:
        self.spec = {"source": {"url": "http://m/1"}, "resources": {"cpu": "1", "memory": "1Gi"}}
        self.models.sources = {
            "http://m/1": FakeFile(ONE, 10),
            "http://m/2": FakeFile(TWO, 20),
        }

    @property
    def models(self) -> FakeModels:
        return self.world.llamacpp

    @rule(number=st.sampled_from([1, 2]), look=LOOK)
    def another_source(self, number: int, look: bool) -> None:
        self.spec = {**self.spec, "source": {"url": f"http://m/{number}"}, "digest": None}
        self.look(look)

    @rule(context=st.sampled_from([512, 4096]), look=LOOK)
    def another_context(self, context: int, look: bool) -> None:
        self.spec = {**self.spec, "contextLength": context}
        self.look(look)

    def wanted_digest(self) -> str:
        return ONE if self.spec["source"]["url"].endswith("1") else TWO

    def check(self) -> None:
        super().check()
        (state,) = self.mine()
        spec = self.world.engine.containers[state.id].spec
        assert spec is not None
        assert [mount.volume for mount in spec.volumes] == [f"volume-{VOLUME}"]
        assert state.networks.keys() == {NETWORK}
        wanted = self.record().spec
        seconds = KEEP[wanted.keep_alive]
        assert spec.env["KEEP_ALIVE_S"] == str(-1 if seconds is None else seconds)
        assert spec.env["CONTEXT_LENGTH"] == str(wanted.context_length)


class OllamaMachine(ModelMachine):
    @initialize()
    def begin(self) -> None:
        self.spec = {
            "engine": "ollama",
            "source": {"name": "tiny:1"},
            "resources": {"cpu": "50m", "memory": "64Mi"},
        }
        self.run(served(self.world))
        self.models.sources = {"tiny:1": FakeFile(ONE, 10), "tiny:2": FakeFile(TWO, 20)}

    @property
    def models(self) -> FakeModels:
        return self.world.ollama

    @rule(number=st.sampled_from([1, 2]), look=LOOK)
    def another_source(self, number: int, look: bool) -> None:
        self.spec = {**self.spec, "source": {"name": f"tiny:{number}"}, "digest": None}
        self.look(look)

    def wanted_digest(self) -> str:
        return ONE if self.spec["source"]["name"].endswith("1") else TWO

    def check(self) -> None:
        super().check()
        (state,) = self.mine()
        assert state.networks.keys() == {NETWORK, PLATFORM_NETWORK}
        (held,) = self.models.held.values()
        seconds = KEEP[self.record().spec.keep_alive]
        if held.loaded and seconds is not None:
            assert held.keep_alive_s is not None
            assert held.keep_alive_s <= seconds + 60
        if held.loaded and seconds is None:
            assert held.keep_alive_s is None

    @rule()
    def deleting_leaves_nothing(self) -> None:
        super().deleting_leaves_nothing()
        assert not self.models.held


TestLlama = LlamaMachine.TestCase
TestOllama = OllamaMachine.TestCase
