#!/bin/bash
# kubectl's verbs on a record that is really reconciled; the exit code is the number of failures.
#   KUBECONFIG=...  an administrator's           KUBECTL=kubectl   which kubectl
#   MANIFEST=x.yaml one valid object, no namespace; it must get Ready within WAIT (180) seconds
#   PLURAL=apps.bunker.cloud      FIELD=spec.priority V1=7 V2=8   a field that may change
#   SCALE=1         the kind has a scale subresource
# What differs from records at rest: reality takes time, and the reconciler owns status and a
# finalizer. The object is made in a namespace of its own.
set -u
: "${KUBECONFIG:?}" "${MANIFEST:?}" "${PLURAL:?}"
FIELD=${FIELD:-spec.priority} V1=${V1:-7} V2=${V2:-8} SCALE=${SCALE:-0} WAIT=${WAIT:-180}
NS=live-$RANDOM
K_S=$((WAIT + 10))
source "$(dirname "$0")/kubectl_lib.sh"

field() { k get "$PLURAL" "$NAME" -o "jsonpath={.$1}"; }
patch() { # VALUE -> a merge patch of FIELD
  python3 -c 'import json, sys
value = json.loads(sys.argv[2])
for part in reversed(sys.argv[1].split(".")): value = {part: value}
print(json.dumps(value))' "$FIELD" "$1"
}
quiet() { # the version does not move any more: the reconciler has said all it has to say
  local before after=none
  for _ in 1 2 3 4 5 6; do
    before=$after
    after=$(field metadata.resourceVersion)
    [ "$before" = "$after" ] && return 0
    sleep 2
  done
  return 1
}
settled() { # the newest generation was seen, and it is Ready
  k wait "$PLURAL/$NAME" --for=condition=Ready --timeout="${WAIT}s" >/dev/null \
    && k wait "$PLURAL/$NAME" --timeout="${WAIT}s" \
      --for=jsonpath='{.status.observedGeneration}'="$(field metadata.generation)"
}

NAME=$(python3 -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["metadata"]["name"])' \
  "$MANIFEST")

t create-namespace 0 created k create namespace "$NS"
t apply-dry-run 0 'created \(server dry run\)' k apply --dry-run=server -f "$MANIFEST"
t dry-run-left-nothing 1 NotFound k get "$PLURAL" "$NAME"
t apply 0 created k apply -f "$MANIFEST"
t ready 0 'condition met' k wait "$PLURAL/$NAME" --for=condition=Ready --timeout="${WAIT}s"
if [ "$failed" != 0 ]; then # nothing that follows could pass, and each would take WAIT seconds
  k describe "$PLURAL" "$NAME"
  exit "$failed"
fi
t observed 0 'condition met' settled
t finalizer 0 'bunker.cloud/outside' field metadata.finalizers
t quiet 0 '' quiet
t apply-again 0 unchanged k apply -f "$MANIFEST"
t diff-same 0 '' k diff -f "$MANIFEST"
t quiet-after-noop 0 '' quiet
t table 0 "^$NAME .*True" k get "$PLURAL"
t table-wide 0 "^$NAME" k get "$PLURAL" -o wide
t describe 0 'Conditions' k describe "$PLURAL" "$NAME"
t events 0 '' k events --for "$(cut -d. -f1 <<<"$PLURAL")/$NAME"
t patch 0 patched k patch "$PLURAL" "$NAME" --type=merge -p "$(patch "$V1")"
t patch-observed 0 'condition met' settled
t patch-kept 0 "^$V1\$" field "$FIELD"
t ssa-conflict 1 conflict bash -c "'$KUBECTL' -n $NS get '$PLURAL' '$NAME' -o json \
  | python3 -c 'import json, sys
o = json.load(sys.stdin); v = json.loads(sys.argv[2]); m = o[\"metadata\"]
for part in reversed(sys.argv[1].split(\".\")): v = {part: v}
print(json.dumps({\"apiVersion\": o[\"apiVersion\"], \"kind\": o[\"kind\"],
                  \"metadata\": {\"name\": m[\"name\"]}, **v}))' '$FIELD' '$V2' \
  | '$KUBECTL' -n $NS apply --server-side --field-manager=other -f -"
t label 0 labeled k label "$PLURAL" "$NAME" live=yes
t selector 0 "^$NAME" k get "$PLURAL" -l live=yes
# a condition told by hand is the reconciler's to correct
t status-by-hand 0 '' k patch "$PLURAL" "$NAME" --subresource=status --type=merge -p \
  '{"status":{"observedGeneration":0}}'
t status-corrected 0 'condition met' settled
(sleep 1 && k label "$PLURAL" "$NAME" watched=yes) >/dev/null 2>&1 &
t watch 0 "MODIFIED +$NAME" bash -c \
  "timeout 5 '$KUBECTL' -n $NS get '$PLURAL' --watch-only --output-watch-events; true"
wait
if [ "$SCALE" = 1 ]; then
  t scale 0 scaled k scale "$PLURAL" "$NAME" --replicas=2
  t scaled 0 'condition met' k wait "$PLURAL/$NAME" --for=jsonpath='{.status.replicas}'=2 \
    --timeout="${WAIT}s"
  t scale-back 0 scaled k scale "$PLURAL" "$NAME" --replicas=1 --current-replicas=2
fi
# a finalizer taken off by hand is put back while something is outside
t finalizer-removed 0 patched k patch "$PLURAL" "$NAME" --type=merge \
  -p '{"metadata":{"finalizers":null}}'
t finalizer-back 0 'condition met' k wait "$PLURAL/$NAME" --timeout=30s \
  --for=jsonpath='{.metadata.finalizers[0]}'=bunker.cloud/outside
t delete 0 deleted k delete "$PLURAL" "$NAME" --timeout="${WAIT}s"
t gone 1 NotFound k get "$PLURAL" "$NAME"
t delete-namespace 0 deleted k delete namespace "$NS" --timeout="${WAIT}s"
echo "failed: $failed"
exit "$failed"
