"""From any history of edits, outside harm and faults, the mail kinds settle where their specs say.

The oracle reads the fake server and the specs, and knows nothing of plans.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controlplane.errors import ControlPlaneError, DriverUnavailableError, RetryableError
from controlplane.plan import Resolved
from drivers.fake.mail import FakeDomain, FakeMailServer
from drivers.mail import AliasSpec, DomainSpec, MailboxSpec
from resources.meta import Record
from tests.support.keys import rsa_key
from tests.unit.reconcilers.world import NS_UID, UID, World, record

VERBS = st.sampled_from(["observe_mailbox", "ensure_mailbox", "ensure_alias", "delete_mailbox",
                         "ensure_domain", "observe_domain", "delete_alias"])  # fmt: skip
LOOK = st.booleans()
"""Whether it may settle right after a rule: drift of one kind hides behind that of another."""
DOMAIN = "example.org"
FOREIGN = MailboxSpec(f"theirs@{DOMAIN}", "other", NS_UID, 1 << 20)
REF = {"domainRef": {"name": "shop"}}


class MailMachine(RuleBasedStateMachine):
    """A domain, a mailbox and an alias, and everyone who interferes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.world.mail.servers["c1"] = FakeMailServer()
        status = {"containerId": "c1"}
        self.world.services["mail"] = Resolved("Platform", "mail", "m", True, "", status=status)
        ref = Resolved("MailDomain", "shop", "d", True, "", spec={"domain": DOMAIN})
        self.world.refs["spec.domainRef"] = ref
        self.domain: dict[str, Any] = {}
        self.mailbox: dict[str, Any] = {}
        self.alias: dict[str, Any] = {"targets": ["x@out.test"]}
        self.away = False

    @initialize()
    def begin(self) -> None:
        self.settle()
        self.at.mailboxes[FOREIGN.address] = self.at.mailboxes.pop(f"shop@{DOMAIN}")
        self.at.mailboxes[FOREIGN.address].spec = FOREIGN

    def teardown(self) -> None:
        self.loop.close()

    @property
    def at(self) -> FakeMailServer:
        return self.world.mail.servers["c1"]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def records(self) -> tuple[Record, ...]:
        # the address of the alias is not the mailbox's
        return (
            record("MailDomain", {"domain": DOMAIN, **self.domain}),
            record("Mailbox", {**REF, **self.mailbox}),
            record("MailAlias", {**REF, "localPart": "info", **self.alias}),
        )

    def attempt(self) -> None:
        for each in self.records():
            for _ in range(6):
                try:
                    self.run(self.world.settle(each))
                except ControlPlaneError:
                    continue
                break

    def settle(self) -> None:
        self.attempt()
        before = self.world.mail.writes
        for each in self.records():
            plan, report = self.run(self.world.look(each))
            assert not plan.steps
            assert report.ready
        assert self.world.mail.writes == before, "a converged pass wrote something"

    def look(self, now: bool) -> None:
        if now:
            self.it_settles()

    # -- edits

    @rule(enabled=st.booleans(), selector=st.sampled_from(["s1", "s2"]), look=LOOK)
    def edit_domain(self, enabled: bool, selector: str, look: bool) -> None:
        self.domain = {"enabled": enabled, "dkim": {"selector": selector}}
        self.look(look)

    @rule(
        enabled=st.booleans(),
        quota=st.sampled_from(["1Mi", "2Gi"]),
        forward=st.sampled_from([None, {"to": ["b@o.test", "a@o.test"]},
                                 {"to": ["a@o.test"], "keepCopy": False}]),
        aliases=st.sampled_from([[], ["one"], ["two", "one"]]),
        name=st.sampled_from(["", "Jane"]),
        look=LOOK,
    )  # fmt: skip
    def edit_mailbox(
        self, enabled: bool, quota: str, forward: Any, aliases: Any, name: str, look: bool
    ) -> None:
        self.mailbox = {
            "enabled": enabled,
            "quota": quota,
            "displayName": name,
            "aliases": aliases,
            **({"forward": forward} if forward else {}),
        }
        self.look(look)

    @rule(
        enabled=st.booleans(),
        to=st.sampled_from([["x@o.test"], ["y@o.test", "x@o.test"]]),
        look=LOOK,
    )
    def edit_alias(self, enabled: bool, to: list[str], look: bool) -> None:
        self.alias = {"enabled": enabled, "targets": to}
        self.look(look)

    @rule(password=st.sampled_from([b"password one", b"password two"]))
    def rotate(self, password: bytes) -> None:
        if found := self.world.values.data.get(("Secret", "shop-mailbox")):
            found["password"] = password

    @rule(number=st.integers(0, 1))
    def new_key(self, number: int) -> None:
        if found := self.world.values.data.get(("Secret", "shop-dkim")):
            found["private-key"] = rsa_key(number).encode()

    # -- others

    @rule(
        harm=st.sampled_from(["gone", "password", "quota", "off", "forward", "aliases"]), look=LOOK
    )
    def harm_mailbox(self, harm: str, look: bool) -> None:
        found = self.at.mailboxes.get(f"shop@{DOMAIN}")
        if found is None:
            return
        if harm == "gone":
            del self.at.mailboxes[f"shop@{DOMAIN}"]
        elif harm == "password":
            found.password = "theirs"
        else:
            changes: dict[str, Any] = {
                "quota": {"quota_bytes": 7},
                "off": {"active": not found.spec.active},
                "forward": {"forward": ("thief@o.test",)},
                "aliases": {"aliases": ()},
            }
            found.spec = replace(found.spec, **changes[harm])
        self.look(look)

    @rule(harm=st.sampled_from(["gone", "targets", "off"]), look=LOOK)
    def harm_alias(self, harm: str, look: bool) -> None:
        found = self.at.aliases.pop(f"info@{DOMAIN}", None)
        if found is not None and harm == "targets":
            self.at.aliases[found.address] = replace(found, targets=("thief@o.test",))
        elif found is not None and harm == "off":
            self.at.aliases[found.address] = replace(found, active=not found.active)
        self.look(look)

    @rule(harm=st.sampled_from(["key", "selector", "off"]), look=LOOK)
    def harm_domain(self, harm: str, look: bool) -> None:
        found = self.at.domains.get(DOMAIN)
        if found is None:
            return
        if harm == "key":
            found.key = ""
        elif harm == "selector":
            found.spec = replace(found.spec, selector="theirs")
        else:
            found.spec = replace(found.spec, active=not found.spec.active)
        self.look(look)

    # -- faults

    @rule(verb=VERBS, away=st.booleans())
    def fault(self, verb: str, away: bool) -> None:
        error = DriverUnavailableError("mail", "planted") if away else RetryableError("planted")
        self.world.mail.faults.fail_next(verb, error)
        self.attempt()

    @rule(verb=VERBS)
    def lost_reply(self, verb: str) -> None:
        self.world.mail.lost.add(verb)
        self.attempt()

    # -- always

    @invariant()
    def foreign_ones_are_untouched(self) -> None:
        if FOREIGN.address in self.at.mailboxes:
            assert self.at.mailboxes[FOREIGN.address].spec == FOREIGN

    @invariant()
    def what_runs_is_of_these_records(self) -> None:
        assert set(self.at.domains) <= {DOMAIN}
        assert set(self.at.aliases) <= {f"info@{DOMAIN}"}

    @rule()
    def it_settles(self) -> None:
        self.settle()
        self.check()

    @rule(mail=st.text(min_size=1, max_size=3))
    def deleting_keeps_the_mail(self, mail: str) -> None:
        """And the next one of the address has it."""
        self.settle()
        self.at.mailboxes[f"shop@{DOMAIN}"].mail = [mail]
        self.run(self.world.settle(record("Mailbox", {**REF, **self.mailbox}, deleting=True)))
        assert f"shop@{DOMAIN}" not in self.at.mailboxes
        self.settle()
        assert self.at.mailboxes[f"shop@{DOMAIN}"].mail == [mail]

    def check(self) -> None:
        """The oracle: what the server holds, against what the specs say."""
        dkim = self.world.values.data["Secret", "shop-dkim"]["private-key"].decode()
        on, selector = self.domain.get("enabled", True), self.domain.get("dkim", {})
        wanted = DomainSpec(DOMAIN, UID, NS_UID, on, selector.get("selector", "bunker"))
        assert self.at.domains[DOMAIN] == FakeDomain(wanted, dkim)
        mine = self.at.mailboxes[f"shop@{DOMAIN}"]
        forward = self.mailbox.get("forward", {})
        assert mine.spec == MailboxSpec(
            f"shop@{DOMAIN}",
            UID,
            NS_UID,
            {"1Mi": 2**20, "2Gi": 2**31}.get(self.mailbox.get("quota", ""), 2**30),
            self.mailbox.get("enabled", True),
            self.mailbox.get("displayName", ""),
            tuple(sorted(forward.get("to", ()))),
            forward.get("keepCopy", True),
            tuple(sorted(f"{each}@{DOMAIN}" for each in self.mailbox.get("aliases", ()))),
        )
        secret = self.world.values.data["Secret", "shop-mailbox"]
        assert mine.password == secret["password"].decode()
        targets = tuple(sorted(self.alias["targets"]))
        on = self.alias.get("enabled", True)
        info = f"info@{DOMAIN}"
        assert self.at.aliases == {info: AliasSpec(info, UID, NS_UID, targets, on)}


TestMail = MailMachine.TestCase
