"""Every kind has all that a kind needs; a new one that forgets something fails here."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconcilers.registry import RECONCILERS
from resources.kinds import KINDS, MODELS
from resources.meta import Record, Status

ROOT = Path(__file__).resolve().parents[2]
Kind = type[Record]


@pytest.fixture(params=KINDS, ids=lambda model: str(model.info.kind))
def model(request: pytest.FixtureRequest) -> Kind:
    return MODELS[request.param.info.kind]


def example(model: Kind) -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / f"manifests/kinds/{model.info.kind.lower()}.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_it_has_an_example_that_is_valid_and_minimal(model: Kind) -> None:
    body = example(model)
    assert (body["apiVersion"], body["kind"]) == (model.info.api_version, model.info.kind)
    assert "namespace" not in body["metadata"]
    assert "status" not in body
    MODELS[model.info.kind].model_validate(body)


def test_its_example_explains_itself(model: Kind) -> None:
    text = (ROOT / f"manifests/kinds/{model.info.kind.lower()}.yaml").read_text()
    assert text.startswith("# ")


def test_it_has_a_page(model: Kind) -> None:
    page = (ROOT / f"docs/kinds/{model.info.kind.lower()}.md").read_text()
    assert f"# {model.info.kind}\n" in page


def test_it_says_what_it_is_for_in_one_sentence(model: Kind) -> None:
    assert model.__doc__
    assert model.__doc__.strip().endswith(".")


def test_its_columns_tell_an_age_and_lead_somewhere(model: Kind) -> None:
    columns = model.info.columns
    assert "date" in [column.type for column in columns]
    schema = model.model_json_schema(by_alias=True)
    for column in columns:
        first = column.path.lstrip(".").split(".")[0].split("[")[0]
        assert first in schema["properties"], column.path


def test_it_is_reconciled_exactly_if_it_says_so(model: Kind) -> None:
    assert (model.info.kind in RECONCILERS) == model.info.reconciled


def test_what_can_be_scaled_has_replicas_a_restart_and_a_selector(model: Kind) -> None:
    if model.info.scalable:
        schema = model.model_json_schema(by_alias=True)["$defs"]
        spec = schema[f"{model.info.kind}Spec"]["properties"]
        assert {"replicas", "restartedAt"} <= spec.keys()
        status = schema[f"{model.info.kind}Status"]["properties"]
        assert {"replicas", "selector"} <= status.keys()


@cache
def told() -> frozenset[tuple[str, str]]:
    """(class, field) of all that reconcilers make with fields by name."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "reconcilers").glob("*.py"))
    made = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return frozenset(
        (call.func.id, word.arg)
        for call in made
        if isinstance(call.func, ast.Name)
        for word in call.keywords
        if word.arg is not None
    )


def test_its_status_has_no_field_that_nothing_tells(model: Kind) -> None:
    if model.info.reconciled:
        status = model.model_fields["status"].annotation
        assert isinstance(status, type)
        assert issubclass(status, Status)
        own = status.model_fields.keys() - Status.model_fields.keys()
        assert {field for field in own if (status.__name__, field) not in told()} == set()


def test_its_plans_are_tested(model: Kind) -> None:
    if model.info.reconciled:
        tests = (ROOT / "tests/unit/reconcilers").glob("test_*.py")
        word = re.compile(rf"\b{model.info.kind}\b")
        assert any(word.search(path.read_text()) for path in tests)


def test_the_quickstart_is_valid() -> None:
    documents = list(yaml.safe_load_all((ROOT / "manifests/quickstart.yaml").read_text()))
    for body in documents:
        MODELS[body["kind"]].model_validate(body)
    engines = {body["spec"].get("engine") for body in documents if body["kind"] == "Database"}
    assert engines == {"postgres", "redis"}
