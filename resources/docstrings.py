"""Field descriptions from the docstrings below them, read once a module.

pydantic's own `use_attribute_docstrings` tokenizes each class in Python: of 104 models that
took a third of all the time to import the control plane (measured with cProfile: 1.2 of 3.2 s).
One `ast.parse` a module gives the same texts. No kind imports this; resources/meta.py does.
"""

import ast
import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import BaseModel


def describe(model: type[BaseModel]) -> None:
    """Set the description of each field that `model`'s own class body documents and that has
    none. Must run before the model's schema is built (pydantic's `defer_build`)."""
    for name, text in texts(model).items():
        field = model.__pydantic_fields__.get(name)
        if field is not None and field.description is None:
            field.description = text


def texts(model: type[BaseModel]) -> Mapping[str, str]:
    """What `model`'s own class body says of its fields."""
    return _texts(model.__module__).get(model.__qualname__, {})


@cache
def _texts(module: str) -> Mapping[str, Mapping[str, str]]:
    """By class and field; empty where a module has no source."""
    path = getattr(sys.modules.get(module), "__file__", None)
    lines = linecache.getlines(path) if path else []
    if not lines:
        return {}
    return {
        node.name: dict(_documented(node))
        for node in ast.parse("".join(lines)).body
        if isinstance(node, ast.ClassDef)
    }


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """(field, text) of every annotated name that a string follows."""
    for field, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(after.value.value)
