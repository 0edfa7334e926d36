"""Notebook 06's lessons: the page's excess against one known by hand, and what is said of it and of an epoch."""

from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import torch
from torch import nn

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.studies import converged_lesson as lesson
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.objective import Objective

SETTING = Setting.of("smoke", "embedded", "", 1, "cpu")


def of_the_page(name):
    """A function that the page defines."""
    space = {"torch": torch, "Objective": Objective, "QuasiNewtonAMD": QuasiNewtonAMD, "page": None}
    for cell in nbformat.read(ROOT / "notebooks" / "06_converged_models.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and cell.source.startswith(f"def {name}("):
            exec(cell.source.partition("\n\n\npage.show")[0], space)
    return space[name]


class Shifted(nn.Module):
    """Draws sigmoid(z + 1) on two pixels."""

    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, z):
        return z + self.one


def test_the_page_s_excess_is_zero_at_the_optimum_and_known_elsewhere():
    images = torch.full((3, 2), 0.5, dtype=torch.float64)  # drawn best at z = -1, with a loss of log 2
    best, zero = torch.full((3, 2), -1.0, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    at_best, at_zero = of_the_page("excess")(Shifted(), images, [best, zero])
    assert torch.allclose(at_best, torch.zeros(3).double(), atol=1e-9)
    lost = torch.log(1 + torch.exp(torch.tensor(1.0).double())) - 0.5  # of a logit of 1
    assert torch.allclose(at_zero, lost / torch.log(torch.tensor(2.0).double()).expand(3) - 1, atol=1e-9)


def test_an_epoch_is_counted_in_passes():
    passes = of_the_page("passes")
    said = lesson.say_epochs(passes(1, 2 * (100 + 2)), passes(12, 4))
    assert "2.4 million" in said and "up to 10.2 million: **4.2 times as many**" in said
    assert "**50% of these**" in lesson.say_epochs(1e6, 2e6)


@pytest.fixture
def runs():
    """Table 2's trainings on MNIST by two seeds."""
    rows = [
        (SETTING.dataset, method, seed, images, SimpleNamespace(training=(method, seed, images)))
        for method, images in (("ae", 400), ("gfe_amd_uncapped", 40))
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "images", "config"])


def test_the_second_half_is_read_between_points_on_a_logarithmic_axis(monkeypatch, runs):
    def finished(trainings, setting):
        """0.4 at a quarter, falling by 0.1 a doubling for the AE and by 0.2 for the other."""
        falls = {"ae": 0.1, "gfe_amd_uncapped": 0.2}
        return [
            SimpleNamespace(history=pd.DataFrame({
                "images": [end // 4, end], "validation_loss": [0.5, 0.5 - 2 * falls[method]],
            }))
            for method, _, end in trainings
        ]  # fmt: skip

    monkeypatch.setattr(lesson, "run_grid", finished)
    found = lesson.second_half(SETTING, runs).groupby("method").gain.mean()
    assert found["ae"] == pytest.approx(0.25) and found["gfe_amd_uncapped"] == pytest.approx(2 / 3)
    said = lesson.say_second_half(SETTING, runs)
    assert "AE **25.0% ± 0.0%** (its last 200 images)" in said
    assert "GFE-amd, uncapped **66.7% ± 0.0%** (its last 20 images)" in said


def test_the_networks_are_those_of_the_first_seed_at_the_end(monkeypatch):
    kept = {"ae": AutoEncoder(torch.Generator().manual_seed(3)), "gfe": Decoder(generator=torch.Generator())}
    configs = {
        name: SimpleNamespace(training=SimpleNamespace(name=key, solver=solver), images=960)
        for name, key, solver in (("ae", "ae", None), ("gfe_amd_uncapped", "gfe", "AMD"))
    }
    runs = pd.DataFrame(
        {"dataset": SETTING.dataset, "method": list(configs), "seed": 0, "config": list(configs.values())}
    )
    weights = {key: {"960": model.state_dict(), "48": {}} for key, model in kept.items()}
    monkeypatch.setattr(lesson, "run_grid", lambda asked, setting: [SimpleNamespace(weights=weights[asked[0].name])])
    decoder, autoencoder = lesson.networks(SETTING, runs)
    z = torch.ones(2, 20)
    assert torch.equal(decoder(z), kept["gfe"](z)) and torch.equal(autoencoder.decoder(z), kept["ae"].decoder(z))


def test_what_is_said_and_drawn_is_what_was_measured():
    by_amd = {3: torch.tensor([0.5, 0.7]), 100: torch.tensor([0.0, 0.25])}
    found = lesson.excesses(by_amd, torch.tensor([1.0, 0.25]))
    assert lesson.lasting(found).groupby("method").excess.mean().to_dict() == pytest.approx(
        {"ae": 0.625, "gfe_amd_uncapped": 0.125}
    )
    picture = lesson.fig_lesson(SETTING, found)
    (axes,) = picture.figure.axes
    mean = next(line for line in axes.lines if line.get_label().startswith("uncapped AMD"))
    assert mean.get_ydata().tolist() == pytest.approx([0.6, 0.125])
    lowest = min(value for line in axes.lines for value in line.get_ydata())
    assert lowest == lesson.SMALLEST, "an excess of nothing is drawn at the bottom"
    assert picture.figure.get_suptitle().startswith("Above the lowest loss: AMD 12.5% (100 trials)")
    said = lesson.say_lesson(found)
    assert "misses 10.0% of that of GFE-amd, uncapped (at most 20.0%, on one of these images)" in said
    assert "35.0% of that of the AE (at most 50.0%)" in said
