"""JupyterLab: on copies that are the reader's own, on this machine alone, with a token."""

import io
import json
import os
import platform
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from gfe_companion.cli import lab
from gfe_companion.cli.arguments import parse
from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.runs import progress
from gfe_companion.runs.durations import Durations
from gfe_companion.runs.progress import Progress


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    for name in ("01_one.ipynb", "playground.ipynb"):
        (tmp_path / "notebooks" / name).write_text(f"published {name}")
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def became(monkeypatch):
    found = []
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: found.append((argv, environ)))
    return found


def test_copies_are_made_where_missing_and_never_overwritten(root, capsys):
    folder = lab.copies(root)
    assert folder == root / "home" / "lab" and (folder / "01_one.ipynb").read_text() == "published 01_one.ipynb"
    (folder / "01_one.ipynb").write_text("mine")
    (folder / "playground.ipynb").unlink()
    (folder / "notes.ipynb").write_text("mine, too")
    (root / "notebooks" / "01_one.ipynb").write_text("newer")
    capsys.readouterr()
    lab.copies(root)
    assert (folder / "01_one.ipynb").read_text() == "mine" and (folder / "notes.ipynb").read_text() == "mine, too"
    assert (folder / "playground.ipynb").exists(), "what was deleted is made anew"
    said = capsys.readouterr().err
    assert "newer than your copies: 01_one.ipynb" in said and "delete one there" in said
    assert (root / "notebooks" / "01_one.ipynb").read_text() == "newer"
    (folder / lab.COPIED).write_text("[1")
    lab.copies(root)
    assert (folder / "01_one.ipynb").read_text() == "mine"


def test_a_copy_names_the_kernel_as_jupyterlab_does(root):
    """Else JupyterLab would write that into it as it opens, and mark it as changed."""
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["\u03c4"]}
    published = {"cells": [cell], "metadata": {"gfe": {"datasets": []}}, "nbformat": 4, "nbformat_minor": 5}
    (root / "notebooks" / "01_one.ipynb").write_text(json.dumps(published))
    copy = json.loads((lab.copies(root) / "01_one.ipynb").read_text())
    told = copy["metadata"].pop("kernelspec"), copy["metadata"].pop("language_info")
    spec = json.loads((Path(sys.prefix) / "share/jupyter/kernels/python3/kernel.json").read_text())
    assert told[0] == {"name": "python3"} | {name: spec[name] for name in ("display_name", "language")}
    assert told[1]["version"] == platform.python_version() and told[1]["name"] == "python"
    assert copy == published


@pytest.mark.parametrize("name", lab.SETTINGS)
def test_its_settings_are_those_that_jupyterlab_knows(name):
    """By the schemas that it has of them."""
    schemas = Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas" / "@jupyterlab"
    schema = json.loads((schemas / f"{name}.json").read_text())
    assert set(lab.SETTINGS[name]) <= set(schema["properties"])
    jsonschema.validate(lab.SETTINGS[name], schema)


def test_it_is_for_this_machine_alone_and_its_arguments_reach_it(root, became, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("JUPYTER_TOKEN", "")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/somebody's")
    lab.start(Path("python"), root, ["--no-browser", "--port", "9000"])
    ((argv, environ),) = became
    assert argv[3:5] == ["jupyterlab", "--ServerApp.ip=localhost"]
    assert argv[-4:] == ["--no-browser", "--port", "9000", str(root / "home" / "lab")]
    assert "--LabApp.default_url=/lab/tree/00_start_here.ipynb" in argv, "the first page is open"
    assert "--KernelSpecManager.allowed_kernelspecs=python3" in argv, "no kernel of another environment"
    assert "JUPYTER_TOKEN" not in environ and environ["JUPYTER_CONFIG_DIR"].startswith(str(root))


def test_readme_and_the_last_report_are_at_hand_and_no_news(root, became, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (root / "figures" / "paper").mkdir(parents=True)
    (root / "figures" / "paper" / "fig2.png").write_bytes(b"picture")
    text = "# Title\n[one](notebooks/01_one.ipynb), [code](gfe_core/amd.py)\n![two](figures/paper/fig2.png)\n"
    (root / "README.md").write_text(text)
    lab.start(Path("python"), root, [])
    folder = root / "home" / "lab"
    assert "[one](01_one.ipynb), code" in (folder / "README.md").read_text(), "no link leads nowhere"
    assert (folder / "figures" / "paper" / "fig2.png").read_bytes() == b"picture"
    assert not (folder / ".static" / "report").exists()
    for profile, seconds in (("quick", 2_000_000_000), ("smoke", 1_900_000_000)):
        report = root / "home" / "build" / profile / "report"
        report.mkdir(parents=True)
        (report / "index.html").write_text(profile)
        os.utime(report / "index.html", (seconds, seconds))
    settings = folder / ".jupyter" / "lab" / "user-settings" / "@jupyterlab"
    news = settings / "apputils-extension" / "notification.jupyterlab-settings"
    assert json.loads(news.read_text())["fetchNews"] == "false"
    news.write_text("mine")
    lab.start(Path("python"), root, [])
    assert (folder / ".static" / "report" / "index.html").read_text() == "quick", "the one that was written last"
    assert "The report" in (folder / "README.md").read_text()
    assert news.read_text() == "mine"
    assert became[-1][1]["GFE_LAB"] == "1"


def test_bars_of_a_page_are_no_errors_and_leave_nothing(monkeypatch, capsys):
    monkeypatch.setenv("GFE_LAB", "1")
    with Progress([], Durations(), lambda left: (0, "")):
        pass
    shown = capsys.readouterr()
    assert shown.err == "" and "runs: " in shown.out
    assert shown.out.rpartition("runs: ")[2].split("\r", 1)[1].strip() == "", "it is wiped at the end"


@pytest.mark.parametrize(("told", "shown"), [("1", True), ("", False), (None, False)])
def test_what_a_page_computes_has_a_bar_once_a_reader_waits(monkeypatch, capsys, told, shown):
    """Not where a notebook is executed for nobody, and not in a script."""
    monkeypatch.delenv("GFE_LAB", raising=False)
    if told is not None:
        monkeypatch.setenv("GFE_LAB", told)
    monkeypatch.setattr(progress, "SHOWN_EVERY_S", 0.01)
    assert [item for item in progress.over(iter("abc"), "letters") if not time.sleep(0.2)] == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert err == "" and ("letters: " in out and "left" in out) == shown
    assert out.strip() == "" or out.rpartition("left")[2].strip() == "", "it is wiped at the end"


def test_other_programs_pages_are_known_by_their_stream(monkeypatch):
    """Colab, VS Code and Jupyter itself are told nothing by this project."""
    monkeypatch.delenv("GFE_LAB", raising=False)
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    assert not progress.on_a_page()
    monkeypatch.setattr("sys.stdout", stream())
    assert progress.on_a_page()


def test_root_is_told_why(root, became, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Stop, match="you are root.*--lab -- --allow-root") as stop:
        lab.start(Path("python"), root, ["--no-browser"])
    assert stop.value.code == Exit.USAGE and not became
    lab.start(Path("python"), root, ["--allow-root"])
    assert len(became) == 1


@pytest.mark.parametrize("line", ["-- --port 9", "--plan -- x", "--lab --plan -- x", "--lab --timeout 5"])
def test_what_is_refused(line, monkeypatch):
    monkeypatch.setenv("GFE_DATA", "")
    with pytest.raises(Stop) as stop:
        parse(line.split())
    assert stop.value.code == Exit.USAGE


def test_what_follows_two_dashes_is_handed_on(monkeypatch):
    monkeypatch.setenv("GFE_DATA", "")
    options = parse(["--lab", "--", "--no-browser", "--port", "9000", "--allow-root", "--", "x"])
    assert options.lab and options.for_lab == ["--no-browser", "--port", "9000", "--allow-root", "--", "x"]


def test_saving_changes_nothing_under_version_control():
    ignored = (Path(__file__).resolve().parents[2] / ".gitignore").read_text().splitlines()
    assert "/lab/" in ignored and json.dumps(ignored).count("notebooks/*") == 0
