"""A Mailcow that exists only in memory, behind its real API over HTTP.

Written from its published description (data/web/api/openapi.yaml of mailcow-dockerized) and the
PHP that serves it, oddities included: failures with status 200, lists of entries, `{}` for what
isn't there, MiB in requests and bytes in answers, tags that are only ever added, names that are
never taken away, a DKIM key of its own for each new domain, one active filter a mailbox, JSON read
only with its content type.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from drivers.mail_keys import public_key

KEY = "a-read-write-key"
MIB = 1 << 20
Entry = dict[str, Any]
Table = dict[str, Entry]


def success(*msg: Any) -> Entry:
    return {"type": "success", "log": ["mailbox"], "msg": list(msg)}


def danger(code: str, *arguments: Any) -> Entry:
    message = [code, *arguments] if arguments else code
    return {"type": "danger", "log": ["mailbox"], "msg": message}


@dataclass
class Mailcow:
    """What it holds, and how it fails next."""

    domains: Table = field(default_factory=dict)
    mailboxes: Table = field(default_factory=dict)
    aliases: Table = field(default_factory=dict)
    """By id. A mailbox is an alias of itself, which no answer shows."""
    filters: Table = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Domain -> (selector, private key)."""
    passwords: dict[str, str] = field(default_factory=dict)
    fail: web.Response | None = None
    """The next answer, whatever is asked."""
    changes: int = 0
    calls: list[str] = field(default_factory=list)
    bad_logins: int = 0
    _next_id: int = 1

    # --- add ---

    def add_domain(self, given: Entry) -> list[Entry]:
        name = given["domain"]
        if name in self.domains:
            return [danger("domain_exists", name)]
        if int(given["maxquota"]) > int(given["quota"]):
            return [danger("mailbox_quota_exceeds_domain_quota")]
        self.domains[name] = {
            "domain_name": name,
            "active": int(given["active"]),
            "tags": list(given.get("tags", [])),
            "max_num_mboxes_for_domain": int(given["mailboxes"]),
            "max_quota_for_mbox": int(given["maxquota"]) * MIB,
            "max_quota_for_domain": int(given["quota"]) * MIB,
        }
        found = [success("rl_saved", name)]
        if given.get("dkim_selector", "dkim"):
            self.keys[name] = ("dkim", "its own")
            found.append(success("dkim_added", name))
        return [*found, success("domain_added", name)]

    def add_mailbox(self, given: Entry) -> list[Entry]:
        name = f"{given['local_part']}@{given['domain']}"
        domain = self.domains.get(given["domain"])
        if name in self.mailboxes:
            return [danger("object_exists", name)]
        if any(each["address"] == name for each in self.aliases.values()):
            return [danger("is_alias", name)]
        if domain is None:
            return [danger("domain_not_found", given["domain"])]
        if (refused := self._weak(given)) is not None:
            return [refused]
        if int(given["quota"]) * MIB > domain["max_quota_for_mbox"]:
            return [danger("mailbox_quota_exceeded", domain["max_quota_for_mbox"] // MIB)]
        self.mailboxes[name] = {
            "username": name,
            "domain": given["domain"],
            "local_part": given["local_part"],
            "name": given["name"],
            "quota": int(given["quota"]) * MIB,
            "quota_used": 0,
            "active": int(given["active"]),
            "tags": list(given.get("tags", [])),
        }
        self.passwords[name] = given["password"]
        return [success("mailbox_added", name)]

    def add_alias(self, given: Entry) -> list[Entry]:
        address = given["address"]
        if address in self.mailboxes or self._alias(address):
            return [danger("is_alias_or_mailbox", address)]
        if len(given.get("private_comment", "")) > 160:
            return [danger("comment_too_long")]
        if address.rpartition("@")[2] not in self.domains:
            return [danger("domain_not_found", address.rpartition("@")[2])]
        identity = self._id()
        self.aliases[identity] = {
            "id": int(identity),
            "address": address,
            "domain": address.rpartition("@")[2],
            "goto": given["goto"],
            "active": int(given["active"]),
            "private_comment": given.get("private_comment"),
            "public_comment": None,
        }
        return [success("alias_added", address, identity)]

    def add_filter(self, given: Entry) -> list[Entry]:
        if given["username"] not in self.mailboxes:
            return [danger("access_denied")]
        identity = self._id()
        self._only(given["username"], given["filter_type"])
        self.filters[identity] = {**given, "id": int(identity), "active": int(given["active"])}
        return [success("mailbox_modified", given["username"])]

    def add_dkim_import(self, given: Entry) -> list[Entry]:
        if given["domain"] in self.keys and not int(given.get("overwrite_existing", 0)):
            return [danger("dkim_domain_or_sel_exists", given["domain"])]
        if not public_key(given["private_key_file"]):
            return [danger("private_key_error", "error:0909006C:PEM routines")]
        self.keys[given["domain"]] = (given["dkim_selector"], given["private_key_file"].strip())
        return [success("dkim_added", given["domain"])]

    # --- edit ---

    def edit_domain(self, name: str, given: Entry) -> Entry:
        found = self.domains.get(name)
        if found is None:
            return danger("access_denied")
        found["active"] = int(given.get("active") or found["active"])
        found["tags"] += given.get("tags", [])
        return success("domain_modified", name)

    def edit_mailbox(self, name: str, given: Entry) -> Entry:
        found = self.mailboxes.get(name)
        if found is None:
            return danger("access_denied")
        if given.get("password"):
            if (refused := self._weak(given)) is not None:
                return refused
            self.passwords[name] = given["password"]
        found["name"] = given.get("name") or found["name"]
        found["active"] = int(given.get("active") or found["active"])
        if "quota" in given:
            found["quota"] = int(given["quota"]) * MIB
        found["tags"] += given.get("tags", [])
        return success("mailbox_modified", name)

    def edit_alias(self, identity: str, given: Entry) -> Entry:
        found = self.aliases.get(identity)
        if found is None:
            return danger("alias_invalid", identity)
        found.update({key: given[key] for key in ("goto", "private_comment") if key in given})
        found["active"] = int(given.get("active") or found["active"])
        return success("alias_modified", found["address"])

    def edit_filter(self, identity: str, given: Entry) -> Entry:
        found = self.filters.get(identity)
        if found is None:
            return danger("access_denied")
        self._only(found["username"], found["filter_type"])
        found.update({**given, "active": int(given["active"])})
        return success("mailbox_modified", found["username"])

    # --- delete ---

    def delete_domain(self, name: str) -> Entry:
        if any(each["domain"] == name for each in self.mailboxes.values()):
            return danger("domain_not_empty", name)
        if self.domains.pop(name, None) is None:
            return danger("access_denied")
        self.aliases = {k: v for k, v in self.aliases.items() if v["domain"] != name}
        return success("domain_removed", name)

    def delete_mailbox(self, name: str) -> list[Entry]:
        if self.mailboxes.pop(name, None) is None:
            return [danger("access_denied")]
        self.passwords.pop(name)
        self.filters = {k: v for k, v in self.filters.items() if v["username"] != name}
        # it can't always move the mail away, and says so beside its success
        warning = {"type": "warning", "log": [], "msg": "Could not move maildir to garbage"}
        return [warning, success("mailbox_removed", name)]

    def delete_alias(self, identity: str) -> Entry:
        found = self.aliases.pop(identity, None)
        return danger("access_denied") if found is None else success("alias_removed", identity)

    def delete_filter(self, identity: str) -> Entry:
        found = self.filters.pop(identity, None)
        return danger("access_denied") if found is None else success("delete_filter", identity)

    def delete_dkim(self, name: str) -> Entry:
        self.keys.pop(name, None)
        return success("dkim_removed", name)

    def delete_tags(self, table: Table, name: str, tags: list[str]) -> list[Entry]:
        found = table.get(name)
        if found is None:
            return [danger("access_denied")]
        found["tags"] = [tag for tag in found["tags"] if tag not in tags]
        return [success("domain_modified", name)]

    # --- get ---

    def get(self, what: str, name: str, extra: str) -> Any:
        """PHP's `empty` makes `{}` of nothing, whatever was asked."""
        if what == "status" and name == "version":
            return {"version": "2026-08"}
        if what == "dkim":
            return self._key(name)
        if what == "filters":
            return [each for each in self.filters.values() if each["username"] == name] or {}
        tables = {"domain": self.domains, "mailbox": self.mailboxes, "alias": self.aliases}
        table = tables[what]
        if name == "all":
            return [each for each in table.values() if extra in ("", each.get("domain"))] or {}
        return table.get(name) or ({} if what != "mailbox" else [])

    def _key(self, name: str) -> Any:
        if name not in self.keys:
            return []
        selector, private = self.keys[name]
        public = public_key(private) or "AAAA"
        return {
            "pubkey": public,
            "length": "2048",
            "dkim_txt": f"v=DKIM1;k=rsa;t=s;s=email;p={public}",
            "dkim_selector": selector,
            "privkey": "",
        }

    # --- shared ---

    def _alias(self, address: str) -> Entry | None:
        return next((each for each in self.aliases.values() if each["address"] == address), None)

    def _weak(self, given: Entry) -> Entry | None:
        """Its default policy: at least 6 characters, and both the same."""
        if given["password"] != given["password2"] or len(given["password"]) < 6:
            return danger("password_complexity")
        return None

    def _only(self, username: str, kind: str) -> None:
        for each in self.filters.values():
            if (each["username"], each["filter_type"]) == (username, kind):
                each["active"] = 0

    def _id(self) -> str:
        self._next_id += 1
        return str(self._next_id)

    # --- HTTP ---

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.calls.append(f"{request.method} {path}")
        if self.fail is not None:
            answer, self.fail = self.fail, None
            return answer
        if request.headers.get("X-API-Key") != KEY:
            return web.json_response({"type": "error", "msg": "authentication failed"}, status=401)
        action, what, name, extra = [*path.split("/"), "", "", ""][:4]
        if action == "get":
            return self._answer(self.get(what, name, extra))
        if request.method != "POST":
            text = {"type": "error", "msg": "only POST method is allowed"}
            return web.json_response(text, status=405)
        body = await self._body(request)
        if body is None:
            return self._answer({"type": "error", "msg": "Cannot find attributes in post data"})
        self.changes += 1
        return self._answer(self._change(action, what, name, extra, body))

    async def _body(self, request: web.Request) -> Any:
        if request.content_type != "application/json":
            return None
        with suppress(ValueError):
            return json.loads(await request.read())
        return None

    def _change(self, action: str, what: str, name: str, extra: str, body: Any) -> Any:
        if name == "tag":
            table = self.domains if what == "domain" else self.mailboxes
            return self.delete_tags(table, extra, body)
        verb = getattr(self, f"{action}_{what}")
        if action == "add":
            return verb(body)
        items = body["items"] if action == "edit" else body
        answers = [verb(str(e), body["attr"]) if action == "edit" else verb(str(e)) for e in items]
        flat: list[Entry] = []
        for each in answers:
            flat += each if isinstance(each, list) else [each]
        return flat

    def _answer(self, content: Any) -> web.Response:
        return web.json_response(content)

    async def imap(self, reader: Any, writer: Any) -> None:
        """Just enough of RFC 3501 to try a password."""
        writer.write(b"* OK IMAP4rev1 ready\r\n")
        tag = (await reader.readline()).split(b" ")[0]
        writer.write(b"+ \r\n")
        _, user, password = base64.b64decode(await reader.readline()).decode().split("\0")
        fits = self.passwords.get(user) == password and self.mailboxes[user]["active"] == 1
        self.bad_logins += not fits
        writer.write(tag + (b" OK Logged in\r\n" if fits else b" NO [AUTHENTICATIONFAILED] no\r\n"))
        await writer.drain()
        writer.close()


def application(mailcow: Mailcow) -> web.Application:
    app = web.Application()
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = mailcow.handle
    app.router.add_route("*", "/api/v1/{path:.*}", handler)
    return app


def server_of(mailcow: Mailcow) -> TestServer:
    """A real server on a port of 127.0.0.1, to be started and closed by the caller."""
    return TestServer(application(mailcow))
