"""Notebook 06's studies, where a number can be had by hand, and what they make of a new data set and of a stand-in."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from gfe_companion.datasets import REGISTRY, Embedded, Entry, Split
from gfe_companion.studies import converged_exchange as exchange
from gfe_companion.studies import converged_gains as gains
from gfe_companion.studies import converged_models as study
from gfe_companion.studies import converged_pictures as pictures
from gfe_companion.studies.drawing import style
from gfe_companion.studies.same_images import beside_ae
from gfe_core.models import Decoder
from gfe_core.objective import bce

LONG = "WWWW, a data set with a name that nobody would want to write above a panel, 1,234,567 images"
LOSSES = {"ae": 0.2, "gfe_amd_uncapped": 0.1, "ae_then_amd": 0.15, "gfe_fast": 0.08, "gfe_fast_long": 0.05}
ONCE = ("gfe_amd_uncapped", "gfe_fast")  # one epoch


@pytest.fixture
def toy(monkeypatch):
    """A data set that the paper does not know, of 12 classes, registered last."""

    def splits():
        return (Split(torch.rand(36, 784, generator=torch.Generator().manual_seed(0)), torch.arange(36) % 12),) * 3

    entry = Entry(order=99, title=LONG, files=None, embedded=Embedded(LONG, splits), epoch=48)
    monkeypatch.setitem(REGISTRY, "toy", entry)


def run_of(losses):
    return SimpleNamespace(history=pd.DataFrame({"loss": losses}))


def table(*names, seeds=(0,), **changed):
    """Runs of Table 2, each data set with the same losses."""
    rows = [
        (name, method, seed, 80 if method in ONCE else 960, run_of([loss] * 3), loss, 2.0)
        for name in names
        for seed in seeds
        for method, loss in (LOSSES | changed).items()
    ]
    frame = pd.DataFrame(rows, columns=["dataset", "method", "seed", "images", "run", "test_loss", "seconds"])
    return beside_ae(frame.assign(config=SimpleNamespace(every=1)), ["dataset", "seed"])


def test_the_papers_numbers_stand_beside_its_own_data_sets_alone(setting, toy):
    made = study.table2(setting, table(*REGISTRY))
    shown = made.shown.set_index("data set")
    ours = ["GFE, accelerated", "GFE, accelerated, 12 epochs", "AE, then AMD"]
    assert list(shown) == ["AE", "paper: AE", "GFE-amd, uncapped", "paper: GFE-amd", *ours]
    assert shown.loc["MNIST, 5,000 images", "paper: GFE-amd"].startswith("0.0830 (")
    uncompared = shown.loc[[LONG, "letters A-J (stand-in for FashionMNIST)"]]
    assert (uncompared[["paper: AE", "paper: GFE-amd"]] == "").all(axis=None)
    assert (uncompared["AE"] == "0.2000").all()
    assert list(made.data) == ["dataset", "method", "seed", "images", "test_loss", "ae_loss"]
    alone = study.table2(setting, table("toy"))
    assert list(alone.shown) == ["data set", "AE", "GFE-amd, uncapped", *ours]


def test_twelve_epochs_may_be_of_fewer_seeds_or_of_none(setting):
    setting = replace(setting, seeds=(0, 1), profile=replace(setting.profile, converged_seeds=2))
    runs = table("mnist", seeds=(0, 1))
    one = runs[(runs.method != "gfe_fast_long") | (runs.seed == 0)]
    made = study.table2(setting, one)
    assert "twelve, like the AE (1 of the seeds)" in made.notes
    assert made.shown["GFE, accelerated, 12 epochs"].tolist() == ["0.0500"]
    none = study.table2(setting, runs[runs.method != "gfe_fast_long"])
    assert "GFE, accelerated, 12 epochs" not in none.shown and "accelerated" not in none.notes
    assert "12 epochs" not in study.fig_converged(setting, runs[runs.method != "gfe_fast_long"]).alt


def test_every_data_set_has_a_panel_and_every_title_its_place(setting, toy):
    style()
    picture = study.fig_converged(setting, table(*REGISTRY))
    figure = picture.figure
    figure.canvas.draw()
    bars = [sum(line.get_color() == "black" for line in axes.lines) for axes in figure.axes]
    assert bars == [2, 2, 0, 0]
    (legend,) = figure.legends
    assert len(legend.texts) == 5
    assert figure.get_size_inches()[1] > study.fig_converged(setting, table("mnist")).figure.get_size_inches()[1]
    whole = figure.bbox
    for axes in figure.axes:
        box = axes.title.get_window_extent()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    alone = study.fig_converged(setting, table("toy")).figure
    assert "paper" not in alone.get_suptitle()


def test_the_ratio_is_paired_by_seed(setting):
    frame = pd.concat([table("mnist"), table("mnist", seeds=(1,), ae=0.4, gfe_amd_uncapped=0.28)])
    found = study.ratios(frame)["mnist"]
    assert (found.mean, found.count) == (pytest.approx(0.6), 2)  # of 0.5 and 0.7
    assert "| MNIST, 5,000 images | 0.600 ± 1.271 | 2.0 | 2.0 |" in study.say_seen(setting, frame)


def test_the_excess_is_split_between_the_encoder_at_test_and_the_rest(setting, toy, monkeypatch):
    """GFE-amd at 0.1 is 0.1 / 0.083 - 1 above the paper's; the optimum takes off a tenth, and a fifth of the other."""

    def finished(configs, setting):
        of_ae = [config.evaluation.training.solver is None for config in configs]
        return [run_of([0.12 if ae else 0.09] * 2) for ae in of_ae]

    monkeypatch.setattr(gains, "run_grid", finished)
    found = gains.excess(setting, table("mnist", "fashion_mnist", "toy")).set_index("dataset")
    row = found.loc["mnist"]
    assert row.gfe == pytest.approx(0.1 / 0.083 - 1)
    assert row.gfe_at_optimum == pytest.approx(0.09 / 0.083 - 1)
    assert row.ae_at_optimum == pytest.approx(0.12 / 0.083 - 1)
    assert row.fast == pytest.approx(0.08 / 0.083 - 1)
    assert row.ae == pytest.approx(0.2 / 0.0843 - 1)
    assert found.encoder_at_test.tolist() == pytest.approx([0.1] * 3)
    assert found.loc[["fashion_mnist", "toy"]].drop(columns=["seed", "encoder_at_test"]).isna().all(axis=None)
    shown = gains.table_excess(setting, found.reset_index()).shown.set_index("data set")
    assert shown.loc["MNIST, 5,000 images", "GFE-amd, uncapped"] == "+20.5%"
    assert shown.loc[LONG].tolist() == ["\u2013", "+10.0%", *["\u2013"] * 4]
    said = gains.say_excess(setting, found.reset_index())
    assert "from +20.5% to +8.4%, and training by the accelerated encoder leads to -3.6%" in said
    assert LONG not in said
    assert "no number" in gains.say_excess(setting, found.loc[["toy"]].reset_index())


def test_the_share_of_the_first_images_is_carried_over_to_all(setting, monkeypatch):
    runs = table("mnist").set_index("method")
    runs.at["gfe_amd_uncapped", "run"] = run_of([0.2, 0.2, 9.0])
    monkeypatch.setattr(gains, "run_grid", lambda configs, setting: [run_of([0.15] * 2) for _ in configs])
    assert gains.excess(setting, runs.reset_index()).encoder_at_test[0] == pytest.approx(0.25)


def test_the_gain_is_on_the_same_images():
    """The encoder's loss on images that AMD was not given does not count."""
    frame = table("mnist").set_index("method")
    frame.at["ae", "run"] = run_of([0.3, 0.1, 0.5, 0.2, 9.0])
    frame.at["ae_then_amd", "run"] = run_of([0.2, 0.2, 0.1, 0.1])
    (row,) = gains.gains(frame.reset_index()).itertuples()
    assert row.gain == pytest.approx((0.1 - 0.1 + 0.4 + 0.1) / 4)
    assert row.images_improved == 0.75


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ([1, 0, 1, 0, 1, 0] * 3, [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]),  # five of each of two
        ([7, 5, 7], [1, 0, 2]),  # as many as there are
        (list(range(11, -1, -1)), [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]),  # one of each, ten in all
    ],
)
def test_the_first_images_of_each_class_are_drawn(labels, numbers):
    assert pictures.of_each_class(torch.tensor(labels)).tolist() == numbers


@pytest.mark.parametrize("stage", ["few", "trained"])
def test_figure_5_draws_all_but_segmented_mnist_in_blocks_of_one_size(setting, toy, monkeypatch, stage):
    asked = []

    def made(setting, config, seen, images):
        asked.append(seen)
        return images * 0, images.mean(dim=1)

    monkeypatch.setattr(pictures, "reconstruct", made)
    runs = table(*REGISTRY).assign(config=[SimpleNamespace(images=seen) for seen in table(*REGISTRY).images])
    drawn = pictures.reconstructions(setting, runs, trained=stage == "trained")
    assert list(drawn.dataset.unique()) == ["mnist", "fashion_mnist", "toy"]
    assert (drawn.groupby("dataset").test_image.nunique() == 10).all()
    assert asked == ([80, 960] if stage == "trained" else [48, 48]) * 3
    draw = {"few": pictures.fig5_a, "trained": pictures.fig5_b}[stage]
    picture = draw(setting, drawn)
    assert list(picture.data) == ["dataset", "label", "test_image", "method", "loss"]
    two = draw(setting, drawn[drawn.dataset != "toy"])
    wide, high = picture.figure.get_size_inches() / two.figure.get_size_inches()
    assert (wide, high) == (1, 2)
    tile = picture.figure.axes[2].images[0].get_array()  # what the error of a black reconstruction looks like
    first = setting.load("mnist").test.images[int(drawn.test_image[0])]
    assert torch.allclose(torch.tensor(tile).flatten(), 1 - first)
    mean = drawn[(drawn.dataset == "toy") & (drawn.method == "ae")].loss.mean()
    assert pictures.say_losses(setting, drawn).endswith(f"; {LONG}: {mean:.4f} / {mean:.4f}.")


def test_the_runs_are_those_of_every_registered_data_set(setting, toy):
    configs = study.needs(setting)
    assert {config.trained.dataset for config in configs} == set(REGISTRY)
    assert len(configs) == 7 * len(REGISTRY)  # five columns of Table 2, and two decoders at the optimum


@pytest.mark.filterwarnings("ignore:there are images whose loss has the gradient zero")
def test_a_decoder_is_encoded_by_the_encoders_of_others(setting, monkeypatch):
    """A decoder that ignores z has one loss, whoever encodes; each method keeps that of its own encoder beside it."""
    decoder = Decoder()
    torch.nn.init.zeros_(decoder[-1].weight)
    runs = table("mnist")
    runs["config"] = [SimpleNamespace(training=SimpleNamespace(solver=None)) for _ in runs.itertuples()]
    kept = SimpleNamespace(weights={"80": {}, "960": {}})
    monkeypatch.setattr(exchange, "run_grid", lambda configs, _: [kept for _ in configs])
    monkeypatch.setattr(exchange, "model_with", lambda *_: decoder)
    found = exchange.exchanged(setting, runs).set_index("method")
    assert set(found.index) == {"ae", "gfe_amd_uncapped", "gfe_fast", "gfe_fast_long"}, "AE, then AMD is no training"
    images = setting.load().test.images[: exchange.IMAGES]
    alone = bce(decoder(torch.zeros(1, 20)).expand(len(images), -1), images).mean().item()
    assert found.amd.tolist() == pytest.approx([alone] * 4) and found.quasi_newton.tolist() == pytest.approx(
        [alone] * 4
    )
    assert found.own.to_dict() == pytest.approx({name: LOSSES[name] for name in found.index})


def test_the_reading_names_the_decoders_that_suit_an_encoder_most_and_least(setting):
    rows = [("ae", 0.1, 0.09, 0.0, 0.2, 0.5), ("gfe_fast_long", 0.1, 1.3, 1.0, 0.11, 0.0)]
    columns = ["method", "own", "amd", "amd_spent", "quasi_newton", "quasi_newton_spent"]
    found = pd.DataFrame(rows, columns=columns).assign(seed=0)
    assert exchange.say_exchange(found) == (
        "*Reading it:* AMD from zero does worst on the decoder of GFE, accelerated, 12 epochs (+1,200% against the "
        "decoder's own encoder), and best on that of AE (-10%); quasi-Newton from zero does worst on the decoder of AE "
        "(+100% against the decoder's own encoder), and best on that of GFE, accelerated, 12 epochs (+10%)."
    )
    shown = exchange.table_exchange(setting, found).shown.set_index("trained as")
    assert shown.loc["AE", "AMD from zero"] == "0.0900 (-10%)"
    assert shown.loc["AE", "quasi-Newton from zero: spent"] == "50%"
