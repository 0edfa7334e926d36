"""The notebooks, in order, by papermill; what an earlier call finished is not done again."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from gfe_companion.cli.environment import Exit
from gfe_companion.datasets import DataError, Source, StandInWarning
from gfe_companion.runs.profiles import ROOT, Setting, home
from gfe_companion.runs.store import source
from gfe_companion.site import report
from gfe_companion.site.publish import publish


def main(options: argparse.Namespace) -> int:
    """Do what ``./run_all.sh`` was asked for; ``options`` are its checked flags. Returns the exit code."""
    seeds = ",".join(map(str, options.seeds or ()))
    try:
        setting = Setting.of(options.profile, options.data, seeds, options.jobs, options.device)
    except ValueError as error:
        return _say(str(error), Exit.USAGE)
    paths = [
        path
        for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        if path.name[:2] in (options.only or path.name[:2]) and path.name[:2] >= (options.start or "00")
    ]
    parameters = {"profile": options.profile, "seeds": seeds, "jobs": options.jobs, "device": options.device}
    chosen = [Notebook(path, setting, parameters | options.parameters) for path in paths]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StandInWarning)
            origins = {name: source(setting, name) for name in dict.fromkeys(sum((n.datasets for n in chosen), []))}
    except DataError as error:
        return _say(str(error), Exit.DATA)
    for warning in caught:
        _say(f"*** {warning.message} ***")
    if options.publish and any(origin.stand_in for origin in origins.values()):
        return _say("stand-ins are never published; name a folder with the real data by --data.", Exit.DATA)
    failed = False
    for notebook in chosen:
        path = notebook.path
        notebook.take(origins)
        if not options.force and notebook.is_current():
            _say(f"{path.stem}: nothing to do")
            continue
        started = time.perf_counter()
        _say(f"{path.stem}: running ({options.profile} profile)")
        if error := notebook.execute():
            failed = True
            _say(error)
            if not options.keep_going:
                break
        else:
            _say(f"{path.stem}: done in {time.perf_counter() - started:.0f} s")
    if index := report.build(setting):
        _say(f"figures and tables: {_short(setting.figures)}; report: {_short(index)}")
    if failed:
        return Exit.FAILED
    if options.publish:
        publish((notebook.build / notebook.path.name for notebook in chosen), setting)
        _say("published: figures/paper/, notebooks/ and README.md")
    return Exit.DONE


class Notebook:
    """A notebook under given parameters: whether its results are there, and how they are made."""

    def __init__(self, path: Path, setting: Setting, parameters: dict[str, object]) -> None:
        self.path, self.setting, self.parameters = path, setting, parameters
        self.about = nbformat.read(path, as_version=4).metadata.get("gfe", {})
        self.stand_ins: list[str] = []
        self.build = home() / "build" / setting.profile.name
        self.stamp = self.build / "stamps" / f"{path.stem}.json"

    @property
    def datasets(self) -> list[str]:
        """The data sets that it needs, as its metadata say; MNIST, if they do not."""
        return list(self.about.get("datasets", ["mnist"]))

    def take(self, origins: dict[str, Source]) -> None:
        """Tell it where its data sets come from: one place, or, where only some are stand-ins, "auto"."""
        places = {str(origins[name].folder or "embedded") for name in self.datasets}
        self.parameters = self.parameters | {"data": places.pop() if len(places) == 1 else "auto"}
        self.stand_ins = [name for name in self.datasets if origins[name].stand_in]

    def is_current(self) -> bool:
        """Whether it was executed from just these sources and parameters, and all it made is still as it was."""
        try:
            stamp = json.loads(self.stamp.read_text())
            made = {home() / name: checksum for name, checksum in stamp["made"].items()}
            return stamp["digest"] == self.digest() and all(_checksum(p) == checksum for p, checksum in made.items())
        except (OSError, ValueError, KeyError):
            return False

    def digest(self) -> str:
        """A checksum of all that the results depend on: cells, code, and those parameters that change results."""
        cells = [cell.source for cell in nbformat.read(self.path, as_version=4).cells]
        code = [
            path.read_text()
            for folder in ("gfe_core", "gfe_companion")
            for path in sorted((ROOT / folder).rglob("*"))
            if path.suffix in (".py", ".toml")
        ]
        told = {name: value for name, value in self.parameters.items() if name not in ("jobs", "data")}
        told["stand_in"] = self.stand_ins
        if self.about.get("reads_figures"):  # all numbers there are but its own, which its first cell announces
            read = sorted(p for p in self.setting.figures.glob("[!.]*.csv") if f"`{p.stem}`" not in cells[0])
            told["figures"] = [(path.name, _checksum(path)) for path in read]
        return hashlib.sha256(json.dumps([cells, code, told], sort_keys=True).encode()).hexdigest()

    def execute(self) -> str | None:
        """Execute it into the build folder. Returns None, or one sentence that says what failed and where to look."""
        digest, before = self.digest(), self._figures()
        whole, failed = self.build / self.path.name, self.build / f"{self.path.stem}.failed.ipynb"
        part = self.build / f".{self.path.name}"
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.unlink(missing_ok=True)
        os.environ |= {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        try:
            with TemporaryDirectory(prefix="gfe-") as sockets:  # local sockets, that only this user can open
                kernel = {"transport": "ipc", "ip": f"{sockets}/kernel"}
                papermill.execute_notebook(
                    self.path,
                    part,
                    self.parameters,
                    kernel_name="python3",
                    cwd=str(self.path.parent),
                    progress_bar=False,
                    stderr_file=sys.stderr,
                    config=Config({"KernelManager": kernel}),
                )
        except PapermillExecutionError as error:
            part.replace(failed)
            return (
                f"{self.path.name} failed in cell {error.cell_index}: {error.ename}: {error.evalue} "
                f"-- as far as it got: {_short(failed)}"
            )
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nothing more of the cell that was cut off
            raise
        _drop_progress(part)
        part.replace(whole)
        failed.unlink(missing_ok=True)
        made = [whole, *(path for path, changed in self._figures().items() if before.get(path) != changed)]
        stamp = {"digest": digest, "made": {str(path.relative_to(home())): _checksum(path) for path in made}}
        self.stamp.write_text(json.dumps(stamp, indent=1))
        return None

    def _figures(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.setting.figures.glob("[!.]*")}


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


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _short(path: Path) -> Path:
    return path.relative_to(home())


def _say(line: str, code: int = Exit.DONE) -> int:
    print(line, file=sys.stderr, flush=True)
    return code
