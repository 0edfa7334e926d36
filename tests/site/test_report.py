"""The report reads without a network, and what is published is what was executed."""

import base64
import os
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import publish, report
from gfe_companion.site.prose import to_html

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def setting(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    setting = Setting.of("smoke", "embedded", device="cpu")
    setting.figures.mkdir(parents=True)
    (setting.figures / "fig9.png").write_bytes(base64.b64decode(PIXEL))
    (tmp_path / "build" / "smoke").mkdir(parents=True)
    return setting


def executed(name, folder):
    """An executed notebook as papermill leaves it, with a formula, a figure and a table."""
    picture = nbformat.v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Image>"})
    picture.metadata = {"image/png": {"alt": 'a "dot"'}, "made": {"name": "fig9", "csv_sha256": None}}
    result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=3)
    cells = [
        nbformat.v4.new_markdown_cell("# Is $z^* \\neq 0$?\n\n$$\\dot z = -\\nabla_z l$$\n\n[on](02_two.ipynb)"),
        nbformat.v4.new_code_cell("x: int = 1", metadata={"tags": ["parameters"]}, execution_count=1),
        nbformat.v4.new_code_cell("x = 7", metadata={"tags": ["injected-parameters"]}, execution_count=2),
        nbformat.v4.new_code_cell("1 + 1", execution_count=3, outputs=[picture, result],
                                  metadata={"papermill": {"duration": 1.5}, "execution": {"iopub": "0"}, "tags": []}),
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(
        cells=cells, metadata={"papermill": {"duration": 4.0, "end_time": "2026-01-02"}}
    )
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return notebook


def test_the_report_is_a_page_for_each_notebook_and_an_index(setting, tmp_path):
    assert report.build(setting) is None
    for name in ("01_one", "02_two", "03_bad.failed"):
        executed(name, tmp_path / "build" / "smoke")
    index = report.build(setting)
    pages = {path.name: path.read_text() for path in index.parent.glob("*.html")}
    assert set(pages) == {"index.html", "01_one.html", "02_two.html"}
    for name, text in pages.items():
        assert not re.search(r'(src|href)="(https?:)?//(?!arxiv)', text), "nothing is fetched"
        assert 'name="viewport"' in text
        for link in re.findall(r'(?:href|src)="(?!https?:|data:|#)([^"]+)"', text):
            assert (index.parent / link.partition("#")[0]).exists(), f"{name} links to {link}"
    assert "<title>Is z*≠0?</title>" in pages["01_one.html"], "where formulas cannot be drawn"
    assert "<math" in pages["01_one.html"] and "\\dot" not in pages["01_one.html"]
    assert 'aria-current="page"' in pages["01_one.html"] or "aria-current=page" in pages["01_one.html"]
    picture = BeautifulSoup(pages["index.html"], "html.parser").find("img", alt='a "dot"')
    assert picture["src"] == "figures/fig9.png"
    for said in ("Provenance", "seeds 0", "4 s", "09 has not run"):
        assert said in pages["index.html"]
    before = index.stat().st_mtime_ns
    assert report.build(setting).stat().st_mtime_ns == before, "nothing changed, nothing to do"


SHOWN = "gfe_core/amd.py gfe_companion/evidence/paper.toml gfe_companion/site/assets/report.css"
SHOWN += " gfe_companion/lessons/playground/pen.js gfe_companion/lessons/playground/weights.bin notebooks/one.ipynb"


@pytest.mark.parametrize("changed", SHOWN.split())
def test_whatever_it_shows_makes_it_anew(changed, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    for name in (changed, "index.html", "gfe_core/__pycache__/amd.cpython-311.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, seconds in ((changed, 100), ("index.html", 200)):
        os.utime(tmp_path / name, (seconds, seconds))
    assert report._is_newer(tmp_path / "index.html", []), "what Python compiled is not shown"
    os.utime(tmp_path / changed, (300, 300))
    assert not report._is_newer(tmp_path / "index.html", [])


def test_the_report_leaves_out_the_cell_that_installs(setting, tmp_path):
    build = tmp_path / "build" / "smoke"
    notebook = executed("01_one", build)
    notebook.cells.insert(1, nbformat.v4.new_code_cell("find_spec", metadata={"tags": ["install"]}))
    nbformat.write(notebook, build / "01_one.ipynb")
    text = (report.build(setting).parent / "01_one.html").read_text()
    assert "find_spec" not in text and "x: int = 1" in BeautifulSoup(text, "html.parser").get_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_becomes_mathml(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r' data-tex="[^"]*"', "", to_html(cell.source))
            assert "$" not in text, cell.source
            assert "\\" not in text, cell.source


def test_published_looks_as_if_run_by_hand(tmp_path):
    notebook = publish.published(executed("01_one", tmp_path))
    assert [cell.source for cell in notebook.cells][1:] == ["x: int = 1", "1 + 1"]
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2]
    assert notebook.cells[2].outputs[1].execution_count == 2
    assert "papermill" not in str(notebook) and "injected" not in str(notebook) and "iopub" not in str(notebook)
    assert notebook.cells[1].metadata == {"tags": ["parameters"]}


def test_publishing_refuses_what_is_not_of_the_present_notebook(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "ROOT", tmp_path / "root")
    (tmp_path / "root" / "notebooks").mkdir(parents=True)
    build = tmp_path / "build" / "smoke"
    source = publish.published(executed("01_one", build))
    nbformat.write(source, tmp_path / "root" / "notebooks" / "01_one.ipynb")
    (setting.figures / "scorecard.csv").write_text(
        "claim,section,text,verdict,measured,whose\na,5,b,partly,1,the paper\nc,5,d,partly,3,ours\n"
    )
    (setting.figures / "scorecard.md").write_text("the long form")
    (setting.figures / "table1.md").write_text("| table |\n")
    blocks = [f"<!-- {name} -->\nold {name}\n<!-- /{name} -->\n" for name in ("scorecard", "table1", "table2")]
    (tmp_path / "root" / "figures").mkdir()
    (tmp_path / "root" / "figures" / "README.md").write_text("## Gallery\n" + blocks[1])
    (tmp_path / "root" / "README.md").write_text("# Title\n" + "".join(blocks) + "end\n")
    publish.publish([build / "01_one.ipynb"], setting)
    assert (tmp_path / "root" / "figures" / "smoke" / "fig9.png").exists()
    text = (tmp_path / "root" / "README.md").read_text()
    assert "| b | 5 | partly | 1 |" in text and "| d |" not in text, "the findings of our own stay on their page"
    assert "<!-- table1 -->\n| table |\n<!-- /table1 -->" in text
    assert "| table |" in (tmp_path / "root" / "figures" / "README.md").read_text()
    assert re.findall(r"old \w+", text) == ["old table2"], "what is not there yet stays"
    assert text.startswith("# Title\n") and text.endswith("end\n")
    source.cells[2].source = "1 + 2"
    nbformat.write(source, tmp_path / "root" / "notebooks" / "01_one.ipynb")
    with pytest.raises(ValueError, match="01_one.ipynb has changed"):
        publish.publish([build / "01_one.ipynb"], setting)
