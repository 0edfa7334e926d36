"""What is committed is what was computed: notebooks with the paper profile's outputs, and the files that they show."""

import base64
import hashlib
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from gfe_companion.evidence.intervals import interval
from gfe_companion.evidence.scorecard import THE_PAPER
from gfe_companion.runs.profiles import ROOT
from gfe_companion.site import manifest, publish
from gfe_companion.site.publish import BLOCK, with_results
from gfe_companion.studies import beyond_peers
from gfe_companion.studies.results import markdown

FIGURES = ROOT / "figures" / "paper"
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
PUBLISHED = [stem for stem, notebook in NOTEBOOKS.items() if any(cell.get("outputs") for cell in notebook.cells)]


def code(stem):
    return [cell for cell in NOTEBOOKS[stem].cells if cell.cell_type == "code"]


def outputs(stem):
    return [output for cell in NOTEBOOKS[stem].cells for output in cell.get("outputs", [])]


def made(stem):
    """The outputs that stand for files, and their file's name."""
    return [(o.metadata["made"]["name"], o) for o in outputs(stem) if "made" in o.get("metadata", {})]


@pytest.mark.parametrize("stem", PUBLISHED)
def test_a_committed_notebook_ran_from_top_to_bottom_without_error(stem):
    """A cell that was added since has neither a number nor an output; those that ran keep their order."""
    counts = [cell.execution_count for cell in code(stem) if cell.execution_count]
    assert counts == sorted(set(counts))
    assert not [cell.source for cell in code(stem) if cell.outputs and not cell.execution_count]
    if len(counts) == len(code(stem)):
        assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(stem) if output.output_type == "error" or output.get("name") == "stderr"]
    text = "".join(str(output) for output in outputs(stem))
    if all(cell.execution_count for cell in code(stem) if "page.begin(" in cell.source):
        assert "Profile **paper**" in text
    assert "stand-in" not in text
    assert "papermill" not in NOTEBOOKS[stem].metadata


@pytest.mark.parametrize("stem", PUBLISHED)
def test_it_shows_the_files_of_the_paper_profile_and_the_numbers_behind_them(stem):
    announced = set(re.findall(r"`(\w+)`", re.search(r"Writes.*", NOTEBOOKS[stem].cells[0].source)[0]))
    shown = {name for name, _ in made(stem)}
    assert shown <= announced
    if all(cell.execution_count for cell in code(stem)):
        assert shown == announced
    assert not [name for name in announced - shown if list(FIGURES.glob(f"{name}.*"))], "made, but not shown"
    for name, output in made(stem):
        numbers = FIGURES / f"{name}.csv"
        checksum = hashlib.sha256(numbers.read_bytes()).hexdigest() if numbers.exists() else None
        assert output.metadata["made"]["csv_sha256"] == checksum, f"{name}.csv is not what the notebook shows"
        if "image/png" in output.data:
            picture = (FIGURES / f"{name}.png").read_bytes()
            assert base64.b64decode(output.data["image/png"]) == picture
            assert (FIGURES / f"{name}.pdf").exists()
        else:
            assert output.data["text/markdown"] == (FIGURES / f"{name}.md").read_text()


def test_every_file_is_small():
    large = {path.name: path.stat().st_size for path in FIGURES.iterdir() if path.stat().st_size >= 300_000}
    assert not large


@pytest.mark.parametrize(("table", "rows"), [("table1", "images"), ("table2", "dataset")])
def test_the_shown_means_are_those_of_the_numbers(table, rows):
    if not (FIGURES / f"{table}.csv").exists():
        pytest.skip(f"{table} is not published yet")
    text = (FIGURES / f"{table}.md").read_text()
    for _, group in pd.read_csv(FIGURES / f"{table}.csv").groupby([rows, "method"]):
        assert str(interval(group.test_loss)) in text


def test_what_amd_gains_on_the_autoencoders_decoder_is_said_alike():
    """Table 1 and the table of gains are of the same trainings and test images."""
    both = pd.read_csv(FIGURES / "table1.csv").query("method == 'ae_then_amd'").set_index(["images", "seed"])
    gains = pd.read_csv(FIGURES / "table_05_gain.csv").set_index(["images", "seed"]).gain
    assert (both.ae_loss - both.test_loss).to_dict() == pytest.approx(gains.to_dict())


def test_the_race_against_the_peers_is_the_one_that_is_committed():
    """Page 08 shows the seconds of the file that it reads, in the words that the code has for them now."""
    peers = beyond_peers.peers_of()
    shown = [output.get("data", {}).get("text/markdown") for output in outputs("08_beyond_the_paper")]
    assert beyond_peers.say_peers(peers) in shown
    table = beyond_peers.table_peers(peers)
    assert f"**{table.title}**\n\n{markdown(table.shown)}\n\n{table.notes}\n" in shown
    assert pd.read_csv(FIGURES / "table_08_peers.csv").equals(pd.read_csv(beyond_peers.PUBLISHED))


def test_all_that_is_published_is_what_the_committed_code_would_make():
    said, current = manifest.report()
    assert current, said


def test_nothing_lies_in_the_published_figures_that_no_notebook_shows():
    if len(PUBLISHED) < len(NOTEBOOKS):
        pytest.skip("not every notebook is published yet")
    shown = {name for stem in NOTEBOOKS for name, _ in made(stem)}
    assert {path.stem for path in FIGURES.iterdir()} - {"manifest"} == shown


def test_a_full_disk_costs_nothing_that_was_published(tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text("whole")
    path.chmod(0o640)
    write = Path.write_text

    def full(self, text, **words):
        write(self, text[:3], **words)
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        publish._put(path, "anew and longer")
    monkeypatch.undo()
    assert path.read_text() == "whole" and [each.name for each in tmp_path.iterdir()] == ["README.md"]
    publish._put(path, "anew")
    assert path.read_text() == "anew" and path.stat().st_mode & 0o777 == 0o640


def test_the_readme_carries_the_published_tables_and_pictures():
    texts = {name: (ROOT / name).read_text() for name in publish.PAGES}
    assert {"findings", "scorecard", "table1", "table2"} <= {
        block[2] for text in texts.values() for block in BLOCK.finditer(text)
    }
    for name, text in texts.items():
        assert text == with_results(text, FIGURES), name
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
            assert (ROOT / name).parent.joinpath(picture).exists()


def test_findings_have_a_line_for_each_verdict_in_the_order_of_the_rulebook():
    rows = [("ours", "Undecided one", "undecided"), (THE_PAPER, "P", "reproduced"), ("ours", "Held", "reproduced"),
            ("ours", "GFE holds", "reproduced")]  # fmt: skip
    judged = pd.DataFrame(rows, columns=["whose", "text", "verdict"]).assign(section="5, Table 1")
    lines = publish.findings(judged).splitlines()
    assert lines == [
        "- **Reproduced**: 1 of the paper's 1 claims (Sec. 5).",
        "- **New, reproduced** (2 of 3 findings of our own): held; GFE holds.",
        "- **New, undecided** (1 of 3 findings of our own): undecided one.",
    ]


def test_the_gallery_lists_what_the_notebooks_write():
    """Each figure and table once; a name that no notebook writes any more is not listed."""
    listed = re.findall(r"`((?:fig|table|scorecard)\w*)`", (ROOT / "figures" / "README.md").read_text())
    announced = {
        name
        for book in NOTEBOOKS.values()
        for name in re.findall(r"`(\w+)`", re.search(r"Writes.*", book.cells[0].source)[0])
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == announced


def test_what_is_published_keeps_its_folds_and_loses_the_timings():
    book = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("1", execution_count=7, metadata={"jupyter": {"source_hidden": True}})
    cell.metadata |= {"tags": ["install"], "papermill": {"duration": 1.0}, "execution": {"shell.execute_reply": "now"}}
    book.cells = [cell, nbformat.v4.new_code_cell("2", metadata={"tags": ["injected-parameters"]})]
    (kept,) = publish.published(book).cells
    assert kept.metadata == {"jupyter": {"source_hidden": True}, "tags": ["install"]} and kept.execution_count == 1
