"""The race's figure and table: any entrant that is registered takes part, and looks like its method."""

from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from gfe_companion.methods import METHODS, UNCAPPED, Entrant, Look, Method, entrants
from gfe_companion.methods.baselines import AdamEncoder
from gfe_companion.studies import beyond_plans
from gfe_companion.studies import beyond_race as racing


@pytest.fixture
def two_more(monkeypatch):
    """Two newly registered entrants of the same, plain look; the second one's ladder is of a library."""
    for name, solver in (("new", UNCAPPED), ("newer", AdamEncoder(0.1, 5))):
        method = Method(Look(name, name), race=Entrant(f"a {name} one", ((solver,),)))
        monkeypatch.setitem(METHODS, name, method)


def raced(names):
    """A race in which every entrant has three rungs, the second of which is no better than the first."""
    rows = [
        (name, 0, "", 10.0 * (place + 1) * passes, 0.1 * passes, gap)
        for place, name in enumerate(names)
        for passes, gap in ((1, 0.1), (2, 0.1), (3, 0.005))
    ]
    return pd.DataFrame(rows, columns=["encoder", "ladder", "solver", "passes", "seconds", "gap"])


def test_a_newly_registered_entrant_is_in_the_race_its_figure_legend_and_table(setting, two_more):
    names = [entrant.name for entrant in beyond_plans.race(setting).entrants]
    assert names[-2:] == ["a new one", "a newer one"]
    few = raced(["AMD, s_max = 1000", *names[-2:]])
    shown = [text.get_text() for text in racing.fig8_race(setting, few).figure.legends[0].get_texts()]
    assert set(shown) == {"AMD, s_max = 1000", *names[-2:]}
    race = raced(names)
    picture = racing.fig8_race(setting, race)
    drawn = [line for line in picture.figure.axes[0].lines if line.get_label() in names]
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == racing.NAMED, "no two look alike"
    assert racing.table_race(setting, race).shown.encoder.tolist() == names
    assert "a newer one" in picture.alt


def test_an_entrant_looks_like_its_method(setting):
    for method in METHODS.values():
        if method.race is not None:
            race = raced([method.race.name])
            (line, *_) = racing.fig8_race(setting, race).figure.axes[0].lines
            assert (line.get_color(), line.get_linestyle()) == (method.look.color, method.look.linestyle)
            assert line.get_marker() == method.look.marker
            assert (line.get_linewidth() > 2) == method.race.warm
            assert (to_rgba(line.get_markerfacecolor()) == to_rgba("white")) == racing.of_a_library(method.race)


def test_six_encoders_have_a_name_and_the_paper_s_is_one_of_them(setting):
    race = raced([entrant.name for entrant in entrants()])
    far = race.encoder == "AMD, s_max = 1000"
    race.loc[far, "gap"] = 0.5
    chosen = racing.named(race)
    assert len(chosen) == racing.NAMED and chosen[0] == "AMD, s_max = 1000"
    others = race[~far & (race.gap < 0.01)].sort_values("passes").encoder
    assert chosen[1:] == others.tolist()[: racing.NAMED - 1]
    grey = [line for line in racing.fig8_race(setting, race).figure.axes[0].lines if line.get_color() == racing.REST]
    assert len(grey) == race.encoder.nunique() - racing.NAMED + 1, "and one for the legend"


def test_the_registry_decides_what_a_library_encoder_is(two_more):
    found = {name for name, (entrant, _) in racing.racing().items() if racing.of_a_library(entrant)}
    assert found == {"Adam", "LBFGS", "dopri5", "rk4", "a newer one"}
    mixed = Entrant("mixed", ((AdamEncoder(0.1, 5), UNCAPPED),))
    assert not racing.of_a_library(mixed)


def test_a_look_that_is_taken_gets_a_free_marker(monkeypatch):
    base = METHODS["adam"]
    twins = {f"twin {n}": replace(base, race=replace(base.race, name=f"twin {n}")) for n in range(3)}
    for name, method in twins.items():
        monkeypatch.setitem(METHODS, name, method)
    found = racing.looks(["Adam", *twins])
    assert found["Adam"] == base.look
    assert len({look.marker for look in found.values()}) == 4
    assert {look.color for look in found.values()} == {base.look.color}


def test_the_front_leaves_out_what_is_no_nearer_and_the_fewest_only_who_gets_there():
    race = raced(["Adam", "warm QuasiNewtonAMD", "LBFGS"])
    assert racing.front(race[race.encoder == "Adam"]).gap.tolist() == [0.1, 0.005]
    assert racing.fewest(race, 0.01).passes.to_dict() == {"Adam": 30, "warm QuasiNewtonAMD": 60, "LBFGS": 90}
    assert racing.fewest(race, 0.001).empty
    assert racing.warm_ones(race) == ["warm QuasiNewtonAMD"]


def test_encoding_pays_until_the_time_saved_is_spent(setting):
    race = raced(["warm QuasiNewtonAMD", "Adam"])
    each = 0.3 / setting.profile.race_images  # seconds an image
    times = pd.DataFrame({"schedule": ["constant"], "ae": [12.0], "gfe": [9.0]})
    assert f"until about **{3 / each:,.0f}** images" in racing.say_pays(setting, times, race)
    assert "saves no time" in racing.say_pays(setting, times.assign(gfe=13.0), race)
    assert "does not come down" in racing.say_pays(setting, times.assign(gfe=float("inf")), race)
    assert "does not come down" in racing.say_pays(setting, times, raced(["Adam"]))
