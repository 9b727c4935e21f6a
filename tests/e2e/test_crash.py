"""kill -9 of the control plane at many moments of create, update and delete: it converges after a
restart, with nothing twice and nothing left over."""

import time

import pytest

from tests.e2e import data, records
from tests.e2e.cloud import Cloud, Json, eventually
from tests.e2e.conftest import make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.chaos, pytest.mark.timeout(400)]

# Seconds after the write was answered. A Database takes about 2 s from record to Ready here, most
# of its steps in the first.
MOMENTS = (0.0, 0.03, 0.1, 0.2, 0.35, 0.6, 1.0, 1.6)
NS = "crash"


def restart_after(cloud: Cloud, seconds: float) -> None:
    time.sleep(seconds)
    cloud.kill()
    cloud.start()


def exactly_one(cloud: Cloud, name: str) -> None:
    """One running container of that record, and the same a little later."""
    with cloud.engine() as engine:
        found = cloud.containers(name, NS, engine=engine)
        assert [container.status for container in found] == ["running"]


def volumes(cloud: Cloud) -> list[str]:
    return [left for left in cloud.leftovers() if left.startswith("volume")]


def test_killed_at_any_moment_it_converges(private_cloud: Cloud) -> None:
    cloud = private_cloud
    make_namespace(cloud, NS)
    for number, moment in enumerate(MOMENTS):
        db, web = f"db{number}", f"web{number}"
        database = records.redis(db, NS, deletionPolicy="Delete")
        using = records.app(web, NS, databaseRefs=[{"name": db}])
        cloud.apply(database, using)
        restart_after(cloud, moment)
        cloud.wait_ready("database", db, NS)
        created = cloud.wait_ready("app", web, NS)
        exactly_one(cloud, db)
        exactly_one(cloud, web)
        assert len(volumes(cloud)) == 1
        update_while_killed(cloud, db, web, moment)
        delete_while_killed(cloud, db, web, moment)
        assert created["metadata"]["uid"] not in " ".join(cloud.leftovers())


def update_while_killed(cloud: Cloud, db: str, web: str, moment: float) -> None:
    """A limit (in place) and an environment (a new container), data kept."""
    before = cloud.wait_ready("database", db, NS)
    data.keep(cloud, before, "kept")
    bigger: Json = {"resources": {"cpu": "60m", "memory": "64Mi"}}
    cloud.apply(
        records.redis(db, NS, deletionPolicy="Delete", **bigger),
        records.app(
            web, NS, databaseRefs=[{"name": db}], env=[{"name": "COLOUR", "value": "blue"}]
        ),
    )
    restart_after(cloud, moment)
    after = cloud.wait_ready("database", db, NS)
    cloud.wait_ready("app", web, NS)
    exactly_one(cloud, db)
    exactly_one(cloud, web)
    assert data.kept(cloud, after) == {"kept"}
    with cloud.engine() as engine:
        (container,) = cloud.containers(db, NS, engine=engine)
        assert container.attrs["HostConfig"]["Memory"] == 64 * 2**20
        (container,) = cloud.containers(web, NS, engine=engine)
        assert "COLOUR=blue" in container.attrs["Config"]["Env"]


def delete_while_killed(cloud: Cloud, db: str, web: str, moment: float) -> None:
    cloud.kubectl("delete", "app", web, "-n", NS, "--wait=false")
    cloud.kubectl("delete", "database", db, "-n", NS, "--wait=false")
    restart_after(cloud, moment)
    cloud.wait_gone("app", web, NS)
    cloud.wait_gone("database", db, NS)
    # what stays are the namespaces' networks
    eventually(
        lambda: {left.split()[0] for left in cloud.leftovers()} == {"network"},
        within_s=20,
        what=f"only networks are left, not {cloud.leftovers()}",
    )
    assert cloud.kubectl("get", "secrets", "-n", NS, "-o", "name") == ""
    assert cloud.kubectl("get", "volumes", "-o", "name") == ""
