"""What rests on runs of older code says so, wherever it is shown; and what rests on such a page, too."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from gfe_companion.runs import folders
from gfe_companion.site import show
from gfe_companion.studies.results import Picture, Table

MARK = "Rests on runs of older code: gfe_core.amd changed since."


@pytest.fixture
def handed_out(monkeypatch):
    """The runs that this process has read; none yet."""
    found = {}
    for module in (folders, show):
        monkeypatch.setattr(module, "handed_out", found)
    return found


def table(name):
    return Table(name, pd.DataFrame({"a": [1]}), pd.DataFrame({"a": ["1"]}), "Title", "Notes.")


def test_tables_and_pictures_are_marked_until_they_are_made_of_present_runs(handed_out, tmp_path):
    handed_out |= {"one": (), "two": ("gfe_core.amd",)}
    figure = Figure()
    figure.subplots().plot([1, 2], label="line")
    legend = figure.legend(loc="outside lower center")
    show.save_table(table("table"), tmp_path)
    show.save_picture(Picture("fig", figure, "A line."), tmp_path)
    assert f"Notes. {MARK}" in (tmp_path / "table.md").read_text()
    (line,) = figure.texts
    assert line.get_text() == MARK
    assert not line.get_window_extent().overlaps(legend.get_window_extent())
    assert show.older_files(tmp_path) == ["fig", "table"]
    handed_out["two"] = ()
    show.save_table(table("table"), tmp_path)
    assert "older" not in (tmp_path / "table.md").read_text()
    assert show.older_files(tmp_path) == ["fig"]


def test_a_page_without_runs_rests_on_what_it_reads(handed_out, tmp_path):
    (tmp_path / ".fig4.older").write_text(MARK)
    show.save_table(table("scorecard"), tmp_path)
    assert "Rests on runs of older code, as fig4 does." in (tmp_path / "scorecard.md").read_text()
    handed_out["one"] = ()
    show.save_table(table("table1"), tmp_path)
    assert "older" not in (tmp_path / "table1.md").read_text(), "that page has runs of its own, of the present code"
