"""What a verdict means, on each side of each limit; and that nothing but the rulebook speaks verdicts."""

import ast
import inspect
import math
import re
from itertools import product

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence import claims
from gfe_companion.evidence.claims import (
    EPOCH,
    NO,
    PARTLY,
    UNDECIDED,
    WORDS,
    YES,
    Rate,
    Unmeasured,
    all_of,
    fact,
    flows,
    for_an_epoch,
    happens,
    holds,
    learning,
    paired,
    rarer,
)  # fmt: skip
from gfe_companion.evidence.intervals import Interval
from gfe_companion.evidence.paper import paper
from gfe_companion.evidence.scorecard import NEAR, statements
from gfe_companion.runs.profiles import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
finite = st.floats(-10, 10)


@given(finite, st.floats(0, 5), st.integers(2, 9), finite, st.floats(0, 5))
def test_an_interval_holds_inside_fails_outside_and_else_decides_nothing(mean, half, count, low, width):
    found, high = Interval(mean, half, count), low + width
    inside = low < found.low and found.high < high
    outside = found.high <= low or found.low >= high
    assert holds(found, low, high) == (YES if inside else NO if outside else UNDECIDED)
    assert holds(found._replace(half=math.nan, count=1), low, high) == UNDECIDED, "one seed"


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0.51, YES), (0.5, UNDECIDED), (0.0, UNDECIDED), (-0.49, UNDECIDED), (-0.5, NO), (-0.51, NO)]
)
def test_a_claim_that_something_is_above_zero(mean, verdict):
    assert holds(Interval(mean, 0.5, 3)) == verdict


@given(st.lists(st.sampled_from((YES, NO, UNDECIDED)), min_size=1, max_size=6))
def test_several_parts_come_to_what_they_must_whichever_way_the_undecided_ones_turn_out(parts):
    choices = product(*([YES, NO] if part == UNDECIDED else [part] for part in parts))
    possible = {choice[0] if len(set(choice)) == 1 else PARTLY for choice in choices}
    assert all_of(parts) == (possible.pop() if len(possible) == 1 else UNDECIDED)


def test_a_direction_that_holds_without_its_size_is_partly():
    found = Interval(2.0, 0.2, 3)
    assert all_of([holds(found, 1), holds(found, 4, 6)]) == PARTLY
    assert all_of([holds(found._replace(mean=5.0), 1), holds(found._replace(mean=5.0), 4, 6)]) == YES
    assert all_of([holds(found._replace(mean=0.5), 1), holds(found._replace(mean=0.5), 4, 6)]) == NO
    assert all_of([holds(found._replace(mean=4.0), 1), holds(found._replace(mean=4.0), 4, 6)]) == UNDECIDED
    assert fact(True) == YES and fact(False) == NO


def test_a_denial_waits_for_an_epoch():
    assert EPOCH == 3125
    assert for_an_epoch(NO, EPOCH - 1) == UNDECIDED
    assert for_an_epoch(NO, EPOCH) == NO
    assert for_an_epoch(YES, 1) == YES and for_an_epoch(UNDECIDED, 9 * EPOCH) == UNDECIDED


@given(st.integers(0, 40), st.integers(1, 10_000))
def test_the_bounds_of_a_rate_are_those_of_a_poisson_count(count, iterations):
    rate = Rate.of(count, iterations)
    assert stats.poisson.cdf(count, rate.high * iterations) == pytest.approx(0.05)
    if count:
        assert stats.poisson.sf(count - 1, rate.low * iterations) == pytest.approx(0.05)
    else:
        assert rate.low == 0 and rate.high == pytest.approx(3 / iterations, rel=0.01)


def test_what_was_never_seen_is_denied_only_after_three_epochs():
    assert happens(Rate.of(1, 10)) == YES
    assert happens(Rate.of(0, 2.99 * EPOCH)) == UNDECIDED
    assert happens(Rate.of(0, 3.0 * EPOCH)) == NO


def test_one_rate_is_below_another_if_their_bounds_are_apart():
    assert rarer(Rate(0.0, 0.1), Rate(0.2, 0.3)) == YES
    assert rarer(Rate(0.0, 0.2), Rate(0.1, 0.3)) == UNDECIDED
    assert rarer(Rate(0.4, 0.5), Rate(0.1, 0.3)) == NO
    assert rarer(Rate.of(0, 400), Rate.of(0, 400)) == UNDECIDED, "neither was watched for long"
    assert rarer(Rate.of(0, 4 * EPOCH), Rate.of(0, 4 * EPOCH)) == NO, "there is nothing to be better than"


def test_pairs_are_finite_and_there_or_unmeasured():
    frame = pd.DataFrame({"method": ["a", "b", "a", "b"], "seed": [0, 0, 1, 1], "loss": [1.0, 2.0, 3.0, np.inf]})
    assert paired(frame, ["seed"], "loss", ["a", "b"]).index.tolist() == [0]
    with pytest.raises(Unmeasured, match="did not run a and c"):
        paired(frame, ["seed"], "loss", ["a", "c"])


def test_the_definition_has_every_word_once():
    text = claims.definition()
    assert [word for word in WORDS if text.count(f"**{word}**") == 1] == list(WORDS)
    assert not text.startswith("The verdict on a claim"), "the module's first line is for readers of the code"
    assert f"{100 * NEAR:.0f} %" in text


def rules(module):
    return {
        name: found
        for name, found in inspect.getmembers(module, inspect.isfunction)
        if found.__module__ == module.__name__ and list(inspect.signature(found).parameters) == ["read"]
        and not name.startswith("_")
    }  # fmt: skip


def test_every_claim_has_its_rule_and_every_rule_its_claim():
    names = [claim["name"] for claim in paper()["claim"]]
    found = rules(flows) | rules(learning)
    assert set(found) == set(names) and len(names) == len(set(names))
    assert len(rules(flows)) + len(rules(learning)) == len(names), "no name in both modules"
    assert all(rule.__doc__ for rule in found.values())
    texts = [claim["text"] for claim in paper()["claim"]]
    assert len(texts) == len(set(texts))
    for claim in paper()["claim"]:
        assert set(claim) == {"name", "section", "text", "data"}
        assert claim["data"] and set(claim["data"]) <= set(REGISTRY)


def test_what_has_no_interval_over_seeds_says_so():
    for name in ("amd_reduces_each_step", "flow_sharpens_with_training", "fixed_grids_unstable", "amd_more_stable",
                 "superior_reconstructions_from_few", "adjoint_costs_five_times"):  # fmt: skip
        assert "not over seeds" in " ".join(statements()[name]["rule"].__doc__.lower().split())
    for name in ("fixed_grids_unstable", "amd_more_stable"):
        assert "an epoch" in statements()[name]["rule"].__doc__, "the rate that would matter"


WORD = re.compile(rf"\b(reproduced|undecided)\b|^({'|'.join(WORDS)})$|[*\"']({'|'.join(WORDS)})")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_speaks_a_verdict_itself(path):
    for cell in nbformat.read(path, as_version=4).cells:
        said = WORD.search(cell.source)
        assert not said, f"{path.stem}: {said[0]}"


def test_no_code_but_the_rulebook_has_a_verdict_word_in_its_strings():
    for path in sorted((ROOT / "gfe_companion").rglob("*.py")):
        if path == ROOT / "gfe_companion" / "evidence" / "claims" / "__init__.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                assert not WORD.search(node.value), f"{path.relative_to(ROOT)}, line {node.lineno}: {node.value!r}"


@pytest.mark.parametrize("erratum", paper()["erratum"], ids=lambda erratum: erratum["section"])
def test_an_erratum_points_at_a_heading_that_is_there(erratum):
    notebook, heading = erratum["shown"].split("#")
    cells = nbformat.read(ROOT / "notebooks" / notebook, as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    headings = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    assert headings.count(heading) == 1, f"{notebook} has no heading {heading!r}"
