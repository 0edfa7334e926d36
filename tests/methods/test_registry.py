"""The registry itself: looks that can be told apart, columns that the paper prints, and one place for a new method."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
import pytest
from matplotlib.colors import is_color_like
from matplotlib.markers import MarkerStyle

from gfe_companion import methods
from gfe_companion.evidence.paper import paper
from gfe_companion.methods import METHODS, Entrant, Look, Method, entrants
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.studies import beyond_plans, beyond_race, data_efficiency, plans
from gfe_core.accelerated import NesterovAMD

SETTING = Setting.of("smoke", "embedded", device="cpu")
DRAWN_TOGETHER = {
    "Table 1 and Figure 4": [method.look for method in METHODS.values() if method.table1],
    "the race": [method.look for method in METHODS.values() if method.race],
    "the fixed grids and AMD": [METHODS[name].look for name in ("gfe", "gfe_nesterov", "gfe_amd_uncapped")],
    "beyond the paper": [METHODS[name].look for name in ("ae", "gfe_fast", "gfe_amd_uncapped", "auto_decoder")],
}


@pytest.mark.parametrize("looks", DRAWN_TOGETHER.values(), ids=DRAWN_TOGETHER)
def test_what_is_drawn_together_can_be_told_apart(looks):
    for one, other in combinations(looks, 2):
        assert (one.color, one.marker, one.linestyle) != (other.color, other.marker, other.linestyle), (one, other)
        assert one.label != other.label and one.short != other.short


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_name_and_a_look_that_can_be_drawn(name):
    look = METHODS[name].look
    assert name.isidentifier() and name == name.lower()
    assert is_color_like(look.color) and MarkerStyle(look.marker) and look.linestyle in ("-", "--", "-.", ":")
    assert look.short and look.label


def test_no_two_methods_have_one_name_in_a_table_or_in_the_race():
    assert len({method.look.short for method in METHODS.values()}) == len(METHODS)
    raced = entrants()
    assert len({entrant.name for entrant in raced}) == len(raced) > 10


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.printed])
def test_only_columns_that_the_paper_prints_are_named(name):
    printed = METHODS[name].printed
    columns = {column for table in paper().values() if isinstance(table, dict) for column in table}
    assert printed in columns
    assert isinstance(paper()["table1"][printed], list)
    assert printed in METHODS, "the head of the paper's column is the look of the method of that name"


@pytest.mark.parametrize("entrant", entrants(), ids=lambda entrant: entrant.name)
def test_a_ladder_has_rungs_that_differ(entrant):
    for ladder in entrant.ladders:
        assert len(ladder) == len(set(ladder)) > 1
    assert len(set(entrant.ladders)) == len(entrant.ladders) > 0


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_trained_for_table_1_is_what_the_registry_says(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    trained = {name for name, m in METHODS.items() if m.table1 and (setting.profile.literal_amd or not m.slow)}
    assert set(plans.figure4(setting).method) == trained
    assert set(plans.table1(setting).method) == trained | {"ae_then_amd"}


# --- a new method is one entry


NEW = Method(
    Look("one more", "one more method", "#123456", "8", "--"), NesterovAMD(tolerance=0.0, max_trials=7),
    tester=NesterovAMD(max_trials=70), table1=True,
    race=Entrant("one more", ((NesterovAMD(tolerance=0.1), NesterovAMD(tolerance=0.01)),)),
)  # fmt: skip


@pytest.fixture
def one_more(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "one_more", NEW)


def test_it_is_in_no_plan_before():
    assert "one_more" not in {*plans.table1(SETTING).method, *plans.figure4(SETTING).method}
    assert NEW.race not in {*entrants(), *beyond_plans.race(SETTING).entrants}


def test_a_new_method_is_trained_and_tested_by_being_there(one_more):
    table, figure = plans.table1(SETTING), plans.figure4(SETTING)
    ours = table[table.method == "one_more"]
    assert sorted(set(ours.images)) == sorted(set(table.images)) and set(ours.seed) == set(table.seed)
    for config in ours.config:
        assert config.training.solver == NEW.solver and config.solver == NEW.tester
    assert {config.solver for config in figure[figure.method == "one_more"].config} == {NEW.solver}


def test_a_new_entrant_races_by_being_there(one_more):
    race = beyond_plans.race(SETTING)
    assert NEW.race in race.entrants and race.entrants == entrants()


def legend_of(picture) -> list[str]:
    found = [*picture.figure.legends, *(axes.get_legend() for axes in picture.figure.axes)]
    return [text.get_text() for legend in found if legend is not None for text in legend.get_texts()]


def test_a_new_method_is_drawn_in_figure_4_and_stands_in_table_1(one_more):
    names = [name for name, method in METHODS.items() if method.table1]
    at = [(name, seed, images) for name in names for seed in (0, 1) for images in (480, 960)]
    curves = pd.DataFrame(at, columns=["method", "seed", "images"])
    curves = curves.assign(seconds=curves.images / 100, training_loss=0.2, validation_loss=100 / curves.images)
    for draw in (data_efficiency.fig4_left, data_efficiency.fig4_right):
        picture = draw(SETTING, curves)
        assert legend_of(picture) == [METHODS[name].look.label for name in names]
        assert NEW.look.short in picture.alt
        line = next(line for line in picture.figure.axes[0].lines if line.get_label() == NEW.look.label)
        assert (line.get_color(), line.get_marker()) == (NEW.look.color, NEW.look.marker)
    table = data_efficiency.table1(SETTING, curves.assign(test_loss=curves.validation_loss, ae_loss=0.2))
    assert NEW.look.short in table.shown.columns


def test_a_new_entrant_is_drawn_in_the_race(one_more):
    raced = [(entrant.name, 0, "", passes, 0.1, 1 / passes) for entrant in entrants() for passes in (10.0, 200.0)]
    race = pd.DataFrame(raced, columns=["encoder", "ladder", "solver", "passes", "seconds", "gap"])
    race.loc[(race.encoder == NEW.race.name) & (race.passes == 10), "gap"] = 1e-4  # among the first to arrive
    picture = beyond_race.fig8_race(SETTING, race)
    assert NEW.race.name in legend_of(picture)
    line = next(line for line in picture.figure.axes[0].lines if line.get_label() == NEW.race.name)
    assert (line.get_color(), line.get_marker()) == (NEW.look.color, NEW.look.marker)
    assert NEW.race.name in set(beyond_race.table_race(SETTING, race).shown.encoder)
