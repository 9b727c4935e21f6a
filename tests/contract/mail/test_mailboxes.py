"""Mailboxes, on each mail server."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError
from drivers.mail import Password
from tests.contract.mail.asked import PASSWORD, alias, domain, expected, look, mailbox, put
from tests.contract.mail.worlds import World


async def test_a_mailbox_is_as_asked_for_and_may_be_asked_for_twice(served: World) -> None:
    spec = mailbox(served, display_name="Alice Ä. 'Quoted'", aliases=(f"al@{served.domain}",))
    for _ in range(2):
        await put(served, spec)
    assert await look(served, spec) == expected(spec)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"quota_bytes": 20 << 20}, id="quota"),
        pytest.param({"active": False}, id="disabled"),
        pytest.param({"display_name": "Somebody"}, id="name"),
        pytest.param({"forward": ("x@out.test", "y@out.test")}, id="forward with copy"),
        pytest.param({"forward": ("x@out.test",), "keep_copy": False}, id="forward without copy"),
        pytest.param({"aliases": ("a", "b")}, id="aliases"),
    ],
)
async def test_each_field_changes_and_changes_back(served: World, changes: Any) -> None:
    if "aliases" in changes:
        changes = {"aliases": tuple(f"{each}@{served.domain}" for each in changes["aliases"])}
    plain = mailbox(served)
    changed = replace(plain, **changes)
    await put(served, plain)
    fresh = await look(served, plain)
    await put(served, changed)
    assert await look(served, changed) == expected(changed)
    await put(served, plain)
    assert await look(served, plain) == fresh


async def test_forwarding_may_go_elsewhere(served: World) -> None:
    for targets in (("x@out.test",), ("y@out.test", "z@out.test")):
        spec = mailbox(served, forward=targets)
        await put(served, spec)
        assert (await look(served, spec)).forward == targets


async def test_a_wrong_password_is_told(served: World) -> None:
    await put(served, mailbox(served))
    assert not (await look(served, mailbox(served), Password("wrong one", "v0"))).password_ok


@pytest.mark.parametrize("value", ["second secret", "with 'quotes' \" \\ $1 :colon", "päßwörd ½"])
async def test_after_a_change_only_the_new_password_opens(served: World, value: str) -> None:
    new = Password(value, "v2")
    await put(served, mailbox(served))
    for _ in range(2):
        await put(served, mailbox(served), new)
    assert (await look(served, mailbox(served), new)).password_ok
    assert not (await look(served, mailbox(served), PASSWORD)).password_ok


async def test_a_password_changed_behind_our_back_is_seen(served: World) -> None:
    await put(served, mailbox(served))
    served.set_password(mailbox(served).address, "somebody's own")
    assert not (await look(served, mailbox(served))).password_ok
    await put(served, mailbox(served))
    assert (await look(served, mailbox(served))).password_ok


async def test_a_removed_mailbox_is_made_again(served: World) -> None:
    await put(served, mailbox(served))
    served.remove_mailbox(mailbox(served).address)
    found = await served.driver.observe_mailbox(served.server, mailbox(served).address, PASSWORD)
    assert found is None
    await put(served, mailbox(served))
    assert await look(served, mailbox(served)) == expected(mailbox(served))


async def test_one_that_was_switched_off_is_seen(served: World) -> None:
    await put(served, mailbox(served))
    served.switch_off(mailbox(served).address)
    assert not (await look(served, mailbox(served))).active


async def test_mail_is_counted(served: World) -> None:
    await put(served, mailbox(served))
    served.deliver(mailbox(served).address)
    assert (await look(served, mailbox(served))).used_bytes > 0


async def test_kept_mail_is_found_again_by_the_same_claim(served: World) -> None:
    spec = mailbox(served)
    await put(served, spec)
    served.deliver(spec.address)
    for _ in range(2):
        await served.driver.delete_mailbox(
            served.server, spec.address, owner=spec.owner, keep_mail=True
        )
    assert await served.driver.observe_mailbox(served.server, spec.address, PASSWORD) is None
    again = replace(spec, owner="owner-2")
    await put(served, again, Password("another one", "v2"))
    found = await look(served, again, Password("another one", "v2"))
    assert found.used_bytes > 0
    assert found == expected(again, used_bytes=found.used_bytes)


async def test_mail_that_is_not_kept_is_gone(served: World) -> None:
    spec = mailbox(served, forward=("x@out.test",), aliases=(f"al@{served.domain}",))
    await put(served, spec)
    served.deliver(spec.address)
    await served.driver.delete_mailbox(
        served.server, spec.address, owner=spec.owner, keep_mail=False
    )
    await put(served, mailbox(served))
    assert await look(served, mailbox(served)) == expected(mailbox(served))


async def test_a_domain_is_deleted_though_mail_of_it_is_kept(served: World) -> None:
    spec = mailbox(served)
    await put(served, spec)
    served.deliver(spec.address)
    await served.driver.delete_mailbox(
        served.server, spec.address, owner=spec.owner, keep_mail=True
    )
    await served.driver.delete_domain(served.server, served.domain, owner="owner-d")
    assert await served.driver.observe_domain(served.server, served.domain) is None
    await served.driver.ensure_domain(served.server, domain(served, owner="owner-d2"))
    await put(served, spec)
    assert (await look(served, spec)).used_bytes > 0


async def test_another_owners_mailbox_is_left_alone(served: World) -> None:
    await put(served, mailbox(served))
    with pytest.raises(RetryableError) as caught:
        await put(served, mailbox(served, owner="other", quota_bytes=1 << 20))
    with pytest.raises(RetryableError) as again:
        await served.driver.delete_mailbox(
            served.server, mailbox(served).address, owner="other", keep_mail=False
        )
    assert [caught.value.reason, again.value.reason] == ["NotOurs", "NotOurs"]
    assert await look(served, mailbox(served)) == expected(mailbox(served))


async def test_an_address_needs_a_domain_of_its_own_namespace(served: World) -> None:
    with pytest.raises(RetryableError) as missing:
        await put(served, replace(mailbox(served), address="a@nowhere.test"))
    with pytest.raises(RetryableError) as foreign:
        await put(served, mailbox(served, "mallory", claim="claim-b"))
    with pytest.raises(RetryableError) as foreign_alias:
        await served.driver.ensure_alias(served.server, alias(served, claim="claim-b"))
    reasons = [each.value.reason for each in (missing, foreign, foreign_alias)]
    assert reasons == ["DomainMissing", "NotOurs", "NotOurs"]
