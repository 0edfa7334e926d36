"""A change of the code names exactly the published figures that rest on it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gfe_companion.runs.code import Code, now
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import manifest

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLVER = "gfe_core.levenberg_marquardt"


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """As if all notebooks had been published with the present code."""
    before = os.environ.get("GFE_HOME")
    os.environ["GFE_HOME"] = str(tmp_path_factory.mktemp("home"))
    try:
        setting = Setting.of("smoke", "embedded", device="cpu")
        yield {path.stem: manifest.entry_of(path, setting, now()) for path in NOTEBOOKS}
    finally:
        os.environ.pop("GFE_HOME")
        if before is not None:
            os.environ["GFE_HOME"] = before


def stale(entries, tmp_path, path, old, new):
    files = dict(now().files)
    text = files[path].decode()
    assert text.count(old) >= 1
    files[path] = text.replace(old, new, 1).encode()
    return manifest.check(entries, NOTEBOOKS, tmp_path, Code(files))


def test_nothing_is_named_while_nothing_changed_but_words(entries, tmp_path):
    assert manifest.check(entries, NOTEBOOKS, tmp_path, now()) == {}
    words = stale(
        entries, tmp_path, "gfe_core/levenberg_marquardt.py", "from __future__", "# a comment\nfrom __future__"
    )
    assert words == {}


def test_every_figure_has_a_module_that_makes_it(entries):
    figures = {name: modules for entry in entries.values() for name, modules in entry["figures"].items()}
    assert set(figures) == {name for path in NOTEBOOKS for name in manifest.announced(path)}
    assert [name for name, modules in figures.items() if not modules] == []


def test_a_changed_line_of_a_solver_names_what_rests_on_it(entries, tmp_path):
    found = stale(entries, tmp_path, "gfe_core/levenberg_marquardt.py", "import torch", "import torch\n\nchanged = 1")
    runs = [stem for stem, entry in entries.items() if SOLVER in entry["runs_rest_on"]]
    assert runs == ["06_converged_models", "08_beyond_the_paper"], "whose runs use it"
    assert {*found} & {*entries} == {*runs, "09_scorecard"}
    for name in ("table2", "fig5_b", "fig8_race", "fig8_clock", "table_08_verdict"):
        assert SOLVER in found[name]
    assert "it reads what changed" in found["scorecard"]
    assert not found.keys() & {"table_08_peers", "fig1", "fig3_left", "fig4_left", "fig6", "fig_00_idea", "table1"}
    made = {name: (stem, modules) for stem, each in entries.items() for name, modules in each["figures"].items()}
    rest = {
        name for name, (stem, modules) in made.items()
        if SOLVER in modules or (stem in runs and manifest.reads_runs(modules, now())) or stem == "09_scorecard"
    }  # fmt: skip
    assert found.keys() - entries.keys() == rest


def test_a_changed_solver_of_one_page_leaves_the_toys_there(entries, tmp_path):
    found = stale(entries, tmp_path, "gfe_core/nesterov.py", "import torch", "import torch\n\nchanged = 1")
    assert "gfe_core.nesterov" in found["fig1"] and "gfe_core.nesterov" in found["fig3_right"]
    assert not found.keys() & {"fig2", "fig_01_bowl", "fig_02_vanishing", "fig_03_friction", "fig6", "fig4_left"}


def test_pages_without_runs_rest_on_what_their_cells_import_and_show(entries, tmp_path):
    found = stale(entries, tmp_path, "gfe_companion/studies/start_here.py", "import", "changed = 1\nimport")
    assert "gfe_companion.studies.start_here" in found["00_start_here"]
    words = stale(entries, tmp_path, "gfe_core/steps.py", "from __future__", "# a comment\nfrom __future__")
    texts = {path.stem: path.read_text() for path in NOTEBOOKS}
    printing = {stem for stem, text in texts.items() if "getsource(" in text and "from gfe_core.steps import" in text}
    assert set(words) == printing and printing, "they print the source"


def test_a_file_that_no_notebook_writes_is_named(entries, tmp_path):
    (tmp_path / "fig_99_gone.png").touch()
    found = manifest.check(entries, NOTEBOOKS, tmp_path, now())
    assert found["fig_99_gone"] == "no notebook writes it any more"


def test_a_changed_picture_names_that_picture(entries, tmp_path):
    found = stale(entries, tmp_path, "gfe_companion/studies/schematic.py", "import", "changed = 1\nimport")
    assert "fig2" in found and "01_encoding_as_gradient_flow" in found
    assert not found.keys() & {"fig1", "fig_01_path", "fig3_left", "table1"}


def test_files_and_cells_that_are_others(entries, tmp_path):
    entry = json.loads(json.dumps(entries))
    (tmp_path / "fig1.png").write_bytes(b"another")
    entry["01_encoding_as_gradient_flow"]["files"] = {"fig1.png": "0" * 16}
    entry["02_adjoint_vs_approximate"]["cells"] = "0" * 16
    del entry["03_nesterov"]
    found = manifest.check(entry, NOTEBOOKS, tmp_path, now())
    assert found["fig1"] == "changed: fig1.png" and "its cells" in found["02_adjoint_vs_approximate"]
    assert found["fig_03_origin"] == "it was published before there was a manifest"
    assert not found.keys() & {"fig3_left", "fig2"}


def test_a_changed_file_that_a_page_reads_names_what_is_drawn_from_it(entries, tmp_path):
    entry = json.loads(json.dumps(entries))
    (file,) = entry["08_beyond_the_paper"]["reads"]
    assert (ROOT / file).exists() and not any(each["reads"] for stem, each in entries.items() if stem[:2] != "08")
    entry["08_beyond_the_paper"]["reads"][file] = "0" * 16
    found = manifest.check(entry, NOTEBOOKS, tmp_path, now())
    assert found["table_08_peers"] == f"changed: {file}"
    assert found.keys() == {"table_08_peers", "08_beyond_the_paper", "09_scorecard", *entry["09_scorecard"]["figures"]}
    entry["08_beyond_the_paper"]["reads"] = {file: ""}
    assert "table_08_peers" in manifest.check(entry, NOTEBOOKS, tmp_path, now()), "it was not there"
    entry["08_beyond_the_paper"]["reads"] = {"figures/bench/absent.csv": ""}
    assert manifest.check(entry, NOTEBOOKS, tmp_path, now()) == {}
    entry["08_beyond_the_paper"]["reads"] = {"figures/bench/absent.csv": "0" * 16}
    assert manifest.check(entry, NOTEBOOKS, tmp_path, now()).keys() >= {"08_beyond_the_paper"}, "it is gone"


def test_the_text_between_the_cells_is_what_is_published(entries, tmp_path):
    """It may be edited; code may not."""
    book = json.loads(NOTEBOOKS[1].read_text())
    for kind, right in (("markdown", True), ("code", False)):
        next(cell for cell in book["cells"][1:] if cell["cell_type"] == kind)["source"] = "another = 1"
        path = tmp_path / NOTEBOOKS[1].name
        path.write_text(json.dumps(book))
        found = manifest.check(entries, [path], tmp_path / "none", now())
        assert ("its cells" in found.get(path.stem, "")) != right


def test_the_command_answers_at_once_and_by_its_exit_code(monkeypatch):
    started = time.perf_counter()
    command = [sys.executable, "-P", "-m", "gfe_companion", "run", "--check-published"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert time.perf_counter() - started < 20, "about a second on an idle machine"
    last = done.stdout.splitlines()[-1]
    assert (done.returncode == 0) == last.startswith("all ") and (done.returncode == 1) == last.startswith(
        "out of date"
    )


def test_publishing_writes_it(entries, tmp_path, monkeypatch):
    shutil.copy(ROOT / "figures" / "paper" / "fig1.csv", tmp_path / "fig1.csv")
    monkeypatch.setattr(manifest, "entry_of", lambda path, setting, code: dict(entries[path.stem]))
    path = ROOT / "notebooks" / "01_encoding_as_gradient_flow.ipynb"
    manifest.write([path], None, tmp_path)
    (written,) = manifest.read(tmp_path).values()
    assert list(written["files"]) == ["fig1.csv"] and written["seeds"]
    assert manifest.check(manifest.read(tmp_path), [path], tmp_path, now()) == {}
    assert manifest.read(Path(tmp_path / "nowhere")) == {}
