"""Notebook 09: what its study says of made-up verdicts and numbers, and that the notebook itself is thin."""

import re
from statistics import median
from types import SimpleNamespace
from urllib.parse import unquote

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.claims import NO, PARTLY, UNDECIDED, YES
from gfe_companion.evidence.paper import paper
from gfe_companion.evidence.scorecard import numbers, scorecard
from gfe_companion.runs.profiles import ROOT
from gfe_companion.studies import scorecard as study
from tests.evidence.frames import Place, made, write


@pytest.fixture
def setting(tmp_path):
    write(tmp_path, made())
    place = Place(tmp_path)
    place.profile = SimpleNamespace(name="smoke", epoch_share=1.0)
    return place


def test_the_papers_claims_come_first_and_ours_are_told_apart(setting):
    judged = scorecard(setting)
    table, ours = study.table_scorecard(setting, judged), study.say_ours(judged)
    assert len(table.shown) == len(paper()["claim"]) < len(table.data), "the CSV has both"
    assert table.title == f"The paper's {len(table.shown)} claims: {len(table.shown)} {YES}"
    for row in judged.itertuples():
        assert (row.text in ours) == (row.whose == "ours")
        (line,) = [line for line in study.say_rules(judged).splitlines() if f"*{row.claim.replace('_', ' ')}*" in line]
        assert row.text in line and row.rule in line
    seen = study.say_seen(judged)
    assert seen.count("\n") == 0 and "few images" in seen and "ours" not in seen
    row = judged[judged.whose == "the paper"].iloc[0]
    other = judged.assign(verdict=judged.verdict.where(judged.claim != row.claim, NO))
    assert f"    - *{row.claim.replace('_', ' ')}*: {row.measured}. {row.meaning}" in study.say_seen(other), "and why"


def test_verdicts_are_counted_in_their_order():
    assert study.counted(pd.Series([NO, YES, PARTLY, YES])) == f"2 {YES}, 1 {PARTLY}, 1 {NO}"
    assert study.counted(pd.Series([], dtype=str)) == "none"


def test_the_figure_has_a_mark_and_a_label_for_each_printed_number(setting):
    found = numbers(setting)
    picture = study.fig_numbers(setting, found)
    axes = picture.figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "Table 1, 480 images: AE" and "Table 2, FashionMNIST: GFE-amd, uncapped" in labels
    assert len(labels) == len(found) == len(axes.containers)
    assert picture.data.deviation.tolist() == [container[0].get_xdata()[0] for container in axes.containers]
    assert study.say_numbers(setting, found).startswith(f"Of {len(found)} comparisons: ")
    plt.close(picture.figure)


def test_where_no_printed_number_is_compared_the_page_says_so(setting):
    found = numbers(setting).iloc[:0]
    picture = study.fig_numbers(setting, found)
    (axes,) = picture.figure.axes
    assert [text.get_text() for text in axes.texts] == [study.NOT_COMPARED] == [picture.alt] and not axes.axison
    assert study.say_numbers(setting, found) == study.say_answer(found, 0.02) == study.NOT_COMPARED
    plt.close(picture.figure)


def test_table_2_of_a_part_of_an_epoch_is_said_to_say_nothing(setting):
    found = numbers(setting)
    assert "say nothing" not in study.say_numbers(setting, found)
    setting.profile.epoch_share = 0.04
    assert "seen 4.00% of the images" in study.say_numbers(setting, found)
    assert "say nothing" not in study.say_numbers(setting, found[found.table == "table1"])


def test_numbers_of_fewer_images_are_said_to_be_so(setting):
    assert "5,000" not in study.say_numbers(setting, numbers(setting))
    setting.shipped = set(REGISTRY)
    assert study.say_numbers(setting, numbers(setting)).count("These are 5,000 of MNIST's") == 1


def test_the_answer_counts_with_another_limit():
    rows = [(0.1, 0.104, 0.1031, 0.1049, 3, YES), (0.1, 0.1, 0.1, 0.1, 1, UNDECIDED)]
    found = pd.DataFrame(rows, columns=["printed", "mean", "low", "high", "seeds", "verdict"])
    assert study.say_answer(found, 0.02) == f"Within 2%, **0** of 2 are {YES}, instead of 1: 1 {UNDECIDED}, 1 {NO}."


def test_the_errata_carry_what_was_measured_and_a_link_to_each_place(setting):
    bare = study.table_errata(setting).data.shown[0]
    signs = {"decoder": [0, 1, 2], "as printed": [0.5, 0.6, 0.9], "integral dropped, Eq. (6)": [0.1, 0.2, 0.3]}
    pd.DataFrame(signs | {"corrected": [1e-4] * 3}).to_csv(setting.figures / "table_02_signs.csv", index=False)
    table = study.table_errata(setting)
    assert table.data.shown[0] == f"{bare} Error 0.60 as printed, 0.20 with the integral dropped, 1e-04 corrected"
    links = re.findall(r"\]\(([^)#]+)#([^) ]+)\)", study.say_places())
    assert len(links) == len(paper()["erratum"]) == len(table.shown)
    for notebook, anchor in links:
        cells = nbformat.read(ROOT / "notebooks" / notebook, as_version=4).cells
        said = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings = {heading.replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.*)$", said)}
        assert unquote(anchor) in headings, notebook


def test_the_erratum_on_step_sizes_shows_that_they_differ_and_that_the_batch_does_not_matter():
    said = study.say_own_steps()
    first, last = re.search(r"from (\d+) to (\d+)\.", said).groups()
    assert int(first) < int(last)
    assert float(re.search(r"differ by (\S+) at most", said)[1]) < 1e-10


def test_the_notebook_is_thin():
    cells = nbformat.read(ROOT / "notebooks" / "09_scorecard.ipynb", as_version=4).cells
    cells = [cell for cell in cells if "install" not in cell.metadata.get("tags", [])]
    lengths = [len([line for line in cell.source.splitlines() if line]) for cell in cells if cell.cell_type == "code"]
    assert max(lengths) <= 15 and median(lengths) <= 5 and sum(lengths) <= 35
