"""Mailcow's oddities: what each answer means, asked of a real HTTP server that gives it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from drivers import mailcow_api as api
from drivers.mail import DomainSpec, MailboxSpec, MailServer, Password
from drivers.mailcow import MailcowMail
from tests.support.mailcow import KEY, Mailcow, danger, server_of, success

PASSWORD = Password("correct horse", "v1")
DOMAIN = DomainSpec("d.test", "owner-d", "claim-a")
BOX = MailboxSpec("alice@d.test", "owner-a", "claim-a", 10 << 20)


@dataclass
class World:
    mailcow: Mailcow
    server: MailServer
    driver: MailcowMail

    def answer(self, content: Any, status: int = 200) -> None:
        """What it says next, whatever is asked."""
        if isinstance(content, str):
            self.mailcow.fail = web.Response(text=content, status=status)
        else:
            self.mailcow.fail = web.json_response(content, status=status)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    mailcow = Mailcow()
    async with server_of(mailcow) as http:
        yield World(mailcow, MailServer(str(http.make_url("")), KEY), MailcowMail())


# --- answers ---


@pytest.mark.parametrize(
    ("content", "status", "error", "reason"),
    [
        pytest.param([danger("object_exists", "x")], 200, RetryableError, "NameTaken", id="taken"),
        pytest.param([danger("is_alias", "x")], 200, RetryableError, "NameTaken", id="an alias"),
        pytest.param(
            [danger("domain_not_found", "d")], 200, RetryableError, "DomainMissing", id="no domain"
        ),
        pytest.param([danger("max_mailbox_exceeded", 1, 1)], 200, RetryableError, "Full", id="max"),
        pytest.param(
            [danger("mailbox_quota_left_exceeded", 5)], 200, RetryableError, "Full", id="quota"
        ),
        pytest.param([danger("access_denied")], 200, TerminalError, "AccessDenied", id="denied"),
        pytest.param([danger("password_complexity")], 200, TerminalError, "Refused", id="weak"),
        pytest.param([danger("mailbox_invalid")], 200, TerminalError, "Refused", id="invalid"),
        pytest.param(
            [success("rl_saved", "x"), danger("object_exists", "x")],
            200,
            RetryableError,
            "NameTaken",
            id="one of two failed",
        ),
        pytest.param(
            {"type": "error", "msg": "Cannot find attributes in post data"},
            200,
            RetryableError,
            "ServerError",
            id="200 with an error object",
        ),
        pytest.param([], 200, RetryableError, "ServerError", id="says nothing"),
        pytest.param(None, 200, RetryableError, "ServerError", id="null"),
        pytest.param(["ok"], 200, RetryableError, "ServerError", id="no entries"),
        pytest.param(
            {"type": "error", "msg": "authentication failed"},
            401,
            TerminalError,
            "AccessDenied",
            id="wrong key",
        ),
        pytest.param(
            {"type": "error", "msg": "API read/write access denied"},
            403,
            TerminalError,
            "AccessDenied",
            id="read-only key",
        ),
        pytest.param(
            "<html>nginx</html>", 502, DriverUnavailableError, "DriverUnavailable", id="502"
        ),
        pytest.param(
            "<html>", 200, DriverUnavailableError, "DriverUnavailable", id="200 with HTML"
        ),
        pytest.param("", 200, DriverUnavailableError, "DriverUnavailable", id="200 with nothing"),
        pytest.param(
            {"type": "error", "msg": "route not found"},
            404,
            DriverUnavailableError,
            "DriverUnavailable",
            id="no such route",
        ),
    ],
)
async def test_what_an_answer_means(
    world: World, content: Any, status: int, error: type[Exception], reason: str
) -> None:
    world.answer(content, status)
    with pytest.raises(error) as caught:
        await api.add(world.server, "mailbox", {"password": "hunter2-canary"})
    assert getattr(caught.value, "reason", "") == reason
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_warning_beside_a_success_is_a_success(world: World) -> None:
    world.answer([{"type": "warning", "msg": "Could not move maildir"}, success("mailbox_removed")])
    await api.delete(world.server, "mailbox", ["a@d.test"])


@pytest.mark.parametrize("nothing", [{}, []], ids=["{}", "[]"])
async def test_what_is_not_there_is_nothing(world: World, nothing: Any) -> None:
    world.answer(nothing)
    assert await api.get(world.server, "mailbox/a@d.test") is None
    world.answer(nothing)
    assert await api.items(world.server, "alias/all") == []


async def test_a_list_with_holes_is_a_list(world: World) -> None:
    world.answer({"0": {"id": 1}, "2": {"id": 2}})
    assert [each["id"] for each in await api.items(world.server, "alias/all")] == [1, 2]


async def test_an_error_in_place_of_an_object_is_an_error(world: World) -> None:
    world.answer({"type": "error", "msg": "something broke"})
    with pytest.raises(RetryableError) as caught:
        await api.get(world.server, "domain/d.test")
    assert caught.value.reason == "ServerError"


async def test_a_redirect_takes_the_key_nowhere(world: World) -> None:
    world.mailcow.fail = web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})
    with pytest.raises(DriverUnavailableError):
        await api.get(world.server, "domain/d.test")


async def test_an_endless_answer_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_BYTES", 1000)
    world.answer([{"id": number} for number in range(1000)])
    with pytest.raises(DriverUnavailableError):
        await api.items(world.server, "alias/all")


async def test_a_slow_server_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "TIMEOUT_S", 0.2)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(DriverUnavailableError):
            await api.get(MailServer(f"http://127.0.0.1:{port}", KEY), "domain/d.test")
        assert await api.opens(f"imap://127.0.0.1:{port}", "a@d.test", "x") is None


async def test_a_wrong_key_is_tried_once(world: World) -> None:
    wrong = MailServer(world.server.endpoint, "wrong")
    with pytest.raises(TerminalError):
        await world.driver.ensure_domain(wrong, DOMAIN)
    assert len(world.mailcow.calls) == 1


# --- half-done work ---


async def test_what_was_made_without_its_answer_is_found_again(world: World) -> None:
    await world.driver.ensure_domain(world.server, DOMAIN)
    await world.driver.ensure_mailbox(world.server, BOX, PASSWORD)
    world.mailcow.filters.clear()
    forwarding = MailboxSpec(**{**_fields(BOX), "forward": ("x@out.test",)})
    for _ in range(2):
        await world.driver.ensure_mailbox(world.server, forwarding, PASSWORD)
    assert len(world.mailcow.filters) == 1
    assert len(world.mailcow.mailboxes) == 1


async def test_two_forwarding_filters_become_one(world: World) -> None:
    await world.driver.ensure_domain(world.server, DOMAIN)
    forwarding = MailboxSpec(**{**_fields(BOX), "forward": ("x@out.test",)})
    await world.driver.ensure_mailbox(world.server, forwarding, PASSWORD)
    (first,) = world.mailcow.filters.values()
    world.mailcow.filters["77"] = {**first, "id": 77}
    found = await world.driver.observe_mailbox(world.server, BOX.address, PASSWORD)
    assert found is not None
    assert found.forward == ()
    await world.driver.ensure_mailbox(world.server, forwarding, PASSWORD)
    found = await world.driver.observe_mailbox(world.server, BOX.address, PASSWORD)
    assert found is not None
    assert found.forward == ("x@out.test",)
    assert len(world.mailcow.filters) == 1


async def test_tags_of_others_stay_and_ours_are_not_doubled(world: World) -> None:
    await world.driver.ensure_domain(world.server, DOMAIN)
    await world.driver.ensure_mailbox(world.server, BOX, PASSWORD)
    world.mailcow.mailboxes[BOX.address]["tags"].append("accounting")
    for version in ("v2", "v3", "v3"):
        await world.driver.ensure_mailbox(world.server, BOX, Password("another one", version))
    tags = world.mailcow.mailboxes[BOX.address]["tags"]
    assert sorted(tags) == [
        "accounting",
        "bunker-claim:claim-a",
        "bunker-owner:owner-a",
        "bunker-password:v3",
    ]


async def test_kept_mail_is_not_given_to_another_namespace(world: World) -> None:
    await world.driver.ensure_domain(world.server, DOMAIN)
    await world.driver.ensure_mailbox(world.server, BOX, PASSWORD)
    await world.driver.delete_mailbox(world.server, BOX.address, owner=BOX.owner, keep_mail=True)
    await world.driver.delete_domain(world.server, DOMAIN.name, owner=DOMAIN.owner)
    assert world.mailcow.mailboxes[BOX.address]["active"] == 0
    other = DomainSpec(DOMAIN.name, "owner-x", "claim-b")
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_domain(world.server, other)
    assert caught.value.reason == "NotOurs"


async def test_what_somebody_made_by_hand_is_not_touched(world: World) -> None:
    world.mailcow.add_domain({"domain": "d.test", "active": "1", "mailboxes": 1, "maxquota": 1,
                              "quota": 1})  # fmt: skip
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_domain(world.server, DOMAIN)
    assert caught.value.reason == "NotOurs"
    assert await world.driver.list_owned(world.server) == ()


async def test_without_imap_a_password_is_known_by_its_version(world: World) -> None:
    await world.driver.ensure_domain(world.server, DOMAIN)
    await world.driver.ensure_mailbox(world.server, BOX, PASSWORD)
    for version, known in (("v1", True), ("v2", False)):
        found = await world.driver.observe_mailbox(
            world.server, BOX.address, Password("whatever", version)
        )
        assert found is not None
        assert found.password_ok is known


def _fields(spec: MailboxSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__slots__}


@pytest.mark.parametrize("length", [60, 110, 111, 180])
async def test_aliases_of_a_mailbox_with_a_long_address_are_its_own(
    world: World, length: int
) -> None:
    """A comment of over 160 bytes is refused."""
    domain = ".".join(["d" * (length - len("alice@") - 46), "d" * 40, "test"])
    box = MailboxSpec(
        f"alice@{domain}",
        "1f2e3d4c-0000-4000-8000-000000000001",
        "claim-a",
        10 << 20,
        aliases=(f"info@{domain}",),
    )
    assert len(box.address) == length
    await world.driver.ensure_domain(world.server, replace(DOMAIN, name=domain))
    for _ in range(2):
        await world.driver.ensure_mailbox(world.server, box, PASSWORD)
    found = await world.driver.observe_mailbox(world.server, box.address, PASSWORD)
    assert found is not None
    assert found.aliases == box.aliases
    assert [each.what for each in await world.driver.list_owned(world.server)] == [
        "domain",
        "mailbox",
    ]
    await world.driver.ensure_mailbox(world.server, replace(box, aliases=()), PASSWORD)
    assert not world.mailcow.aliases
