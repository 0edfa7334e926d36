"""Which runs and data sets each notebook needs: what its study, the module of its name, says of them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from gfe_companion.datasets import DataError
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.profiles import Setting


def study_of(notebook: str) -> ModuleType | None:
    """The study of a notebook: of "05_data_efficiency" the module ``data_efficiency``; None if there is none."""
    name = f"{__package__}.{notebook.partition('_')[2]}"
    return import_module(name) if notebook.partition("_")[2].isidentifier() and find_spec(name) else None


def needs_of(notebook: str, setting: Setting) -> list[RunConfig]:
    """Every run that a notebook's study says that it needs, each once; none where it has no study."""
    needs = getattr(study_of(notebook), "needs", None)
    return list(dict.fromkeys(needs(setting))) if needs else []


def datasets_of(notebook: str, setting: Setting) -> tuple[str, ...]:
    """The data sets that a notebook loads: the one that all pages show, and those that its study names."""
    return tuple(dict.fromkeys((setting.dataset, *getattr(study_of(notebook), "DATASETS", ()))))


def read_by(notebook: str) -> tuple[Path, ...]:
    """The files that a notebook reads beside its runs, as its study says; those that are there."""
    return tuple(path for path in getattr(study_of(notebook), "READS", ()) if path.exists())


def everything_of(notebooks: Iterable[str], setting: Setting) -> list[RunConfig]:
    """Every run that these ``notebooks`` need, and those that they rest on, each once.

    One of a data set that cannot be had, because the folder that is named now lacks it, is left out.
    """
    found: list[RunConfig] = []
    for notebook in notebooks:
        with suppress(DataError):
            found += needs_of(notebook, setting)
    return with_dependencies(found)


def with_dependencies(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """These and all that they rest on, each once."""
    found: dict[RunConfig, None] = {}
    waiting = list(configs)[::-1]
    while waiting:
        config = waiting.pop()
        if config not in found:
            found[config] = None
            waiting += config.dependencies()[::-1]
    return list(found)
