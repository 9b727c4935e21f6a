"""vault: a place for secrets of the platform's operators (OpenBao, KV version 2, one AppRole).

https://openbao.org/docs/configuration/. It makes itself ready at its first start (self-init: no
root token ever leaves it) and unseals itself after each (static seal). The unseal key is in the
service's Secret: that protects the Volume and its backups, not against who may read that Secret;
docs/vault.md says when to run one elsewhere instead.
"""

from typing import Final

from controlplane.plan import Generated
from drivers.containers import SECRETS_PATH
from reconcilers._service import (
    Facts,
    Health,
    SecretKeys,
    ServiceContainer,
    ServiceDef,
    ServiceFile,
)

PORT: Final = 8200
MOUNT: Final = "secret"
FOLDER: Final = "bunker"
_POLICY: Final = (
    f'path \\"{MOUNT}/data/{FOLDER}/*\\" '
    '{ capabilities = [\\"create\\", \\"update\\", \\"read\\"] }\\n'
    f'path \\"{MOUNT}/metadata/{FOLDER}/*\\" '
    '{ capabilities = [\\"list\\", \\"delete\\"] }'
)
"""A string within a string of HCL."""
# The raft port is for other nodes, and there are none: loopback. TLS: the way is a bridge on this
# host; who publishes the port puts a proxy with a certificate in front.
_CONFIG: Final = f"""\
ui = false
storage "raft" {{
  path = "/openbao/file"
  node_id = "one"
}}
listener "tcp" {{
  address = "0.0.0.0:{PORT}"
  cluster_address = "127.0.0.1:8201"
  tls_disable = true
}}
api_addr = "http://127.0.0.1:{PORT}"
cluster_addr = "http://127.0.0.1:8201"
seal "static" {{
  current_key_id = "1"
  current_key = "file://{SECRETS_PATH}/unseal.key"
}}
initialize "platform" {{
  request "kv" {{
    operation = "update"
    path = "sys/mounts/{MOUNT}"
    data = {{ type = "kv", options = {{ version = "2" }} }}
  }}
  request "approle" {{
    operation = "update"
    path = "sys/auth/approle"
    data = {{ type = "approle" }}
  }}
  request "policy" {{
    operation = "update"
    path = "sys/policies/acl/{FOLDER}"
    data = {{ policy = "{_POLICY}" }}
  }}
  request "role" {{
    operation = "update"
    path = "auth/approle/role/{FOLDER}"
    data = {{ token_policies = ["{FOLDER}"], token_ttl = "1h", token_max_ttl = "24h" }}
  }}
  request "role-id" {{
    operation = "update"
    path = "auth/approle/role/{FOLDER}/role-id"
    data = {{ role_id = "{{role-id}}" }}
  }}
  request "secret-id" {{
    operation = "update"
    path = "auth/approle/role/{FOLDER}/custom-secret-id"
    data = {{ secret_id = "{{secret-id}}" }}
  }}
}}
"""


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    del facts
    return (
        ServiceContainer(
            image="openbao",
            command=("server", f"-config={SECRETS_PATH}/openbao.hcl"),
            files=(
                ServiceFile("openbao.hcl", _CONFIG, plain=True),
                ServiceFile("unseal.key", "{unseal-key}", plain=True),
            ),
            # 503 while it is sealed, 501 before it is initialised
            health=Health(PORT, "/v1/sys/health"),
            stop_timeout_s=20,
            shared=False,
        ),
    )


def _secret(facts: Facts) -> SecretKeys:
    del facts
    return {
        "unseal-key": Generated(32, once=True),  # as many bytes as AES-256 takes
        "role-id": Generated(36),
        "secret-id": Generated(40),
        "mount": MOUNT,
        "path": FOLDER,
    }


SERVICE: Final = ServiceDef(_containers, _secret)
