"""Secrets whose keys are in a real OpenBao: moved there and back while a server runs; sealed."""

from collections.abc import Iterator
from contextlib import aclosing

import pytest

from controlplane.clock import SystemClock
from drivers.vault import HvacVault, VaultServer
from tests.e2e import records
from tests.e2e.cloud import Cloud, Json, condition, eventually
from tests.e2e.conftest import MakeCloud, make_namespace
from tests.openbao import Bao, openbao

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
SPACE = "shop"


@pytest.fixture
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with openbao(tmp_path_factory.mktemp("bao")) as running:
        yield running


def settings(bao: Bao, backend: str) -> dict[str, str]:
    return {
        "CP_SECRETS": backend,
        "CP_VAULT_ADDRESS": bao.address,
        "CP_VAULT_ROLE_ID": bao.role_id,
        "CP_VAULT_SECRET_ID": bao.secret_id,
        "CP_VAULT_MOUNT": "kv",
        "CP_VAULT_PATH": bao.path,
    }


def note(name: str, text: str) -> Json:
    meta = {"name": name, "namespace": SPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"text": text}}


def started(cloud: Cloud) -> str:
    """When the Database's container was started: the same as long as nothing restarts it."""
    with cloud.engine() as engine:
        (found,) = cloud.containers("db", SPACE, engine=engine)
        at: str = found.attrs["State"]["StartedAt"]
        return at


def restart(cloud: Cloud, env: dict[str, str]) -> None:
    cloud.stop()
    cloud.extra_env = env
    cloud.start()


def settled(cloud: Cloud) -> str:
    cloud.wait_ready("database", "db", SPACE)
    return cloud.secret("db-credentials", SPACE)["password"]


def test_keys_move_to_a_vault_and_back_while_a_database_runs(
    make_cloud: MakeCloud, bao: Bao
) -> None:
    with make_cloud() as cloud:
        make_namespace(cloud, SPACE)
        cloud.apply(records.redis("db", SPACE), note("first", "one"))
        password = settled(cloud)
        began = started(cloud)
        restart(cloud, settings(bao, "vault"))
        assert cloud.secret("first", SPACE) == {"text": "one"}
        assert "moved" in cloud.control_plane("secrets", "migrate", "--to", "vault")
        assert not (cloud.data / "master.key").exists()
        assert bao.kept("master") is not None
        cloud.apply(note("second", "two"))
        assert cloud.secret("first", SPACE) == {"text": "one"}
        restart(cloud, settings(bao, "vault"))
        assert cloud.secret("second", SPACE) == {"text": "two"}
        assert settled(cloud) == password
        restart(cloud, settings(bao, "embedded"))
        cloud.control_plane("secrets", "migrate", "--to", "embedded")
        assert bao.kept("master") is None
        restart(cloud, {})
        assert {cloud.secret(name, SPACE)["text"] for name in ("first", "second")} == {"one", "two"}
        assert settled(cloud) == password
        assert started(cloud) == began


def test_a_sealed_vault_closes_secrets_and_stops_nothing(make_cloud: MakeCloud, bao: Bao) -> None:
    with make_cloud(**settings(bao, "vault")) as cloud:
        make_namespace(cloud, SPACE)
        cloud.apply(records.redis("db", SPACE), note("first", "one"))
        password = settled(cloud)
        began = started(cloud)
        bao.seal()
        path = f"/api/v1/namespaces/{SPACE}/secrets/first"
        answer = cloud.call("GET", path)
        assert answer.status == 503, answer.body
        assert "sealed" in answer.body["message"]
        cloud.kubectl("annotate", "database", "db", "-n", SPACE, "seen=yes")
        eventually(lambda: _reason(cloud) == "SecretsUnavailable", within_s=30, what="it says so")
        cloud.stop()
        cloud.start()
        assert cloud.call("GET", path).status == 503
        assert started(cloud) == began
        bao.unseal()
        eventually(lambda: cloud.call("GET", path).status == 200, within_s=30, what="open again")
        assert settled(cloud) == password
        assert started(cloud) == began
        deleted = cloud.get("secret", "first", SPACE)
        assert deleted is not None
        assert bao.kept(f"keys/{deleted['metadata']['uid']}") is not None


async def test_a_vault_of_the_platforms_unseals_itself_and_keeps_what_it_has(cloud: Cloud) -> None:
    make_namespace(cloud, "platform")
    meta = {"name": "vault", "namespace": "platform"}
    spec = {"service": "vault", "deletionPolicy": "Delete"}
    api = "bunker.cloud/v1"
    cloud.apply({"apiVersion": api, "kind": "Platform", "metadata": meta, "spec": spec})
    await _kept(cloud, "one")
    with cloud.engine() as engine:
        (container,) = cloud.containers("vault", "platform", engine=engine)
        container.remove(force=True)
    eventually(lambda: not _serves(cloud, container.id), within_s=30, what="another container")
    assert await _kept(cloud, "two") == "one"
    cloud.kubectl("delete", "platform", "vault", "-n", "platform", "--timeout=60s")


def _serves(cloud: Cloud, container: str | None) -> bool:
    record = cloud.get("platform", "vault", "platform")
    return record is not None and record["status"].get("containerId") == container


async def _kept(cloud: Cloud, value: str) -> str:
    """What is kept there, after `value` was offered to an empty place."""
    record = cloud.wait_ready("platform", "vault", "platform", within_s=90)
    login = cloud.secret("vault-credentials", "platform")
    address = f"http://{record['status']['endpoints']['api']}"
    server = VaultServer(address, login["role-id"], login["secret-id"], mount=login["mount"])
    async with aclosing(HvacVault(server, SystemClock())) as vault:
        kept = await vault.ensure_secret(f"{login['path']}/test/note", {"text": value})
    return kept["text"]


def _reason(cloud: Cloud) -> str:
    record = cloud.get("database", "db", SPACE)
    return str(condition(record, "Synced").get("reason", "")) if record else ""
