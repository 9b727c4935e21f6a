"""Imports the modules of a container's image, as they find each other there."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

IMAGES: Final = Path(__file__).resolve().parents[3] / "manifests/images"


def load(image: str, *names: str) -> tuple[ModuleType, ...]:
    """Modules of a folder in manifests/images. They go by bare names beside each other, and nobody
    else finds them: a second load makes them anew."""
    folder = IMAGES / image
    sys.path.insert(0, str(folder))
    try:
        return tuple(importlib.import_module(name) for name in names)
    finally:
        sys.path.remove(str(folder))
        for each in folder.glob("*.py"):
            sys.modules.pop(each.stem, None)
