#!/bin/bash
# A WireGuard gateway for one network. Needs NET_ADMIN, /dev/net/tun and ip_forward.
#   gateway run    make the interface from the files, serve until SIGTERM (the container's command)
#   gateway sync   make the live interface as the files say; sessions of unchanged peers go on
#   gateway show   tell what is live, without any secret
# Files, read-only in /run/secrets: wg0.conf in the form of `wg setconf`, and gateway.conf:
#   address 10.99.0.1/24     its own address in the tunnel's network
#   mtu 1380
#   allow 172.30.1.0/24      clients may go there (any number of lines); nowhere else
#   via 192.168.7.0/24       a network behind a peer (any number)
#   between yes              clients may reach each other
set -euo pipefail

FILES=${GATEWAY_FILES:-/run/secrets}
STATE=${GATEWAY_STATE:-/run/gateway}
LINK=wg0
PROTO=186 # marks routes as ours; any number that nothing else here uses
export XTABLES_LOCKFILE=$STATE/xtables.lock WG_SUDO=0

values() { # NAME: the values of its lines
  sed -n "s/^$1 //p" "$FILES/gateway.conf"
}

make_link() {
  ip link show "$LINK" >/dev/null 2>&1 && return
  if ip link add "$LINK" type wireguard 2>/dev/null; then
    echo kernel >"$STATE/mode"
    return
  fi
  echo wireguard-go >"$STATE/mode"
  # its banner advises the kernel's module, which is not there
  LOG_LEVEL=error wireguard-go -f "$LINK" >/dev/null 2>"$STATE/wireguard-go.log" &
  local tries
  for tries in {1..100}; do
    [ -S "/var/run/wireguard/$LINK.sock" ] && ip link show "$LINK" >/dev/null 2>&1 && return
    sleep 0.05
  done
  cat "$STATE/wireguard-go.log" >&2
  echo "gateway: no interface after $tries tries" >&2
  return 1
}

set_addresses() {
  local address stale
  address=$(values address)
  for stale in $(ip -o -4 addr show dev "$LINK" | tr -s ' ' | cut -d' ' -f4); do
    [ "$stale" = "$address" ] || ip addr del "$stale" dev "$LINK"
  done
  ip addr replace "$address" dev "$LINK"
  ip link set "$LINK" mtu "$(values mtu)" up
}

set_routes() {
  local wanted route
  wanted=$(values via)
  for route in $(ip -4 route show dev "$LINK" proto $PROTO | cut -d' ' -f1); do
    grep -qxF "$route" <<<"$wanted" || ip route del "$route" dev "$LINK"
  done
  for route in $wanted; do
    ip route replace "$route" dev "$LINK" proto $PROTO
  done
}

rules() {
  local net host
  echo '*filter'
  echo ':INPUT ACCEPT [0:0]'
  echo ':FORWARD DROP [0:0]'
  echo ':OUTPUT ACCEPT [0:0]'
  # of the gateway itself, clients reach its name server and may ping it
  echo "-A INPUT -i $LINK -p icmp -j ACCEPT"
  echo "-A INPUT -i $LINK -p udp --dport 53 -j ACCEPT"
  echo "-A INPUT -i $LINK -p tcp --dport 53 -j ACCEPT"
  echo "-A INPUT -i $LINK -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
  echo "-A INPUT -i $LINK -j DROP"
  echo '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'
  [ "$(values between)" = yes ] && echo "-A FORWARD -i $LINK -o $LINK -j ACCEPT"
  # the engine's host itself is never behind the tunnel, whatever network it has an address in
  host=$(ip -4 route show default | sed -n 's/^default via \([0-9.]*\).*/\1/p')
  for net in $host; do echo "-A FORWARD -i $LINK -d $net -j DROP"; done
  for net in $(values allow); do
    echo "-A FORWARD -i $LINK ! -o $LINK -d $net -j ACCEPT"
  done
  echo COMMIT
}

set_firewall() {
  local nat="POSTROUTING -o eth+ -j MASQUERADE"
  rules | iptables-restore -w 5
  # shellcheck disable=SC2086  # words
  iptables -w 5 -t nat -C $nat 2>/dev/null || iptables -w 5 -t nat -A $nat
}

# Of the firewall, addresses and routes as they are, without counters and without the engine's own
# chains for its name server. Few processes: the container's CPU is small, and this runs often.
fingerprint() {
  { iptables-save; ip -o -4 addr show dev "$LINK"; ip -4 route show dev "$LINK" proto $PROTO
    ip -o link show "$LINK"; } \
    | sed -e '/^#/d' -e '/DOCKER/d' -e '/127\.0\.0\.11/d' -e 's/ *\[[0-9:]*\]//' | sha256sum
}

unchanged() { # whether all but the peers is as gateway.conf says
  local settings made wanted now
  [ -f "$STATE/synced" ] || return 1
  { read -r settings _; read -r made _; } <"$STATE/synced"
  read -r wanted _ < <(sha256sum <"$FILES/gateway.conf")
  [ "$settings" = "$wanted" ] || return 1
  read -r now _ < <(fingerprint)
  [ "$made" = "$now" ]
}

sync() {
  # peers first: who is to go shall be out at once
  wg syncconf "$LINK" "$FILES/wg0.conf"
  if unchanged; then return; fi
  set_addresses
  set_routes
  set_firewall
  { sha256sum <"$FILES/gateway.conf"; fingerprint; } >"$STATE/synced.new"
  mv "$STATE/synced.new" "$STATE/synced"
}

show() {
  local mode settings made now
  [ -f "$STATE/synced" ] || exit 1 # it is still being made for the first time
  read -r mode <"$STATE/mode"
  { read -r settings _; read -r made _; } <"$STATE/synced"
  read -r now _ < <(fingerprint)
  echo "mode $mode"
  echo "settings $settings"
  if [ "$made" = "$now" ]; then echo "intact yes"; else echo "intact no"; fi
  # the first field of all is the private key; of a peer, its preshared key and endpoint stay here
  wg show "$LINK" dump | sed \
    -e '1s/^[^\t]*\t\([^\t]*\)\t\([0-9]*\)\t.*/interface \1 \2/' \
    -e '2,$s/^\([^\t]*\)\t[^\t]*\t[^\t]*\t\([^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\)\t.*/peer \1\t\2/'
  echo end
}

run() {
  trap 'exit 0' TERM INT
  mkdir -p "$STATE"
  rm -f "$STATE/synced"
  make_link
  exec 9>"$STATE/lock"
  flock 9
  sync
  flock -u 9
  dnsmasq --keep-in-foreground --user=nobody --group=nogroup --pid-file= --no-hosts --no-resolv \
    --server=127.0.0.11 --bind-dynamic --interface="$LINK" --except-interface=lo \
    --cache-size=0 --log-facility=- &
  echo "gateway: serving ($(cat "$STATE/mode"))"
  # whatever ends first ends the container, and the engine starts it anew
  wait -n
  echo "gateway: a part of it ended" >&2
  exit 1
}

case ${1:-run} in
  run) run ;;
  sync) exec 9>"$STATE/lock"; flock 9; sync ;;
  show) show ;;
  *) echo "usage: gateway run|sync|show" >&2; exit 2 ;;
esac
