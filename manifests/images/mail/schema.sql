-- What the server serves. Written by mailctl alone, read by Postfix, Dovecot and the guard.
-- owner: uid of the record it belongs to; claim: uid of that record's namespace.
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS domain (
  name TEXT PRIMARY KEY, owner TEXT NOT NULL, claim TEXT NOT NULL, active INT NOT NULL,
  selector TEXT NOT NULL DEFAULT '', dkim_key TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS mailbox (
  address TEXT PRIMARY KEY, domain TEXT NOT NULL, owner TEXT NOT NULL, claim TEXT NOT NULL,
  active INT NOT NULL, display_name TEXT NOT NULL, password TEXT NOT NULL, home TEXT NOT NULL,
  quota_bytes INT NOT NULL, forward TEXT NOT NULL DEFAULT '', keep_copy INT NOT NULL DEFAULT 1);
-- address: '@domain' takes what nobody else takes; mailbox: set on a mailbox's own aliases
CREATE TABLE IF NOT EXISTS alias (
  address TEXT PRIMARY KEY, domain TEXT NOT NULL, owner TEXT NOT NULL, claim TEXT NOT NULL,
  active INT NOT NULL, targets TEXT NOT NULL, mailbox TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS mailbox_domain ON mailbox (domain);
CREATE INDEX IF NOT EXISTS alias_domain ON alias (domain);
CREATE INDEX IF NOT EXISTS alias_mailbox ON alias (mailbox);
