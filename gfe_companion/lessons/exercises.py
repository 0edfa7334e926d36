"""All exercises by name, gathered from a module a notebook: ``on_01`` has those of notebook 01."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from gfe_companion.lessons.exercise import Exercise


def _gathered() -> dict[str, Exercise]:
    modules = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]) if found.name[:3] == "on_"]
    pages = [import_module(f"{__package__}.{name}").EXERCISES for name in sorted(modules)]
    return {exercise.name: exercise for page in pages for exercise in page}


EXERCISES: dict[str, Exercise] = _gathered()
