"""models: language models by name (Ollama), for the Models of all tenants.

https://github.com/ollama/ollama. It asks for no credentials, and so is in no tenant's network: the
gateways of Models join its own (docs/decisions/0007-one-gateway-for-each-model.md).
"""

from typing import Final

from reconcilers._service import Facts, Health, ServiceContainer, ServiceDef

PORT: Final = 8080


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    del facts
    return (
        ServiceContainer(
            image="ollama",
            env={
                "OLLAMA_HOST": f"0.0.0.0:{PORT}",
                # the public image keeps its key and its models below its user's home
                "HOME": "/data",
                "OLLAMA_MODELS": "/data/models",
                # who wants another time sets it (env_of, lives_as_wanted in _modelserver.py)
                "OLLAMA_KEEP_ALIVE": "5m",
            },
            health=Health(PORT, "/api/version"),
            tmpfs=("/tmp:size=64m,mode=1777",),  # noqa: S108  # a path in the container
            shared=False,
        ),
    )


SERVICE: Final = ServiceDef(_containers)
