"""Notebook 08's lesson: what a way is, when it arrives, and how many trials are worth it; the page's own encoder."""

import nbformat
import pandas as pd
import pytest
import torch

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.studies import beyond_lesson as lesson
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective

SETTING = Setting.of("smoke", "embedded", "", 1, "cpu")
WAYS = {
    "slow": lesson.Way({0: 2.0, 2: 1.5, 4: 1.2}, 0.002),
    "fast": lesson.Way({0: 2.0, 1: 1.5, 2: 1.04, 3: 1.0, 4: 0.999}, 0.001),
}


def of_the_page():
    """The functions that the page defines."""
    cells = nbformat.read(ROOT / "notebooks" / "08_beyond_the_paper.ipynb", as_version=4).cells
    space = {"torch": torch}
    for cell in cells:
        if cell.cell_type == "code" and cell.source.startswith(("def bfgs", "def encode")):
            exec(cell.source, space)
    return space["encode"], space["bfgs"]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return Objective(Decoder(generator=generator), torch.rand(6, 784, generator=generator).round())


def test_no_cell_of_the_page_reads_a_test_image():
    """Its lesson says how many trials are worth it: nothing is chosen by what test images say."""
    cells = nbformat.read(ROOT / "notebooks" / "08_beyond_the_paper.ipynb", as_version=4).cells
    assert not [cell.source for cell in cells if cell.cell_type == "code" and "test.images" in cell.source]


def test_the_page_s_bfgs_satisfies_the_secant_equation():
    _, bfgs = of_the_page()
    generator = torch.Generator().manual_seed(1)
    moved, turned = torch.randn(2, 3, 4, generator=generator, dtype=torch.float32)
    turned = torch.where(((moved * turned).sum(dim=1) > 0)[:, None], turned, -turned)
    updated = bfgs(torch.eye(4).expand(3, 4, 4), moved, turned)
    assert torch.allclose((updated @ turned[:, :, None])[:, :, 0], moved, atol=1e-5)
    assert torch.allclose(updated, updated.mT, atol=1e-5)


def test_the_page_s_encoder_never_raises_a_loss_and_comes_where_gfe_core_s_does(batch):
    encode, _ = of_the_page()
    z, losses = encode(batch, batch.start(), 100 * torch.eye(20).expand(6, 20, 20), 60)
    assert all((later <= earlier).all() for earlier, later in zip(losses, losses[1:], strict=False))
    assert torch.equal(losses[-1], batch.value(z))
    ours = QuasiNewtonAMD(tolerance=0.0, max_trials=200).encode(batch).loss
    assert torch.allclose(losses[-1], ours, rtol=0.02)


def test_ways_are_measured_from_the_lowest_loss_and_in_trials():
    found = lesson.gaps(WAYS)
    assert found.groupby("way").gap.min().to_dict() == pytest.approx({"slow": 1.2 / 0.999 - 1, "fast": 0.0})
    trials = lesson.arrivals(found)
    assert pd.isna(trials["slow"]) and trials["fast"] == 2
    assert lesson.enough(found[found.way == "fast"]) == 3
    assert lesson.enough(found[found.way == "slow"]) == 4, "as far as it was followed"
    assert lesson.each_helps(found)
    assert not lesson.each_helps(lesson.gaps({"fast": WAYS["fast"], "slow": WAYS["slow"]}))


def test_the_picture_and_the_table_name_every_way(batch):
    ways = {"AMD": lesson.by_amd(batch), "2": lesson.timed(lambda: (None, [batch.value(batch.start())] * 3))[1]}
    assert list(ways["AMD"].losses) == [0, *lesson.LADDER]
    found = lesson.gaps(ways)
    shown = lesson.table_built(found).shown
    assert shown.encoder.tolist() == ["AMD", "2"]
    picture = lesson.fig_built(SETTING, found)
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["AMD", "2", "5 % above"]
    assert "what each part brings" in picture.figure._suptitle.get_text()
