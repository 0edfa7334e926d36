"""Notebook 05's lesson: its training is Table 1's, and what is said and drawn of it is what was measured."""

import nbformat
import pytest
import torch

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.studies import data_lesson as lesson
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.models import AutoEncoder
from gfe_core.objective import Objective, bce
from gfe_core.training import Recipe, Training, autoencoder_step

SETTING = Setting.of("smoke", "embedded", "", 1, "cpu")
FEW = [(480, 0.30, 0.28, 0.25), (960, 0.20, 0.20, 0.16), (1920, 0.10, 0.25, 0.15)]
MANY = [(480, 0.28), (960, 0.24), (1920, 0.18)]


def of_the_page():
    """What the lesson's cells define."""
    space = {"torch": torch, "AutoEncoder": AutoEncoder, "Objective": Objective, "bce": bce}
    space["QuasiNewtonAMD"] = QuasiNewtonAMD
    for cell in nbformat.read(ROOT / "notebooks" / "05_data_efficiency.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and cell.source.startswith(("def training", "@torch.no_grad")):
            exec(cell.source, space)
    return space


@pytest.fixture
def images():
    return torch.rand(40, 784, generator=torch.Generator().manual_seed(1)).round()


def test_the_page_trains_as_the_runs_of_table_1_do(images):
    """The same seed gives the same weights."""
    page = of_the_page()
    ((seen, ours),) = page["training"](images, (48,))
    generator = torch.Generator().manual_seed(0)
    model = AutoEncoder(generator)
    training = Training(model, autoencoder_step(model), images, generator, Recipe())
    training.advance(48)
    assert seen == 48
    for mine, theirs in zip(ours.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_optimum_asks_the_decoder_alone(images):
    page = of_the_page()
    ((_, ae),) = page["training"](images, (160,))
    own, optimum = page["by_encoder"](ae, images), page["at_optimum"](ae, images)
    assert optimum < own
    for parameter in ae.encoder.parameters():
        parameter.data.zero_()
    assert page["at_optimum"](ae, images) == optimum and page["by_encoder"](ae, images) != own


def test_what_is_said_and_drawn_is_what_was_measured():
    found = lesson.losses(FEW, MANY)
    assert list(found) == ["seen", "learnt", "own", "optimum", "many"] and len(found) == 3
    picture = lesson.fig_lesson(SETTING, 120, found)
    title = picture.figure.get_suptitle().replace("\n", " ")
    assert title.startswith("The held-out loss rises again by 25% by its own encoder, by 0% at the optimum")
    (axes,) = picture.figure.axes
    assert [line.get_ydata()[-1] for line in axes.lines] == [0.10, 0.25, 0.15, 0.18]
    said = lesson.say_lesson(120, found)
    assert "each of the 120 has come 16 times" in said
    assert "lowest after 960 images seen, at 0.200, and ends at **0.250**" in said
    assert "lowest after 1,920, at 0.150, and ends at **0.150**" in said
