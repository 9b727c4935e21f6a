"""Names outside: each held by one record, DNS names with all that is above and below them."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import RetryableError
from controlplane.names import NameBook
from controlplane.records import Key
from resources.meta import NameClaim

A: Final = Key("Bucket", "shop", "a")
B: Final = Key("Bucket", "shop", "b")
OTHER: Final = Key("Bucket", "rival", "x")
PLATFORM: Final = Key("Zone", "platform", "home")


def bucket(name: str) -> NameClaim:
    return NameClaim(scope="bucket", name=name)


def domain(name: str, scope: str = "zone") -> NameClaim:
    return NameClaim(scope=scope, name=name, subtree=True)


def refusal(book: NameBook, uid: str, key: Key, *claims: NameClaim) -> str:
    with pytest.raises(RetryableError) as refused:
        book.assign(uid, key, claims)
    assert refused.value.reason == "NameTaken"
    return str(refused.value)


def test_second_is_told_who_has_it_only_within_its_namespace() -> None:
    book = NameBook()
    assert book.assign("1", A, (bucket("pics"),)) == (bucket("pics"),)
    assert "Bucket 'a'" in refusal(book, "2", B, bucket("pics"))
    told = refusal(book, "3", OTHER, bucket("pics"))
    assert "another namespace's Bucket" in told
    assert "shop" not in told


def test_refused_assign_takes_nothing() -> None:
    book = NameBook()
    book.assign("1", A, (bucket("pics"),))
    refusal(book, "2", B, bucket("free"), bucket("pics"))
    assert book.held("2") == ()
    assert book.assign("3", OTHER, (bucket("free"),)) == (bucket("free"),)


def test_old_names_stay_until_settled() -> None:
    book = NameBook()
    book.assign("1", A, (bucket("old"),))
    assert set(book.assign("1", A, (bucket("new"),))) == {bucket("old"), bucket("new")}
    refusal(book, "2", B, bucket("old"))
    book.settle("1", A, (bucket("new"),))
    assert book.wakeable() == (B,)
    book.assign("2", B, (bucket("old"),))


def test_those_who_hold_anothers_name_share_it_and_keep_it_from_the_rest() -> None:
    mail = NameClaim(scope="network", name="mail in shop", of="Platform/mail")
    own = NameClaim(scope="network", name="mail in shop")
    app = Key("App", "shop", "mail")
    book = NameBook()
    book.assign("1", A, (mail,))
    book.assign("2", B, (mail,))
    told = refusal(book, "3", app, own)
    assert "taken by Platform/mail, which Bucket 'a' of this namespace works on" in told
    book.release("1")
    refusal(book, "3", app, own)
    book.release("2")
    assert book.wakeable() == (app,)
    book.assign("3", app, (own,))
    told = refusal(book, "1", A, mail)
    assert "Platform/mail's, which it works on, and taken by App 'mail' of this" in told
    assert "rename the latter" in told


def test_who_is_called_as_what_it_works_on_is_refused() -> None:
    app = Key("App", "shop", "ingress")
    own = NameClaim(scope="network", name="ingress in shop")
    told = refusal(NameBook(), "1", app, own, own.model_copy(update={"of": "Platform/ingress"}))
    assert "Platform/ingress's, which it works on, and taken by App 'ingress'" in told


def test_release_wakes_those_that_wait_once() -> None:
    book = NameBook()
    book.assign("1", A, (bucket("pics"),))
    refusal(book, "2", B, bucket("pics"))
    assert book.wakeable() == ()
    book.release("1")
    assert book.wakeable() == (B,)
    assert book.wakeable() == ()


@pytest.mark.parametrize("name", ["example.com", "www.example.com", "com"])
def test_another_namespace_gets_no_name_above_or_below(name: str) -> None:
    book = NameBook()
    book.assign("1", A, (domain("example.com"),))
    refusal(book, "2", OTHER, domain(name, scope="mail"))


@pytest.mark.parametrize("name", ["example.org", "myexample.com", "a.b"])
def test_another_namespace_gets_names_beside_it(name: str) -> None:
    book = NameBook()
    book.assign("1", A, (domain("example.com"),))
    assert book.assign("2", OTHER, (domain(name),)) == (domain(name),)


def test_one_namespace_has_a_name_in_two_scopes_but_not_twice_in_one() -> None:
    book = NameBook()
    book.assign("1", A, (domain("example.com"),))
    book.assign("2", B, (domain("example.com", scope="mail"), domain("www.example.com")))
    refusal(book, "3", B, domain("example.com"))


def test_tenants_get_names_below_the_platforms_but_not_its_own() -> None:
    book = NameBook()
    book.assign("1", PLATFORM, (domain("apps.example"),))
    book.assign("2", A, (domain("shop.apps.example", scope="host"),))
    refusal(book, "3", OTHER, domain("apps.example", scope="host"))
    refusal(book, "4", OTHER, domain("shop.apps.example", scope="host"))


NAMES = st.sampled_from(["a", "b.a", "c.b.a", "d.b.a", "x", "y.x"])
CLAIMS = st.tuples(
    st.sampled_from(["1", "2", "3", "4"]),
    st.lists(st.builds(domain, NAMES, st.sampled_from(["zone", "mail"])), max_size=2, unique=True),
)


@given(st.lists(CLAIMS, max_size=12))
def test_no_two_namespaces_ever_hold_overlapping_names(
    asked: list[tuple[str, list[NameClaim]]],
) -> None:
    keys = {"1": A, "2": B, "3": OTHER, "4": Key("Zone", "third", "z")}
    book = NameBook()
    for uid, claims in asked:
        try:
            book.assign(uid, keys[uid], tuple(claims))
        except RetryableError:
            continue
        book.settle(uid, keys[uid], tuple(claims))
        held = [(keys[u], claim) for u in keys for claim in book.held(u)]
        for i, (key, one) in enumerate(held):
            for other_key, two in held[i + 1 :]:
                near = one.name == two.name or one.name.endswith("." + two.name)
                near = near or two.name.endswith("." + one.name)
                assert not near or key.namespace == other_key.namespace
                assert key == other_key or (one.scope, one.name) != (two.scope, two.name)
    again = NameBook()
    again.load((uid, keys[uid], book.held(uid)) for uid in keys)
    assert all(again.held(uid) == book.held(uid) for uid in keys)
