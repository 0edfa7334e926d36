"""Every notebook runs at the smoke size on embedded data, makes the figures it announces, and is a tidy page."""

import ast
import os
import re
import subprocess
import sys
from statistics import median

import nbformat
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from gfe_companion.evidence.claims import NOT_MEASURED
from gfe_companion.evidence.scorecard import statements
from gfe_companion.runs.profiles import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PARAMETERS = ["profile", "dataset", "data", "seeds", "jobs", "device"]


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder that one smoke run wrote, and what it said; a second run is then timed on it."""
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "gfe_companion", "run", "--profile", "smoke", "--data", "embedded"]
    environment = os.environ | {"GFE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = [subprocess.run(command, env=environment, capture_output=True, text=True) for _ in range(2)]
    assert done[0].returncode == 0, done[0].stderr
    return home, done


@pytest.mark.slow
def test_all_notebooks_run_and_a_second_call_has_nothing_to_do(smoke):
    home, (first, second) = smoke
    for path in NOTEBOOKS:
        assert f"{path.stem}: done" in first.stderr
        assert f"{path.stem}: nothing to do" in second.stderr
        executed = nbformat.read(home / "build" / "smoke" / path.name, as_version=4)
        outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output.output_type == "error"]
        assert not [output for output in outputs if output.get("name") == "stderr"], "warnings stand in the notebook"
        made = {output.metadata.made.name for output in outputs if "made" in output.get("metadata", {})}
        announced = re.search(r"Writes.*", executed.cells[0].source)[0]
        assert made == set(re.findall(r"`(\w+)`", announced)), path.stem


@pytest.mark.slow
def test_pages_on_another_data_set_stand_beside_those_that_are_there(smoke):
    home, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in (home / "figures" / "smoke").iterdir()}
    command = [sys.executable, "-m", "gfe_companion", "run", "--profile", "smoke", "--data", "embedded"]
    environment = os.environ | {"GFE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--only", "00,09", "-p", "dataset=SegmentedMNIST"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in (home / "figures" / "smoke").iterdir()} == before
    other = home / "figures" / "smoke-segmented_mnist"
    assert (other / "fig_00_idea.png").exists()
    assert set(pd.read_csv(other / "scorecard.csv").verdict) == {NOT_MEASURED}
    assert "in the place of MNIST" in (home / "build" / other.name / "00_start_here.ipynb").read_text()


def test_every_figure_is_there_in_all_its_forms(smoke):
    figures = smoke[0] / "figures" / "smoke"
    papers = "fig1 fig2 fig3_left fig3_right fig4_left fig4_right fig5_a fig5_b fig6 fig7"
    for name in (*papers.split(), "fig_04_stability", "fig_06_converged", "fig_07_measures", "fig_09_numbers"):
        assert (figures / f"{name}.png").stat().st_size < 300_000
        assert (figures / f"{name}.pdf").stat().st_size > 1000
    curves = pd.read_csv(figures / "fig4_left.csv")
    assert {"method", "seed", "images", "seconds", "validation_loss"} <= set(curves)
    assert {"method", "iteration", "t", "loss"} <= set(pd.read_csv(figures / "fig1.csv"))
    assert set(pd.read_csv(figures / "fig3_left.csv").gradient) == {"approximate", "adjoint"}
    assert set(pd.read_csv(figures / "fig3_right.csv").method) == {"gfe", "gfe_nesterov", "gfe_amd_uncapped"}
    table = pd.read_csv(figures / "table1.csv")
    assert list(table) == ["images", "method", "seed", "test_loss", "ae_loss"]
    assert set(table.method) == {"ae", "gfe_amd_uncapped", "ae_then_amd"}
    assert "MNIST, 5,000 images" in (figures / "table1.md").read_text()
    table = pd.read_csv(figures / "table2.csv")
    assert list(table) == ["dataset", "method", "seed", "images", "test_loss", "ae_loss"]
    assert set(table.dataset) == {"mnist", "segmented_mnist", "fashion_mnist"}
    assert set(pd.read_csv(figures / "fig5_a.csv").dataset) == {"mnist", "fashion_mnist"}
    assert set(pd.read_csv(figures / "table_07_latents.csv").data) == {"full", "few"}
    judged = pd.read_csv(figures / "scorecard.csv").set_index("claim")
    of_clothes = {name for name, entry in statements().items() if "fashion_mnist" in entry["data"]}
    unmeasured = set(judged.index[judged.verdict == NOT_MEASURED])
    tuned = ("ours_below_tuned_ae", "ours_below_encoded_ae", "ours_rehearsed_below_encoded_ae")
    by_the_clock = {"ours_below_ae_on_the_clock", *tuned}  # on a busy machine curves of so short a run share no time
    assert unmeasured - by_the_clock == of_clothes, "the environment ships no clothes"


def test_the_report_shows_every_notebook_and_figure(smoke):
    report = smoke[0] / "build" / "smoke" / "report"
    index = (report / "index.html").read_text()
    for path in NOTEBOOKS:
        assert (report / f"{path.stem}.html").exists()
    for picture in (smoke[0] / "figures" / "smoke").glob("*.png"):
        assert f"figures/{picture.name}" in index
        assert (report / "figures" / picture.name).exists()


def test_the_executed_notebook_says_which_images_it_rests_on(smoke):
    for path in NOTEBOOKS:
        text = (smoke[0] / "build" / "smoke" / path.name).read_text()
        assert "MNIST, 5,000 images" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_tidy_page(path):
    first = cells(path, "markdown")[0].source
    assert re.match(r"# .*\?\n", first), "the title is a question"
    for announced in ("Paper:", "Writes"):
        assert announced in first
    lines = "\n".join(cell.source for cell in cells(path, "markdown")).replace("Reading takes", "To read:").splitlines()
    typed = [line for line in lines if re.search(r"\b[Tt]akes? [^.,;]*\b(seconds|minutes?|hours?)\b", line)]
    assert not typed, "how long a run takes is measured, and not typed"
    tagged = [cell for cell in cells(path, "code") if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assigned = ast.parse(tagged[0].source).body
    assert [statement.target.id for statement in assigned][:6] == PARAMETERS
    assert all(isinstance(statement.value, ast.Constant) for statement in assigned)
    assert tagged[0].source.startswith('profile: str = "quick"')
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", "\n".join(c.source for c in cells(path, "markdown"))):
        assert (path.parent / link).exists(), f"{link} leads nowhere"


def test_all_notebooks_install_what_is_missing_in_the_same_cell():
    books = [nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    tags = [[cell.metadata.get("tags", []) for cell in book.cells] for book in books]
    assert all(each.index(["install"]) == 1 and each.count(["install"]) == 1 for each in tags), "below the title"
    (source,) = {book.cells[1].source for book in books}
    assert len(source.splitlines()) <= 6
    shell, called = InteractiveShell(), []
    shell.register_magic_function(called.append, magic_name="pip")
    shell.user_ns["input"] = lambda prompt: "https://example.org/gfe"
    shell.run_cell(source).raise_error()
    assert called == [], "nothing where the project is there"
    shell.run_cell(source.replace("gfe_companion", "a_missing_one")).raise_error()
    assert called == ['install --quiet "git+https://example.org/gfe"']


def test_notebooks_are_thin():
    """The method and one line a figure: no plotting, no assembled text, no long cell."""
    lengths = []
    for path in NOTEBOOKS:
        for cell in cells(path, "code"):
            lengths.append(len([line for line in cell.source.splitlines() if line.strip()]))
            assert lengths[-1] <= 15, f"{path.stem}: a cell of {lengths[-1]} lines"
            assert not re.search(r"\bplt\b|subplots|Markdown\(|display\(|\.join\(", cell.source), cell.source
    assert sum(lengths) <= 900
    assert median(lengths) <= 5


def test_the_playground_runs(smoke, monkeypatch, tmp_path):
    """On the runs that the smoke profile has made."""
    monkeypatch.setenv("GFE_HOME", str(smoke[0]))
    monkeypatch.delenv("GFE_DATA", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "notebooks" / "playground.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('Setting.of("smoke")', 'Setting.of("smoke", "embedded")')
    NotebookClient(notebook, kernel_name="python3").execute()
    assert "steps" in str(notebook.cells[-1].outputs)
