"""Descriptions of fields come from the docstrings below them."""

from resources.database import DatabaseSpec, PlanSize
from resources.docstrings import describe
from resources.meta import Model, Resources


class Documented(Model):
    first: int = 0
    """What it is. Default: 0.
    Example: `1`."""
    second: int = 0
    third: int = 0
    """Another."""


class Inheriting(Documented):
    fourth: int = 0
    """Its own."""


def test_text_below_a_field_is_its_description() -> None:
    fields = Documented.model_fields
    assert fields["first"].description == "What it is. Default: 0.\nExample: `1`."
    assert fields["second"].description is None
    assert fields["third"].description == "Another."


def test_inherited_fields_keep_theirs_and_schemas_have_them() -> None:
    properties = Inheriting.model_json_schema()["properties"]
    assert properties["first"]["description"].startswith("What it is.")
    assert properties["fourth"]["description"] == "Its own."


def test_every_kind_of_model_is_described() -> None:
    assert DatabaseSpec.model_fields["engine"].description
    assert Resources.model_fields["cpu"].description
    assert not hasattr(PlanSize, "model_fields")


def test_model_made_in_a_function_has_none_and_is_no_error() -> None:
    class Local(Model):
        field: int = 0
        """Nowhere to be found."""

    describe(Local)
    assert Local.model_fields["field"].description is None
