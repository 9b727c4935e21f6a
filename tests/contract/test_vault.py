"""One suite for the Vault driver on a real server (OpenBao in our own image) and on its fake."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web

from controlplane.errors import SecretsUnavailableError
from drivers.fake.vault import FakeVault
from drivers.vault import HvacVault, Vault, VaultServer
from tests.clock import ManualClock
from tests.contract.silent import answering
from tests.openbao import Bao, openbao
from tests.support.files import serving

A, B = {"key": "a value, 'odd' ½"}, {"key": "another"}


class World(Protocol):
    """An unsealed Vault with a folder `path` for us."""

    driver: Vault
    path: str

    def seal(self) -> None: ...
    def unseal(self) -> None: ...
    def soft_delete(self, name: str) -> None: ...


class FakeWorld:
    path = "bunker/x"

    def __init__(self) -> None:
        self.fake = FakeVault()
        self.driver: Vault = self.fake

    def seal(self) -> None:
        self.fake.state = "sealed"

    def unseal(self) -> None:
        self.fake.state = "open"

    def soft_delete(self, name: str) -> None:
        self.fake.deleted.add(f"{self.path}/{name}")


class RealWorld:
    def __init__(self, bao: Bao, clock: ManualClock) -> None:
        self.driver: Vault = HvacVault(bao.server, clock)
        self.path = bao.path
        self.seal, self.unseal, self.soft_delete = bao.seal, bao.unseal, bao.soft_delete


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with openbao(tmp_path_factory.mktemp("bao")) as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[World]:
    fake = request.param == "fake"
    found: World = FakeWorld() if fake else RealWorld(request.getfixturevalue("bao"), clock)
    async with aclosing(found.driver):
        yield found
        found.unseal()
        for name in await found.driver.list_secrets(f"{found.path}/keys"):
            await found.driver.delete_secret(f"{found.path}/keys/{name}")


async def test_what_is_not_there_is_none(world: World) -> None:
    assert await world.driver.observe_secret(f"{world.path}/keys/u") is None
    assert await world.driver.list_secrets(f"{world.path}/keys") == ()
    await world.driver.delete_secret(f"{world.path}/keys/u")


async def test_the_first_value_stays(world: World) -> None:
    at = f"{world.path}/keys/u"
    assert await world.driver.ensure_secret(at, A) == A
    assert await world.driver.ensure_secret(at, B) == A
    assert await world.driver.observe_secret(at) == A


async def test_they_are_listed_and_deleted_for_good(world: World) -> None:
    for name in ("b", "a"):
        await world.driver.ensure_secret(f"{world.path}/keys/{name}", A)
    assert await world.driver.list_secrets(f"{world.path}/keys") == ("a", "b")
    for _ in range(2):
        await world.driver.delete_secret(f"{world.path}/keys/a")
    assert await world.driver.list_secrets(f"{world.path}/keys") == ("b",)
    assert await world.driver.ensure_secret(f"{world.path}/keys/a", B) == B


async def test_sealed_it_is_unavailable_and_nothing_is_missing(world: World) -> None:
    at = f"{world.path}/keys/u"
    await world.driver.ensure_secret(at, A)
    world.seal()
    with pytest.raises(SecretsUnavailableError):
        await world.driver.observe_secret(at)
    with pytest.raises(SecretsUnavailableError):
        await world.driver.ensure_secret(f"{world.path}/keys/v", A)
    with pytest.raises(SecretsUnavailableError):
        await world.driver.list_secrets(f"{world.path}/keys")
    world.unseal()
    assert await world.driver.observe_secret(at) == A


async def test_one_that_somebody_deleted_softly_is_not_missing(world: World) -> None:
    at = f"{world.path}/keys/u"
    await world.driver.ensure_secret(at, A)
    world.soft_delete("keys/u")
    with pytest.raises(SecretsUnavailableError):
        await world.driver.observe_secret(at)
    with pytest.raises(SecretsUnavailableError):
        await world.driver.ensure_secret(at, B)


# --- the real one alone ------------------------------------------------------------------------


@pytest.mark.docker
async def test_a_revoked_token_is_replaced(bao: Bao, clock: ManualClock) -> None:
    at = f"{bao.path}/keys/u"
    async with aclosing(HvacVault(bao.server, clock)) as vault:
        await vault.ensure_secret(at, A)
        bao.root.auth.token.revoke(vault._client.token)
        assert await vault.observe_secret(at) == A
        await vault.delete_secret(at)


@pytest.mark.docker
async def test_a_secret_id_that_was_renewed_in_its_file_is_entered_with(
    bao: Bao, clock: ManualClock, tmp_path: Path
) -> None:
    at, file, role = f"{bao.path}/keys/u", tmp_path / "secret-id", bao.root.auth.approle
    first, second = (role.generate_secret_id("bunker")["data"]["secret_id"] for _ in range(2))
    file.write_text(f"{first}\n")
    async with aclosing(HvacVault(replace(bao.server, secret_id=file), clock)) as vault:
        await vault.ensure_secret(at, A)
        role.destroy_secret_id("bunker", first)
        file.write_text(f"{second}\n")
        bao.root.auth.token.revoke(vault._client.token)
        assert await vault.observe_secret(at) == A
        await vault.delete_secret(at)


@pytest.mark.docker
async def test_a_token_is_renewed_in_time_and_replaced_after_its_end(
    bao: Bao, clock: ManualClock
) -> None:
    async with aclosing(HvacVault(bao.server, clock)) as vault:
        await vault.list_secrets(f"{bao.path}/keys")
        first = vault._client.token
        await clock.advance(3600 * 0.7)
        await vault.list_secrets(f"{bao.path}/keys")
        assert vault._client.token == first
        assert vault._renew_from_s > clock.monotonic()
        await clock.advance(3700)
        await vault.list_secrets(f"{bao.path}/keys")
        assert vault._client.token != first


@pytest.mark.docker
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret_id": "wrong"}, "role id or secret id"),
        ({"mount": "nothere"}, "policy"),
        ({"approle": "nothere"}, "Vault"),
        ({"address": "http://127.0.0.1:1"}, "reached"),
    ],
)
async def test_what_keeps_us_out_is_told(
    bao: Bao, clock: ManualClock, change: dict[str, Any], words: str
) -> None:
    async with aclosing(HvacVault(replace(bao.server, **change), clock)) as vault:
        with pytest.raises(SecretsUnavailableError, match=words):
            await vault.observe_secret(f"{bao.path}/keys/u")


@pytest.mark.docker
async def test_another_installations_folder_is_closed(bao: Bao, clock: ManualClock) -> None:
    async with aclosing(HvacVault(bao.server, clock)) as vault:
        with pytest.raises(SecretsUnavailableError, match="policy"):
            await vault.observe_secret("bunker/other/keys/u")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_odd_answers_are_no_secret_and_no_absence(answer: bytes) -> None:
    async with answering(answer) as port:
        server = VaultServer(f"http://127.0.0.1:{port}", "r", "s")
        async with aclosing(HvacVault(server, ManualClock())) as vault:
            with pytest.raises(SecretsUnavailableError):
                await vault.observe_secret("bunker/x/keys/u")


@pytest.mark.parametrize("verb", ["observe", "list", "ensure", "delete"])
async def test_an_engine_that_is_being_made_ready_is_no_absence(verb: str) -> None:
    """Right after it was mounted, KV version 2 answers everything with 400."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/login"):
            return web.json_response({"auth": {"client_token": "t", "lease_duration": 3600}})
        return web.json_response({"errors": ["Upgrading from non-versioned data"]}, status=400)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as port:
        server = VaultServer(f"http://127.0.0.1:{port}", "r", "s")
        async with aclosing(HvacVault(server, ManualClock())) as vault:
            asked: dict[str, Callable[[], Awaitable[object]]] = {
                "observe": lambda: vault.observe_secret("bunker/x/keys/u"),
                "list": lambda: vault.list_secrets("bunker/x/keys"),
                "ensure": lambda: vault.ensure_secret("bunker/x/keys/u", A),
                "delete": lambda: vault.delete_secret("bunker/x/keys/u"),
            }
            with pytest.raises(SecretsUnavailableError):
                await asked[verb]()


async def test_the_file_of_the_secret_id_is_read_each_time_it_is_entered(tmp_path: Path) -> None:
    file, good = tmp_path / "secret-id", ["first", "second"]

    async def enter(request: web.Request) -> web.Response:
        if (await request.json())["secret_id"] != good[0]:
            return web.json_response({"errors": ["invalid secret id"]}, status=400)
        return web.json_response({"auth": {"client_token": good[0], "lease_duration": 3600}})

    async def read(request: web.Request) -> web.Response:
        if request.headers.get("X-Vault-Token") != good[0]:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        return web.json_response({"data": {"data": A}})

    app = web.Application()
    app.router.add_post("/v1/auth/approle/login", enter)
    app.router.add_get("/v1/secret/data/{path:.*}", read)
    async with serving(app) as port:
        server = VaultServer(f"http://127.0.0.1:{port}", "r", file)
        async with aclosing(HvacVault(server, ManualClock())) as vault:
            with pytest.raises(SecretsUnavailableError, match=str(file)):
                await vault.observe_secret("bunker/x/keys/u")
            file.write_text("first\n")
            assert await vault.observe_secret("bunker/x/keys/u") == A
            del good[0]
            with pytest.raises(SecretsUnavailableError, match="secret id"):
                await vault.observe_secret("bunker/x/keys/u")
            file.write_text("second\n")
            assert await vault.observe_secret("bunker/x/keys/u") == A
