#!/bin/bash
# Build time: the parts of Postfix' configuration that depend on nothing. The host name is set at
# each start. Every map is a query on the database, so that a change is live without a reload.
set -euo pipefail

map() { # NAME QUERY: the key arrives as %s, with quotes doubled by Postfix (sqlite_table(5))
  printf 'dbpath = /data/db/mail.db\nquery = %s\n' "$2" >"/etc/postfix/$1.cf"
}
map domains "SELECT 1 FROM domain WHERE name='%s' AND active=1"
map mailboxes "SELECT 1 FROM mailbox m JOIN domain d ON d.name=m.domain \
WHERE m.address='%s' AND m.active=1 AND d.active=1"
# A mailbox is an alias of itself: otherwise a catch-all would swallow its mail; and so is what is
# switched off, whose mail then ends there. A catch-all that is off is nothing at all.
map aliases "SELECT CASE a.active WHEN 1 THEN a.targets ELSE a.address END \
FROM alias a JOIN domain d ON d.name=a.domain AND d.active=1 \
WHERE a.address='%s' AND (a.active=1 OR instr(a.address,'@')>1) \
UNION ALL SELECT m.address FROM mailbox m JOIN domain d ON d.name=m.domain AND d.active=1 \
WHERE m.address='%s' AND (m.active=0 OR m.forward='' OR m.keep_copy=1) \
UNION ALL SELECT m.forward FROM mailbox m JOIN domain d ON d.name=m.domain AND d.active=1 \
WHERE m.address='%s' AND m.active=1 AND m.forward<>''"
# What is switched off says so, instead of falling through to a catch-all; Postfix asks for a
# recipient's domain, too (access(5)), and would send on what is for one that it doesn't serve.
map disabled "SELECT '550 5.2.1 this address is disabled' FROM mailbox WHERE address='%s' AND active=0 \
UNION SELECT '550 5.2.1 this address is disabled' FROM alias WHERE address='%s' AND active=0 \
UNION SELECT '550 5.2.1 this domain is disabled' FROM domain WHERE name='%s' AND active=0"
# Who may send as an address: its mailbox, and local targets of its alias within one namespace. That
# there is one at all ('-', which is nobody's login) keeps the target of a catch-all from using it.
map senders "SELECT m.address FROM mailbox m JOIN domain d ON d.name=m.domain AND d.active=1 \
WHERE m.address='%s' AND m.active=1 \
UNION SELECT m.address FROM alias a JOIN domain d ON d.name=a.domain AND d.active=1 \
JOIN mailbox m ON m.claim=a.claim AND m.active=1 \
AND instr(','||a.targets||',', ','||m.address||',')>0 WHERE a.address='%s' AND a.active=1 \
UNION SELECT '-' FROM mailbox WHERE address='%s' UNION SELECT '-' FROM alias WHERE address='%s'"
# Nobody sends in the name of a domain served here without logging in.
map ours "SELECT '553 5.7.1 log in on port 587 to send as this domain' FROM domain WHERE name='%s'"

sql=sqlite:/etc/postfix
# local_transport: nobody is local, and yet an address at [127.0.0.1] would be (RFC 5321, 4.1.3): what
# is accepted for it from anybody would be sent back to whomever its sender was forged as.
# smtpd_discard_ehlo_keywords: so would be what a stranger asks to be told of a delivery (DSN_README,
# "Restricting the scope of 'success' notifications"); who has logged in may ask.
postconf -e \
  "compatibility_level = 3.6" \
  "queue_directory = /data/spool" \
  "data_directory = /data/postfix" \
  "maillog_file = /dev/stdout" \
  "inet_protocols = ipv4" \
  "smtpd_banner = \$myhostname ESMTP" \
  "mydestination =" \
  "local_recipient_maps =" \
  "local_transport = error:5.1.1 no such address here" \
  "alias_maps =" \
  "alias_database =" \
  "mynetworks = 127.0.0.1/32" \
  "append_dot_mydomain = no" \
  "biff = no" \
  "recipient_delimiter = +" \
  "message_size_limit = 26214400" \
  "parent_domain_matches_subdomains =" \
  "virtual_mailbox_domains = $sql/domains.cf" \
  "virtual_mailbox_maps = $sql/mailboxes.cf" \
  "virtual_alias_maps = $sql/aliases.cf" \
  "virtual_transport = lmtp:unix:private/dovecot-lmtp" \
  "lmtp_destination_recipient_limit = 1" \
  "smtpd_tls_cert_file = /data/tls/cert.pem" \
  "smtpd_tls_key_file = /data/tls/key.pem" \
  "smtpd_tls_security_level = may" \
  "smtpd_tls_mandatory_protocols = >=TLSv1.2" \
  "smtp_tls_security_level = may" \
  "smtp_tls_CApath = /etc/ssl/certs" \
  "smtp_host_lookup = dns, native" \
  "smtpd_helo_required = yes" \
  "smtpd_discard_ehlo_keywords = silent-discard, dsn" \
  "disable_vrfy_command = yes" \
  "default_process_limit = 50" \
  "smtpd_forbid_bare_newline = normalize" \
  "smtpd_forbid_unauth_pipelining = yes" \
  "smtpd_sasl_type = dovecot" \
  "smtpd_sasl_path = private/auth" \
  "smtpd_sender_login_maps = $sql/senders.cf" \
  "smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination" \
  "smtpd_sender_restrictions = reject_non_fqdn_sender, check_sender_access $sql/ours.cf" \
  "smtpd_recipient_restrictions = reject_non_fqdn_recipient, check_recipient_access $sql/disabled.cf, reject_unlisted_recipient, check_policy_service unix:private/quota-status" \
  "smtpd_milters = unix:/run/guard/socket" \
  "milter_default_action = tempfail" \
  "milter_command_timeout = 30s"

login="-o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes -o smtpd_discard_ehlo_keywords= \
-o smtpd_relay_restrictions=permit_sasl_authenticated,reject \
-o smtpd_client_restrictions=permit_sasl_authenticated,reject \
-o smtpd_sender_restrictions=reject_non_fqdn_sender,reject_sender_login_mismatch"
postconf -M "submission/inet=submission inet n - n - - smtpd -o syslog_name=postfix/submission -o smtpd_tls_security_level=encrypt $login"
postconf -M "submissions/inet=submissions inet n - n - - smtpd -o syslog_name=postfix/submissions -o smtpd_tls_wrappermode=yes $login"
# No chroot: the maps and name service are outside it.
for service in $(postconf -M | awk '$5 == "y" {print $1 "/" $2}'); do
  postconf -F "$service/chroot=n"
done
