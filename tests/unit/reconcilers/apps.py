"""How a test speaks of an App that runs."""

from drivers.containers import LABEL_SLOT
from drivers.fake.engine import Container
from tests.unit.reconcilers.world import World

NAME = "app-shop-shop-uuuuuuuu"


def slots(made: World) -> dict[str, Container]:
    return {c.state.labels[LABEL_SLOT]: c for c in made.engine.containers.values() if c.state.owner}
