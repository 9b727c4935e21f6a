"""What may be written of mail domains, mailboxes and aliases, and what is claimed by it."""

from typing import Any

import pytest
from pydantic import ValidationError

from resources.kinds import MODELS
from resources.mailalias import MailAlias
from resources.mailbox import Mailbox
from resources.maildomain import MailDomain
from resources.meta import STORED, NameClaim


def made(kind: str, spec: dict[str, Any], name: str = "jane") -> Any:
    meta = {"name": name, "namespace": "shop", "uid": "u"}
    return MODELS[kind].model_validate({"metadata": meta, "spec": spec})


def mailbox(name: str = "jane", **spec: Any) -> Mailbox:
    found = made("Mailbox", {"domainRef": {"name": "main"}, **spec}, name)
    assert isinstance(found, Mailbox)
    return found


def alias(name: str = "jane", **spec: Any) -> MailAlias:
    spec = {"domainRef": {"name": "main"}, "targets": ["a@b.test"], **spec}
    found = made("MailAlias", spec, name)
    assert isinstance(found, MailAlias)
    return found


def domain(**spec: Any) -> MailDomain:
    found = made("MailDomain", {"domain": "example.org", **spec})
    assert isinstance(found, MailDomain)
    return found


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"domain": "Example.org"}, "lower case"),
        ({"domain": "localhost"}, "dot"),
        ({"domain": "example.org."}, "none at its end"),
        ({"domain": "co.uk"}, "public suffix"),
        ({"domain": "exa mple.org"}, "mail domain"),
        ({"domain": "a.org\nb"}, "mail domain"),
        ({"addresses": ["192.0.2.300"]}, "IP address"),
        ({"addresses": ["fe80::1%eth0"]}, "IP address"),
        ({"addresses": ["192.0.2.1", "192.0.2.1"]}, "twice"),
        ({"dkim": {"selector": "a.b"}}, "selector"),
        ({"dmarc": {"reportTo": "x@example.org; p=none"}}, "mail address"),
        ({"spf": "none"}, "strict"),
    ],
)
def test_a_domain_is_refused_with_the_rule(spec: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        domain(**spec)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"localPart": "Jane"}, "before the @"),
        ({"localPart": "jane+x"}, "before the @"),
        ({"localPart": "jane..doe"}, "before the @"),
        ({"localPart": "-jane"}, "before the @"),
        ({"localPart": "ja'ne"}, "before the @"),
        ({"quota": "1000"}, "whole MiB"),
        ({"quota": "0"}, "whole MiB"),
        ({"displayName": "J <x@y>"}, "display name"),
        ({"displayName": "J\r\nBcc: x"}, "display name"),
        ({"forward": {"to": []}}, "at least 1"),
        ({"forward": {"to": ['x@y.test"; stop']}}, "mail address"),
        ({"forward": {"to": ["x@y.test,z@y.test"]}}, "mail address"),
        ({"forward": {"to": ["|/bin/sh"]}}, "mail address"),
        ({"aliases": ["a", "a"]}, "twice"),
        ({"aliases": ["@"]}, "before the @"),
        ({"aliases": ["j", "jane"]}, "aliases has 'jane'"),
        ({"localPart": "jd", "aliases": ["jd"]}, "aliases has 'jd'"),
    ],
)
def test_a_mailbox_is_refused_with_the_rule(spec: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        mailbox(**spec)


def test_an_alias_may_be_as_the_record_is_named_if_its_address_is_not() -> None:
    assert mailbox(localPart="jane.doe", aliases=["jane"]).local_part == "jane.doe"


def test_a_mailbox_stored_with_itself_as_an_alias_is_read() -> None:
    obj = {"metadata": {"name": "jane", "namespace": "shop", "uid": "u"},
           "spec": {"domainRef": {"name": "main"}, "aliases": ["jane"]}}  # fmt: skip
    found = Mailbox.model_validate(obj, context=STORED)
    assert found.spec.aliases == ("jane",)
    assert found.claims == mailbox().claims


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"targets": []}, "at least 1"),
        ({"targets": ["x@y.test", "x@y.test"]}, "twice"),
        ({"targets": ["/var/mail/root"]}, "mail address"),
        ({"targets": [":include:/etc/passwd"]}, "mail address"),
        ({"catchAll": True, "localPart": "x"}, "catchAll"),
    ],
)
def test_an_alias_is_refused_with_the_rule(spec: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        alias(**spec)


def test_a_name_too_long_for_an_address_needs_a_local_part() -> None:
    with pytest.raises(ValidationError, match="localPart"):
        mailbox("a" * 65)
    assert mailbox("a" * 65, localPart="a").local_part == "a"
    with pytest.raises(ValidationError, match="localPart"):
        alias("a" * 65)


def test_a_catch_all_may_have_a_name_too_long_for_an_address() -> None:
    assert alias("a" * 65, catchAll=True).local_part == ""


def test_a_domain_claims_all_above_and_below_it() -> None:
    claim, _ = domain().claims
    assert claim == NameClaim(scope="maildomain", name="example.org", subtree=True)


def test_addresses_are_claimed_within_their_domain() -> None:
    server = "mail in shop"
    claimed = [claim.name for claim in mailbox(aliases=["j", "jd"]).claims]
    assert claimed == ["jane@main in shop", "j@main in shop", "jd@main in shop", server]
    assert alias(localPart="j").claims == mailbox("j").claims
    assert [claim.name for claim in alias(catchAll=True).claims] == ["@main in shop", server]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (domain(), domain(domain="example.net"), "spec.domain"),
        (domain(), domain(service="other"), "spec.service"),
        (mailbox(), mailbox(localPart="joe"), "spec.localPart"),
        (mailbox(), mailbox(domainRef={"name": "other"}), "spec.domainRef"),
        (alias(), alias(catchAll=True), "spec.localPart"),
        (alias(), alias(service="other"), "spec.service"),
    ],
)
def test_what_may_not_change(old: Any, new: Any, field: str) -> None:
    assert [error.field for error in new.check_update(old)] == [field]
    assert new.check_update(new) == ()


def test_naming_the_default_is_no_change() -> None:
    assert mailbox(localPart="jane").check_update(mailbox()) == ()
