"""A deleted Database's data: kept for the same namespace, never for another, gone when asked."""

from collections.abc import Callable

import pytest

from tests.e2e import data, records
from tests.e2e.cloud import Cloud, Json, eventually
from tests.e2e.conftest import make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]
MAKERS = [pytest.param(records.postgres, id="postgres"), pytest.param(records.redis, id="redis")]


def credentials(cloud: Cloud, namespace: str) -> str:
    record = cloud.wait_ready("database", "db", namespace)
    return cloud.secret(record["status"]["secretRef"]["name"], namespace)["password"]


def delete(cloud: Cloud, namespace: str) -> None:
    cloud.kubectl("delete", "database", "db", "-n", namespace, "--timeout=60s")


@pytest.mark.parametrize("make", MAKERS)
def test_recreated_record_adopts_data_and_password(
    cloud: Cloud, namespace: str, make: Callable[..., Json]
) -> None:
    cloud.apply(make("db", namespace))
    first = cloud.wait_ready("database", "db", namespace)
    data.keep(cloud, first, "precious")
    password = credentials(cloud, namespace)
    delete(cloud, namespace)
    with cloud.engine() as engine:
        assert cloud.containers("db", namespace, engine=engine) == []
    volume = cloud.get("volume", first["status"]["volume"])
    assert volume is not None
    assert volume["metadata"].get("ownerReferences", []) == []
    cloud.apply(make("db", namespace))
    second = cloud.wait_ready("database", "db", namespace)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert data.kept(cloud, second) == {"precious"}
    assert credentials(cloud, namespace) == password
    events = cloud.kubectl("events", "-n", namespace, "--for", "database/db")
    assert "Adopted" in events
    delete(cloud, namespace)
    cloud.kubectl("delete", "volume", first["status"]["volume"], "--timeout=60s")


def test_remade_namespace_is_another_tenant(cloud: Cloud) -> None:
    name = "tenant"
    make_namespace(cloud, name)
    cloud.apply(records.redis("db", name))
    first = cloud.wait_ready("database", "db", name)
    data.keep(cloud, first, "private")
    password = credentials(cloud, name)
    cloud.kubectl("delete", "namespace", name, "--timeout=60s")
    make_namespace(cloud, name)
    cloud.apply(records.redis("db", name))
    second = cloud.wait_ready("database", "db", name)
    assert data.kept(cloud, second) == set()
    assert credentials(cloud, name) != password
    assert second["status"]["volume"] != first["status"]["volume"]
    assert cloud.get("volume", first["status"]["volume"]) is not None
    cloud.kubectl("delete", "namespace", name, "--timeout=60s")
    for record in (first, second):
        cloud.kubectl("delete", "volume", record["status"]["volume"], "--timeout=60s")
        label = f"volume {record['status']['volume']}"
        assert label not in cloud.leftovers()


@pytest.mark.parametrize("make", MAKERS)
def test_delete_policy_leaves_nothing(
    cloud: Cloud, namespace: str, make: Callable[..., Json]
) -> None:
    cloud.apply(make("db", namespace, deletionPolicy="Delete"))
    record = cloud.wait_ready("database", "db", namespace)
    volume = record["status"]["volume"]
    delete(cloud, namespace)
    cloud.wait_gone("volume", volume)
    cloud.wait_gone("secret", record["status"]["secretRef"]["name"], namespace)
    # with the dash: the uid of its namespace, in the network's name, may begin with "db"
    eventually(
        lambda: not [left for left in cloud.leftovers() if f"-{namespace}-db-" in left],
        within_s=20,
        what=f"nothing left of it, but there is {cloud.leftovers()}",
    )


def test_paused_from_the_start_makes_nothing_and_goes_at_once(cloud: Cloud, namespace: str) -> None:
    cloud.apply(records.redis("db", namespace, paused=True))
    record = cloud.get("database", "db", namespace)
    assert record is not None
    assert record["metadata"].get("finalizers", []) == []
    cloud.kubectl("delete", "database", "db", "-n", namespace, "--timeout=5s")
    assert cloud.leftovers(record["metadata"]["uid"]) == []
