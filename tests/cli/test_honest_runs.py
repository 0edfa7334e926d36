"""What changed is computed again, what did not is not, and --plan, --force and --keep-runs say and do what they should.

All of it on a copy of the project with small studies of its own, whose code is edited between the calls.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gfe_companion.cli.environment import Exit

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("__init__", "plans", "beyond_plans", "drawing", "results", "needs")
PARAMETERS = 'profile: str = "smoke"\ndata: str = "auto"\nseeds: str = ""\njobs: int = 0\ndevice: str = "auto"'
STUDY = '''"""A small study."""
import pandas as pd
from matplotlib.figure import Figure

from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.results import Picture, Table
from gfe_core.amd import AMD

SOLVER = {solver}
TRAINING = Train("mnist", True, 0, SOLVER, (32,), (32,), 20)


def needs(setting):
    """One test."""
    return [Evaluate(TRAINING, 32, SOLVER, {count})]


def losses(setting):
    """Its losses."""
    (run,) = run_grid(needs(setting), setting)
    return run.history[["loss"]]


def table(setting):
    """Them."""
    return Table("{name}_table", losses(setting), pd.DataFrame({{"loss": ["1"]}}), "Losses")


def fig(setting):
    """Them, drawn."""
    figure = Figure()
    figure.subplots().plot(losses(setting).loss)
    return Picture("{name}_fig", figure, "A line.", losses(setting))
'''
CALL = """
import argparse, sys
from gfe_companion.cli import pipeline
from gfe_companion.cli.arguments import parser
sys.exit(pipeline.main(argparse.Namespace(**vars(parser().parse_args(sys.argv[1:])) | {"parameters": {}})))
"""


class Project:
    """A copy of the project with three notebooks: the first two share a training by AMD, the third trains an AE."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if (root / "notebooks").exists():
            return  # it is a copy
        for package in ("gfe_core", "gfe_companion"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for study in (root / "gfe_companion" / "studies").glob("*.py"):
            if study.stem not in KEPT:
                study.unlink()
        log = "        import os\n        open(os.environ['EXECUTED'], 'a').write(self.name + ' ')\n"
        for kind in ("train", "evaluate"):  # that it is executed is noted
            path = root / "gfe_companion" / "runs" / f"{kind}.py"
            head = re.search(r"    def execute\(.*?\"\"\".*?\"\"\"\n", path.read_text(), re.DOTALL)[0]
            path.write_text(path.read_text().replace(head, head + log))
        (root / "notebooks").mkdir()
        self.add("01_first", "AMD(max_trials=2)", 5)
        self.add("02_second", "AMD(max_trials=2)", 6)
        self.add("03_third", "None", 5)

    def copied(self, root: Path) -> "Project":
        """As it stands, with all that it has made, in another folder."""
        shutil.copytree(self.root, root, symlinks=True)
        return Project(root)

    def add(self, name: str, solver: str, count: int) -> None:
        stem = name[3:]
        path = self.root / "gfe_companion" / "studies" / f"{stem}.py"
        path.write_text(STUDY.format(solver=solver, count=count, name=stem))
        head = (
            "from gfe_companion.runs.profiles import Setting\nfrom gfe_companion.site.show import Page\n"
            f"from gfe_companion.studies import {stem} as study"
        )
        begin = "setting = Setting.of(profile, data, seeds, jobs, device)\npage = Page(setting)"
        cells = [nbformat.v4.new_code_cell(source) for source in (head, PARAMETERS, begin)]
        cells[1].metadata["tags"] = ["parameters"]
        cells.append(nbformat.v4.new_code_cell("page.show(study.table(setting), study.fig(setting))"))
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        title = nbformat.v4.new_markdown_cell(f"# {name}")
        notebook = nbformat.v4.new_notebook(cells=[title, *cells], metadata={"kernelspec": kernel})
        nbformat.write(notebook, self.root / "notebooks" / f"{name}.ipynb")

    def call(self, *flags: str, code: int = Exit.DONE) -> str:
        """What the command says; ``executed`` then holds the runs that it made."""
        self.log.write_text("")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GFE_")}
        environ |= {"PYTHONPATH": str(self.root), "GFE_HOME": str(self.root), "EXECUTED": str(self.log)}
        flags = ("--profile", "smoke", "--data", "embedded", "--device", "cpu", "--jobs", "1", *flags)
        done = subprocess.run(
            [sys.executable, "-P", "-c", CALL, *flags], cwd=self.root,
            env=environ, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def log(self) -> Path:
        return self.root / "executed"

    @property
    def executed(self) -> list[str]:
        return sorted(self.log.read_text().split())

    @property
    def runs(self) -> set[Path]:
        return set((self.root / "runs").glob("[!.]*"))

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))

    def add_line(self, path: str, line: str) -> None:
        with (self.root / path).open("a") as file:
            file.write(f"\n\n{line}\n")


AMD_RUNS = ["test-mnist-gfe-amd-32-seed0-at32-by-amd"] * 2 + ["train-mnist-gfe-amd-32-seed0"]
AE_RUNS = ["test-mnist-ae-32-seed0-at32-by-own", "train-mnist-ae-32-seed0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project after its first call, of which each test gets a copy; and what --plan said before."""
    project = Project(tmp_path_factory.mktemp("finished"))
    said = project.call("--plan")
    assert not project.executed and not (project.root / "runs").exists() and not (project.root / "build").exists()
    project.call()
    return project, said


@pytest.fixture
def project(finished, tmp_path):
    return finished[0].copied(tmp_path / "project")


@pytest.mark.slow
def test_the_first_call_and_its_plan(finished):
    project, said = finished
    assert "01_first: would be executed (it has not been executed yet)" in said
    assert (
        "not there yet: test-mnist-gfe-amd-32-seed0-at32-by-amd, train-mnist-gfe-amd-32-seed0 -- time unknown" in said
    )
    assert "runs: 1 to be computed, 1 planned above" in said, "a shared training is planned once"
    assert "in all: 5 runs, time unknown on one core" in said
    assert project.executed == sorted(AE_RUNS + AMD_RUNS), "a shared training is made once"


@pytest.mark.slow
def test_what_changed_is_computed_again_and_nothing_else(project):
    project.edit("gfe_core/amd.py", '"""', '"""In other words: ')
    project.edit("gfe_companion/studies/second.py", "A small study", "Another small study")
    assert project.call("--plan").count("nothing to do") == 3

    project.add_line("gfe_companion/studies/second.py", "ADDED = 1")
    said = project.call()
    assert said.count("nothing to do") == 2 and not project.executed
    assert "02_second: running (smoke profile; gfe_companion.studies.second changed)" in said

    before = project.runs
    project.add_line("gfe_core/amd.py", "ADDED = 1")
    said = project.call("--plan")
    assert "01_first: would be executed (gfe_core.amd changed)" in said
    assert re.search(r"out of date, gfe_core.amd changed: test-\S+, train-\S+ -- about \d+ s\n", said)
    assert re.search(r"in all: 3 runs, about \d+ s on one core", said)
    assert "1 current" in said, "the autoencoder's"
    assert not project.executed and project.runs == before

    said = project.call("--keep-runs")
    assert not project.executed and project.runs == before
    for name in ("first_fig", "first_table", "second_fig", "second_table"):
        assert name in re.search(r"\*\*\* these rest on runs of older code: .*", said)[0]
    figures, mark = project.root / "figures" / "smoke", "Rests on runs of older code: gfe_core.amd changed since."
    assert mark in (figures / "first_table.md").read_text()
    assert mark not in (figures / "third_table.md").read_text()
    marked = (figures / "first_fig.png").stat().st_size
    report = (project.root / "build" / "smoke" / "report" / "index.html").read_text()
    assert "computed by older code" in report and mark in report, "the banner, and a picture's words"
    said = project.call("--keep-runs", "--plan")
    assert said.count("nothing to do") == 3

    said = project.call()
    assert project.executed == AMD_RUNS and "older code" not in said
    assert len(project.runs) == len(before) + 3, "what older code made is kept"
    assert mark not in (figures / "first_table.md").read_text()
    assert (figures / "first_fig.png").stat().st_size != marked
    assert "older code" not in (project.root / "build" / "smoke" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_force_computes_the_runs_of_what_is_selected_once_more(project):
    before, foreign = project.runs, project.root / "runs" / "train-mnist-ae-32-seed0-0123456789"
    foreign.mkdir()  # as an earlier version named them
    ended = {path: json.loads((path / "run.json").read_text())["ended"] for path in before}
    said = project.call("--plan", "--force", "--only", "01,02")
    assert "01_first: would be executed (--force)" in said and "03_third" not in said
    assert "computed again, --force: test-" in said and "in all: 3 runs, about" in said

    project.call("--force", "--only", "01,02")
    assert project.executed == AMD_RUNS, "a shared training once, and none of the third notebook"
    assert project.runs == before | {foreign}
    for path, then in ended.items():
        assert (json.loads((path / "run.json").read_text())["ended"] > then) == ("amd" in path.name)
    assert not list((project.root / "runs").glob(".*[!k]")), "nothing is left aside"
    assert project.call("--plan").count("nothing to do") == 3


@pytest.mark.slow
def test_nothing_that_rests_on_older_code_is_published(project):
    (project.root / "figures" / "smoke" / ".first_fig.older").write_text("Rests on runs of older code.")
    said = project.call("--only", "01", "--publish", "--keep-going", code=Exit.DATA)
    assert "only the published data" in said
    (project.root / "gfe_companion" / "cli" / "pipeline.py").write_text(
        (project.root / "gfe_companion" / "cli" / "pipeline.py").read_text().replace("origin.embedded for", "False for")
    )
    said = project.call("--only", "01", "--publish", code=Exit.FAILED)
    assert "nothing is published that rests on runs of older code" in said
    assert not (project.root / "figures" / "paper").exists()
