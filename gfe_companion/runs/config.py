"""What identifies a run, and what a run does: frozen configurations that execute themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from gfe_companion.datasets.base import Dataset
    from gfe_companion.runs.train import Train


class Saved(Protocol):
    """Where an unfinished run keeps its state."""

    def load(self) -> dict | None:
        """The state of an earlier attempt, if there was one."""

    def due(self) -> bool:
        """Whether it is time to save again."""

    def save(self, state: dict) -> None:
        """Keep ``state``."""


class RunConfig(ABC):
    """What identifies a run. Subclasses are frozen dataclasses; equal ones under equal code are the same run on disk.

    A field is a number, a string, a function, a frozen dataclass or a tuple of these: all that :meth:`execute` uses is
    in its fields, or in the code of its module and of what this imports.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """For people, and the beginning of its folder's name."""

    @property
    @abstractmethod
    def work(self) -> tuple[str, int]:
        """What is done for each image, and to how many: runs that do the same take times in proportion."""

    @abstractmethod
    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Do it on ``dataset``; ``needed`` holds the weights of :meth:`dependencies`.

        Returns the run's history and the tensors to keep.
        """

    def dependencies(self) -> tuple[RunConfig, ...]:
        """Runs that must be finished before this one."""
        return ()

    @property
    def trained(self) -> Train:
        """The training that this run is, or rests on."""
        return self.dependencies()[0].trained

    @property
    def device(self) -> str:
        """Where it computes: small problems are a matter for the CPU."""
        return "cpu"

    def describe(self) -> dict:
        """This configuration as plain JSON data; nested dataclasses carry their type's name.

        Raises ``TypeError`` for a field that is no setting.
        """
        return {"type": _named(type(self)), **_fields(self)}

    @property
    def key(self) -> str:
        """Ten hexadecimal digits that stand for all fields, defaults included; not for the code."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def _fields(value: object) -> dict:
    return {field.name: _plain(getattr(value, field.name), field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]


def _plain(value: object, field: str) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": _named(type(value)), **_fields(value)}
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return _named(value)
    if isinstance(value, tuple):
        return [_plain(item, field) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{field} = {value!r} does not say what its settings are, so that runs with others could not be told apart: "
        "give a number, a string, a function, a frozen dataclass or a tuple of these."
    )


def _named(value: type | FunctionType | BuiltinFunctionType) -> str:
    return f"{value.__module__}.{value.__qualname__}"
