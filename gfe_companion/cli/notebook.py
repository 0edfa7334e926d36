"""A notebook under given parameters: what its results depend on, whether they are there, and how they are made."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import nbformat

from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.kernel import NotExecuted, execute
from gfe_companion.datasets import Source
from gfe_companion.runs import code
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.folders import find, folder_of, keeps_runs
from gfe_companion.runs.profiles import Setting, home
from gfe_companion.runs.syntax import parse
from gfe_companion.site.figures import made as made_in
from gfe_companion.site.manifest import few_of
from gfe_companion.site.stamps import altered, checksum, made_by
from gfe_companion.studies.needs import datasets_of, needs_of, read_by


class Notebook:
    """A notebook under given parameters: whether its results are there, and how they are made."""

    def __init__(self, path: Path, setting: Setting, parameters: dict[str, object]) -> None:
        self.path, self.setting, self.parameters = path, setting, parameters
        try:
            with warnings.catch_warnings(action="ignore"):  # of what older programs left out, such as the cells' ids
                read = nbformat.read(path, as_version=4)
                nbformat.validate(read)
            self.about = dict(read.metadata.get("gfe", {}))
        except Exception as error:  # of many kinds, as the file may hold anything
            said = " ".join(str(error).split())[:100]
            raise Stop(f"{path.name} cannot be read as a notebook ({said}); restore that file", Exit.USAGE) from error
        self.datasets = datasets_of(path.stem, setting)
        self.embedded: list[str] = []
        self.build = home() / "build" / setting.name
        self.stamp = self.build / "stamps" / f"{path.stem}.json"

    def take(self, origins: dict[str, Source]) -> None:
        """Tell it where its data sets come from: one place, or, where only some are embedded, "auto"."""
        places = {str(origins[name].folder or "embedded") for name in self.datasets}
        self.parameters = self.parameters | {"data": places.pop() if len(places) == 1 else "auto"}
        self.embedded = [name for name in self.datasets if origins[name].embedded]

    def needs(self) -> list[RunConfig]:
        """Every run that it needs, as its study says."""
        return needs_of(self.path.stem, self.setting)

    def why(self) -> str:
        """Why it would be executed, in a few words; "" where all that it made is there and would come out the same."""
        try:
            before = json.loads(self.stamp.read_text(encoding="utf-8"))["rests_on"]
            if (made := made_by(self.stamp)) is not None:
                return _differs(before, self.rests_on()) or _damaged(made)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return "it has not been executed yet"

    def rests_on(self) -> dict:
        """All that its results depend on: cells, parameters that change results, code, runs, figures that it reads."""
        cells = [cell.source for cell in nbformat.read(self.path, as_version=4).cells]
        told = {name: value for name, value in self.parameters.items() if name not in ("jobs", "data")}
        rests: dict[str, Any] = {
            "cells": hashlib.sha256(json.dumps(cells).encode()).hexdigest(),
            "parameters": told | {"embedded": self.embedded},
            "code": self._code(),
            "runs": self._runs(),
            "figures": {path.name: checksum(path) for path in (*read_by(self.path.stem), *self._numbers_of_others())},
        }
        return json.loads(json.dumps(rests))

    def _numbers_of_others(self) -> list[Path]:
        """Where it reads figures: all numbers that there are but its own, which its first cell announces."""
        if not self.about.get("reads_figures"):
            return []
        first = nbformat.read(self.path, as_version=4).cells[0].source
        return sorted(path for path in self.setting.figures.glob("[!.]*.csv") if f"`{path.stem}`" not in first)

    def _code(self) -> dict[str, str]:
        """What its cells import and its data sets, with all that these rest on; what it shows counts by its text.

        Cells with IPython's magic in them are read without these lines.
        """
        present = code.now()
        names = [name for name in (f"{code.DATASETS}.{each}" for each in self.datasets) if name in present.modules]
        shown: list[str] = []
        for cell in nbformat.read(self.path, as_version=4).cells:
            if cell.cell_type == "code":
                lines = ["" if _is_magic(line.strip()) else line for line in cell.source.splitlines()]
                parsed = parse("\n".join(lines).encode(), "__main__", False)
                names += present.resolve(parsed.imports)
                shown += names if parsed.shows else []
        return present.closure(names) | {name: present.digest_of(name, text=True) for name in shown}

    def _runs(self) -> list[str]:
        """The names of the folders of its runs, of older code where these would be taken."""
        present = code.now()
        runs = {config: find(config, present) if keeps_runs() else None for config in self.needs()}
        return sorted((run.folder if run else folder_of(config, present)).name for config, run in runs.items())

    def execute(self, minutes: float | None = None) -> str | None:
        """Execute it into the build folder, for ``minutes`` at most.

        Returns None, or one sentence that says what failed and where to look.
        """
        wrong = altered(self.stamp.parent)
        for read in filter(wrong.get, self._numbers_of_others()):
            remedy = f"call again with --only {wrong[read]}, then with --only {self.path.name[:2]}"
            return f"{self.path.name} reads {read.relative_to(home())}, which is not as it was made: {remedy}"
        rests = self.rests_on()
        whole, failed = self.build / self.path.name, self.build / f"{self.path.stem}.failed.ipynb"
        part = self.build / f".{self.path.name}"
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        try:
            execute(self.path, part, self.parameters, minutes)
        except NotExecuted as error:
            if not part.exists():
                return str(error)
            part.replace(failed)
            return f"{error} -- as far as it got: {failed.relative_to(home())}"
        _drop_progress(part)
        part.replace(whole)
        failed.unlink(missing_ok=True)
        names = {name for name, _ in made_in(nbformat.read(whole, as_version=4))}
        files = [whole, *(path for path in sorted(self.setting.figures.glob("[!.]*")) if path.stem in names)]
        stamp = {"rests_on": rests, "made": {str(path.relative_to(home())): checksum(path) for path in files}}
        aside = self.stamp.with_suffix(".part")
        aside.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        aside.replace(self.stamp)
        return None


def _is_magic(line: str) -> bool:
    return line.startswith(("%", "!", "?")) or line.endswith("?")


def _differs(before: dict, now: dict) -> str:
    """What of the two differs, in words."""
    if before["cells"] != now["cells"]:
        return "its cells changed"
    if before["parameters"] != now["parameters"]:
        return f"its parameters changed: {few_of(code.changed(before['parameters'], now['parameters']))}"
    if before["code"] != now["code"]:
        return f"{few_of(code.changed(before['code'], now['code']))} changed"
    if before["runs"] != now["runs"]:
        others = len(set(now["runs"]) - set(before["runs"]))
        return f"{others} of its runs are others now" if others else "it needs fewer runs now"
    if before["figures"] != now["figures"]:
        return f"figures that it reads changed: {few_of(code.changed(before['figures'], now['figures']))}"
    return ""


def _damaged(made: dict[Path, str]) -> str:
    for path, sum_ in made.items():
        if not path.exists():
            return f"{path.relative_to(home())} is missing"
        if checksum(path) != sum_:
            return f"{path.relative_to(home())} is not as it was made"
    return ""


def _drop_progress(path: Path) -> None:
    """Take progress bars, which are for the terminal, out of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    lines = [line for line in output.text.split("\n") if line.strip() and "\r" not in line]
                    output.text = "\n".join(lines)
            cell.outputs = [output for output in cell.outputs if output.get("text") != ""]
    nbformat.write(notebook, path)
