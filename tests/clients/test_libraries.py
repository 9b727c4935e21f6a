"""Client libraries, as their documentation uses them: create, patch, watch through a 410, status,
finalizers, delete. Each works on records of its own."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import kopf
import kr8s
import pytest
import yaml
from kr8s.asyncio.objects import new_class
from kubernetes import client as kube
from kubernetes import config as kube_config
from kubernetes import dynamic
from kubernetes import watch as kube_watch
from lightkube import Client as LightClient
from lightkube import KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace
from lightkube.types import PatchType

pytestmark = [
    pytest.mark.postgres,
    # deprecations inside other people's libraries are their business
    pytest.mark.filterwarnings("default"),
]

WHERE = ("bunker.cloud", "v1", "default", "databases")
CONDITION = {
    "type": "Tested",
    "status": "True",
    "reason": "Test",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def database(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"engine": "redis", "paused": True},
    }


@pytest.fixture
def api(server: Path) -> Any:
    """The official client."""
    return kube_config.new_client_from_config(str(server / "admin.kubeconfig"))


def test_official_client_lives_a_records_life(api: Any) -> None:
    custom = kube.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*WHERE, database("official"))
    held = {"metadata": {"finalizers": ["test/held"], "labels": {"by": "official"}}}
    custom.patch_namespaced_custom_object(*WHERE, "official", held)
    told = custom.patch_namespaced_custom_object_status(
        *WHERE, "official", {"status": {"conditions": [CONDITION]}}
    )
    assert told["status"]["conditions"][0]["type"] == "Tested"
    seen = kube_watch.Watch().stream(
        custom.list_namespaced_custom_object,
        *WHERE,
        label_selector="by=official",
        timeout_seconds=1,
    )
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in seen] == [("ADDED", "official")]
    custom.delete_namespaced_custom_object(*WHERE, "official")
    marked = custom.get_namespaced_custom_object(*WHERE, "official")
    assert marked["metadata"]["deletionTimestamp"]
    custom.patch_namespaced_custom_object(*WHERE, "official", {"metadata": {"finalizers": None}})
    with pytest.raises(kube.ApiException) as gone:
        custom.get_namespaced_custom_object(*WHERE, "official")
    assert gone.value.status == 404


def test_official_client_is_told_that_its_version_is_too_old(api: Any) -> None:
    custom = kube.CustomObjectsApi(api)
    stream = kube_watch.Watch().stream(
        custom.list_namespaced_custom_object, *WHERE, resource_version="1", timeout_seconds=1
    )
    with pytest.raises(kube.ApiException) as expired:
        list(stream)
    assert expired.value.status == 410


def test_official_client_reads_core_kinds_and_reviews(api: Any) -> None:
    core = kube.CoreV1Api(api)
    assert "default" in {item.metadata.name for item in core.list_namespace().items}
    secret = kube.V1Secret(metadata=kube.V1ObjectMeta(name="official"), string_data={"a": "b"})
    core.create_namespaced_secret("default", secret)
    assert core.read_namespaced_secret("official", "default").data == {"a": "Yg=="}
    core.delete_namespaced_secret("official", "default")
    review = kube.AuthorizationV1Api(api).create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "delete", "resource": "secrets"}}}
    )
    assert review.status.allowed is True


def test_dynamic_client_applies_server_side(api: Any) -> None:
    databases = dynamic.DynamicClient(api).resources.get(
        api_version="bunker.cloud/v1", kind="Database"
    )
    applied = databases.server_side_apply(
        body=database("dynamic"), field_manager="dynamic", namespace="default"
    )
    assert applied.metadata.managedFields[0].manager == "dynamic"
    databases.delete("dynamic", namespace="default")


def test_lightkube_lives_a_records_life(server: Path) -> None:
    config = KubeConfig.from_file(str(server / "admin.kubeconfig"))
    client = LightClient(config=config, namespace="default", field_manager="light")
    kind = create_namespaced_resource("bunker.cloud", "v1", "Database", "databases")
    spec = {"engine": "redis", "paused": True}
    client.create(kind(metadata=ObjectMeta(name="light"), spec=spec))
    held = {"metadata": {"finalizers": ["test/held"], "labels": {"by": "light"}}}
    client.patch(kind, "light", held, patch_type=PatchType.MERGE)
    whole = kind(
        apiVersion="bunker.cloud/v1",
        kind="Database",
        metadata=ObjectMeta(name="light"),
        spec={**spec, "priority": 3},
    )
    assert client.apply(whole, force=True).spec["priority"] == 3
    status = {"status": {"conditions": [CONDITION]}}
    told = client.patch(kind.Status, "light", status, patch_type=PatchType.MERGE)
    assert told.status["conditions"][0]["type"] == "Tested"
    type_, seen = next(iter(client.watch(kind, labels={"by": "light"}, server_timeout=2)))
    assert (type_, seen.metadata.name) == ("ADDED", "light")
    client.delete(kind, "light")
    client.patch(kind, "light", {"metadata": {"finalizers": None}}, patch_type=PatchType.MERGE)
    with pytest.raises(ApiError) as gone:
        client.get(kind, "light")
    assert gone.value.status.code == 404


def test_lightkube_merges_core_kinds_strategically(server: Path) -> None:
    config = KubeConfig.from_file(str(server / "admin.kubeconfig"))
    client = LightClient(config=config, namespace="default", field_manager="light")
    assert "default" in {item.metadata.name for item in client.list(Namespace)}
    client.create(ConfigMap(metadata=ObjectMeta(name="light"), data={"a": "1"}))
    assert client.patch(ConfigMap, "light", {"data": {"b": "2"}}).data == {"a": "1", "b": "2"}
    client.delete(ConfigMap, "light")


async def test_kr8s_lives_a_records_life(server: Path) -> None:
    api = await kr8s.asyncio.api(kubeconfig=str(server / "admin.kubeconfig"))
    assert await api.whoami() == "admin"
    kind = new_class(kind="Database", version="bunker.cloud/v1", plural="databases")
    record = await kind(database("kr8s"), api=api)
    await record.create()
    await record.label({"by": "kr8s"})
    ready = {**CONDITION, "type": "Ready"}
    await record.patch({"status": {"conditions": [ready]}}, subresource="status")
    await record.wait("condition=Ready", timeout=5)

    async def until_deleted() -> list[str]:
        seen = []
        async for type_, _ in api.watch(
            "databases.bunker.cloud", namespace="default", label_selector="by=kr8s"
        ):
            seen.append(type_)
            if type_ == "DELETED":
                break
        return seen

    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        watching = group.create_task(until_deleted())
        await asyncio.sleep(0.5)
        await record.delete()
    assert watching.result() == ["ADDED", "DELETED"]
    assert [pod async for pod in api.get("pods", namespace="default")] == []


class _Operator:
    """A kopf operator on our API, and a hand to change what it watches."""

    def __init__(self, folder: Path) -> None:
        self._config = yaml.safe_load((folder / "admin.kubeconfig").read_text())
        self.seen: list[str] = []
        self.registry = kopf.OperatorRegistry()
        where: dict[str, Any] = {"registry": self.registry, "labels": {"by": "kopf"}}
        kopf.on.login(registry=self.registry)(self._login)
        kopf.on.create("bunker.cloud", "v1", "databases", **where)(self._created)
        kopf.on.update("bunker.cloud", "v1", "databases", **where)(self._updated)
        kopf.on.delete("bunker.cloud", "v1", "databases", **where)(self._deleted)

    def _login(self, **_: Any) -> Any:
        cluster = self._config["clusters"][0]["cluster"]
        return kopf.ConnectionInfo(
            server=cluster["server"],
            ca_data=cluster["certificate-authority-data"],
            scheme="Bearer",
            token=self._config["users"][0]["user"]["token"],
        )

    async def _created(self, body: Any, **_: Any) -> None:
        kopf.info(body, reason="Made", message="it is made")
        self.seen.append("created")

    async def _updated(self, **_: Any) -> None:
        self.seen.append("updated")

    async def _deleted(self, **_: Any) -> None:
        self.seen.append("deleted")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.seen) < count:  # noqa: ASYNC110  # kopf has no event to wait for
                await asyncio.sleep(0.05)


async def test_kopf_operates_on_our_records(server: Path, api: Any) -> None:
    custom, operator = kube.CustomObjectsApi(api), _Operator(server)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(
        kopf.operator(
            registry=operator.registry,
            namespaces=["default"],
            standalone=True,
            stop_flag=stop,
            ready_flag=ready,
        )
    )
    await ready.wait()
    record = database("kopf")
    record["metadata"]["labels"] = {"by": "kopf"}
    await asyncio.to_thread(lambda: custom.create_namespaced_custom_object(*WHERE, record))
    await operator.until(1)
    change = {"spec": {"priority": 7}}
    await asyncio.to_thread(lambda: custom.patch_namespaced_custom_object(*WHERE, "kopf", change))
    await operator.until(2)
    await asyncio.to_thread(lambda: custom.delete_namespaced_custom_object(*WHERE, "kopf"))
    await operator.until(3)
    assert operator.seen == ["created", "updated", "deleted"]
    stop.set()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(running, 20)
    events = await asyncio.to_thread(kube.CoreV1Api(api).list_namespaced_event, "default")
    assert "Made" in {event.reason for event in events.items}
