"""Claims and printed numbers are judged from files: favourable, adverse and missing ones, stand-ins, and newcomers."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gfe_companion.datasets import REGISTRY, DataError
from gfe_companion.evidence import claims, scorecard
from gfe_companion.evidence.claims import NO, NOT_MEASURED, PARTLY, UNDECIDED, YES, Finding
from gfe_companion.evidence.intervals import Interval
from gfe_companion.evidence.paper import paper
from gfe_companion.evidence.scorecard import (
    OURS,
    THE_PAPER,
    agreement,
    beside,
    numbers,
    printed,
    statements,
    verdicts,
)  # fmt: skip
from gfe_companion.methods import METHODS
from tests.evidence.frames import AMD, Place, cut_short, frame, made, write

PAPERS = [claim["name"] for claim in paper()["claim"]]


def judged(setting, *names):
    return scorecard.scorecard(setting, *(names or PAPERS)).set_index("claim")


@pytest.fixture
def place(tmp_path):
    write(tmp_path, made())
    return Place(tmp_path)


@pytest.mark.parametrize(("favourable", "verdict"), [(True, YES), (False, NO)])
def test_evidence_decides_every_claim(tmp_path, favourable, verdict):
    write(tmp_path, made(favourable))
    found = judged(Place(tmp_path))
    assert list(found.index) == PAPERS
    assert found[found.verdict != verdict].verdict.to_dict() == {}
    assert all(found.measured) and all(found.meaning) and all(found.rule)
    assert set(found.whose) == {THE_PAPER}


# What a short training can deny, and why: it is of costs, of one flow, of few images, or events that were seen.
AT_ANY_LENGTH = {
    "amd_reduces_each_step": "one flow", "flow_sharpens_with_training": "three early flows",
    "adjoint_costs_five_times": "a cost", "second_order_slightly_dearer": "a cost", "costs_more_time": "a cost",
    "few_images": "few images", "improves_ae": "few images", "superior_per_training_image": "few images",
    "superior_reconstructions_from_few": "few images", "ae_latents_do_not_cluster": "few images",
    "amd_more_stable": "jumps that were seen",
}  # fmt: skip


def test_no_claim_on_trained_networks_is_denied_by_short_trainings(tmp_path):
    write(tmp_path, cut_short(made(favourable=False)))
    found = judged(Place(tmp_path)).verdict
    assert set(found[found.isin([NO, PARTLY])].index) == set(AT_ANY_LENGTH)
    assert set(found.drop(list(AT_ANY_LENGTH))) == {UNDECIDED}


def test_a_single_seed_decides_nothing_that_is_over_seeds(tmp_path):
    write(tmp_path, made(seeds=1))
    found = judged(Place(tmp_path)).verdict
    elsewhere = ["amd_reduces_each_step", "flow_sharpens_with_training", "superior_reconstructions_from_few",
                 "fixed_grids_unstable", "amd_more_stable"]  # fmt: skip
    assert set(found.drop(elsewhere)) == {UNDECIDED}
    assert set(found[elsewhere]) == {YES}


def test_what_has_no_file_is_not_measured_and_names_it(place):
    (place.figures / "table2.csv").unlink()
    found = judged(place)
    missing = found[found.verdict == NOT_MEASURED]
    assert set(missing.index) == {
        "parity_when_converged", "segmented_advantage", "similar_reconstructions_when_trained"
    }  # fmt: skip
    assert missing.meaning.str.contains("table2.csv").all()


def test_what_the_profile_did_not_run_is_not_measured_and_says_so(place):
    frames = made()
    write(place.figures, {"table1": frames["table1"].query("method != 'ae'").assign(ae_loss=np.nan)})
    write(place.figures, {"table2": frames["table2"].query("dataset != 'segmented_mnist'")})
    found = judged(place)
    assert found.verdict["few_images"] == found.verdict["segmented_advantage"] == NOT_MEASURED
    assert "did not run ae" in found.meaning["few_images"]
    assert found.verdict["parity_when_converged"] == NOT_MEASURED, "it speaks of three data sets"
    assert "segmented_mnist" in found.meaning["parity_when_converged"]
    assert found.verdict["similar_reconstructions_when_trained"] == YES


def test_nothing_is_judged_on_a_stand_in(place):
    """FashionMNIST has no images in the environment, MNIST has 5,000."""
    place.shipped = set(REGISTRY)
    found = judged(place)
    fashion = [name for name in PAPERS if "fashion_mnist" in statements()[name]["data"]]
    assert set(found.verdict[fashion]) == {NOT_MEASURED} and set(found.measured[fashion]) == {""}
    assert found.meaning[fashion].str.contains("FashionMNIST is not to be had here").all()
    others = found.drop(fashion)
    assert NOT_MEASURED not in set(others.verdict)
    assert others.meaning.str.contains("5,000 of MNIST's 70,000 images").all(), "a verdict carries its caution"
    assert not judged(Place(place.figures)).meaning.str.contains("5,000 of").any()


def test_a_data_set_that_cannot_be_read_leaves_its_claims_unmeasured(place, monkeypatch):
    def embedded(dataset="mnist"):
        if dataset == "fashion_mnist":
            raise DataError("t10k-labels-idx1-ubyte is missing.")
        return False

    monkeypatch.setattr(place, "embedded", embedded)
    found = judged(place)
    assert found.verdict["parity_when_converged"] == NOT_MEASURED and found.verdict["few_images"] == YES
    assert "t10k-labels" in found.meaning["parity_when_converged"]
    assert printed(place, "table2", "fashion_mnist", "ae") is None


def test_a_new_data_set_takes_no_part_in_any_claim(place):
    before = judged(place)
    extra = frame([("letters", m, s, 9.0) for m in ("ae", AMD, "ae_then_amd") for s in range(3)],
                  "dataset method seed test_loss")  # fmt: skip
    write(place.figures, {"table2": pd.concat([made()["table2"], extra])})
    pd.testing.assert_frame_equal(judged(place), before)
    assert "letters" not in set(numbers(place).row)
    assert printed(place, "table2", "letters", "ae") is None


def test_a_new_method_is_not_compared_with_the_papers_columns(place, monkeypatch):
    """Neither one that is called like the paper's, nor one of another name, unless it says that it is printed."""
    for name in ("gfe_amd_new", "other"):
        monkeypatch.setitem(METHODS, name, replace(METHODS[AMD], printed=None))
    monkeypatch.setitem(METHODS, "same", replace(METHODS[AMD], printed="gfe_amd"))
    before = judged(place)
    extra = frame([(480, m, s, 9.0) for m in ("gfe_amd_new", "other", "same") for s in range(3)],
                  "images method seed test_loss")  # fmt: skip
    write(place.figures, {"table1": pd.concat([made()["table1"], extra])})
    pd.testing.assert_frame_equal(judged(place), before)
    assert set(numbers(place).method) == {"ae", AMD, "ae_then_amd", "same"}
    assert printed(place, "table1", 480, "other") is None and printed(place, "table1", 480, "same") == 0.2098
    assert beside(place, "table1", 480, "other", Interval(0.2, 0.01, 3)) == ""


def test_verdicts_read_as_a_list_in_the_papers_words(place):
    (place.figures / "table1.csv").unlink()
    first, second = verdicts(place, "segmented_advantage", "few_images").splitlines()
    assert first.startswith(
        "- \u201cFor the segmented MNIST [...] The GFE-amd shows a clear advantage over the AE\u201d "
    )
    assert f"(Sec. 5, Table 2): **{YES}**. AE − GFE = 0.0010" in first
    assert second.endswith(f"(Sec. 5, Table 1): **{NOT_MEASURED}**. table1.csv is not there yet.")
    assert ".." not in first.replace("[...]", "")


def test_an_unknown_claim_is_an_error_that_lists_the_valid_ones(place):
    with pytest.raises(KeyError, match="no claim is called few, nor_this; valid are .*few_images.*segmented_advantage"):
        verdicts(place, "few_images", "few", "nor_this")


def test_our_findings_are_joined_as_ours(place, monkeypatch):
    entry = {"name": "a", "section": "5", "text": "It is so", "data": ["mnist"], "whose": OURS}

    def rule(read):
        """It is."""
        return Finding(YES, "1 = 1", "By counting.")

    monkeypatch.setattr(scorecard, "statements", lambda: statements() | {"a": entry | {"rule": rule}})
    found = judged(place, "few_images", "a")
    assert list(found.whose) == [THE_PAPER, OURS]
    assert verdicts(place, "a") == f"- It is so (ours): **{YES}**. 1 = 1. By counting."


def test_every_finding_of_our_own_has_a_rule_and_names_its_data_sets():
    for name, entry in statements().items():
        assert entry["rule"].__name__ == name and entry["rule"].__doc__
        assert set(entry["data"]) <= set(REGISTRY)
    assert list(statements())[: len(PAPERS)] == PAPERS, "the paper's claims come first"


def test_a_claim_without_a_rule_names_the_function_to_write():
    with pytest.raises(ValueError, match=r"the function nothing\(read\) in gfe_companion.evidence.claims.flows or"):
        scorecard._rule("nothing", *scorecard.RULES[THE_PAPER])


@pytest.mark.parametrize(
    ("mean", "half", "count", "verdict"),
    [
        (0.100, 0.004, 3, YES),
        (0.104, 0.0009, 3, YES),
        (0.104, 0.002, 3, UNDECIDED),
        (0.110, 0.004, 3, NO),
        (0.096, 0.002, 3, UNDECIDED),
        (0.090, 0.004, 3, PARTLY),
        (0.100, 0.06, 3, UNDECIDED),
        (0.100, math.nan, 1, UNDECIDED),
        (0.200, math.nan, 1, UNDECIDED),
    ],
)
def test_a_printed_loss_is_reached_within_five_percent_or_undercut(mean, half, count, verdict):
    assert agreement(Interval(mean, half, count), 0.1) == verdict


def test_what_is_near_can_be_chosen():
    assert agreement(Interval(0.104, 0.0009, 3), 0.1, near=0.02) == NO
    assert agreement(Interval(0.104, 0.0009, 3), 0.1, near=0.1) == YES


def test_numbers_pair_our_methods_with_the_papers_columns(place):
    found = numbers(place).set_index(["table", "row", "method"])
    assert found.printed["table1", 480, AMD] == 0.2098 and found.printed["table2", "mnist", "ae"] == 0.0843
    assert ("table2", "mnist", "ae_then_amd") not in found.index, "the paper prints no such number"
    assert np.isclose(found["mean"]["table1", 480, "ae"], 0.2001)
    assert np.isclose(found.deviation["table1", 480, "ae"], 0.2001 / 0.266 - 1)
    ours = Interval(0.2001, 0.001, 3)
    assert beside(place, "table1", 480, "ae", ours) == f"0.2660 ({PARTLY})"


def test_printed_numbers_are_not_shown_beside_a_stand_in(place):
    place.shipped = set(REGISTRY)
    assert set(numbers(place).row) == {480, 960, "mnist", "segmented_mnist"}
    assert printed(place, "table2", "fashion_mnist", "ae") is None
    assert beside(place, "table2", "fashion_mnist", "ae", Interval(0.27, 0.01, 3)) == ""
    assert printed(place, "table1", 480, "ae") == 0.2660, "fewer images of MNIST are MNIST still"


def test_a_row_that_the_paper_does_not_have_is_not_compared(place):
    assert printed(place, "table1", 500, "ae") is None


def test_without_any_file_there_are_no_numbers_and_no_verdicts(tmp_path):
    assert numbers(Place(tmp_path)).empty
    assert set(judged(Place(tmp_path)).verdict) == {NOT_MEASURED}
    assert set(claims.WORDS) == {YES, PARTLY, UNDECIDED, NO, NOT_MEASURED}


def test_pages_on_another_data_set_compare_nothing(tmp_path):
    """Not even where the numbers would decide every claim."""
    write(tmp_path, made())
    place = Place(tmp_path, dataset="fashion_mnist")
    found = judged(place)
    assert set(found.verdict) == {NOT_MEASURED}
    assert set(found.meaning) == {"Not compared: the pages show FashionMNIST in the place of MNIST."}
    assert printed(place, "table1", 480, "ae") is printed(place, "table2", "fashion_mnist", "ae") is None
    assert numbers(place).empty
