"""Notebook 02's toy: one latent, where both parts of the gradient are known in closed form."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from gfe_companion.studies import adjoint_on_a_toy as study

THETA, Y = (torch.tensor(row, dtype=torch.float64) for row in ([1.0, 0.5], [1.0, 2.0]))


def loss(z):
    return (THETA * z - Y).square().sum() / 2


def parts(steps, prior):
    """Both parts along the true flow z = z* (1 - exp(-mu t)), where mu = |theta|^2 + prior."""
    theta, tau = THETA.clone().requires_grad_(), steps * study.STEP
    mu = theta.square().sum() + prior
    z = (theta * Y).sum() / mu * (1 - torch.exp(-mu * tau))
    (moves,) = torch.autograd.grad(z, theta, retain_graph=True)
    end = z.detach()
    slope = (THETA * (THETA * end - Y)).sum()
    return end, (THETA * end - Y) * end, slope * moves


@pytest.fixture
def flows():
    yield study.vanishing(parts, loss)
    plt.close("all")


def test_the_stops_are_the_early_one_the_minimiser_and_the_one_under_a_prior(flows):
    early, minimiser, with_prior = study.stops(flows)
    assert early.tau == pytest.approx(study.EARLY) and minimiser.tau == with_prior.tau == pytest.approx(study.LONG)
    assert early.z == pytest.approx(1.6 * (1 - math.exp(-1.25 * study.EARLY)))
    assert minimiser.z == pytest.approx(1.6, abs=1e-3)
    assert with_prior.z == pytest.approx(2 / (1.25 + study.PRIOR), abs=1e-3)
    assert minimiser.slope == pytest.approx(0, abs=1e-3)
    assert with_prior.slope == pytest.approx(-study.PRIOR * with_prior.z, abs=1e-3)


def test_the_share_is_of_the_whole_gradient(flows):
    early, *_ = study.stops(flows)
    _, kept, dropped = parts(round(study.EARLY / study.STEP), 0.0)
    assert early.share == pytest.approx(float(dropped.norm() / (kept + dropped).norm()))
    assert (early.kept, early.dropped) == pytest.approx((float(kept.norm()), float(dropped.norm())))


def test_the_title_has_the_finding_only_where_it_is_one(flows):
    assert study.vanishes(flows)
    picture = study.fig_vanishing(flows, loss)
    assert "vanishes" in picture.figure.get_suptitle()
    kept_on = flows.assign(share=flows.share.clip(lower=0.01))
    assert not study.vanishes(kept_on)
    assert "vanishes" not in study.fig_vanishing(kept_on, loss).figure.get_suptitle()
    assert f"{study.stops(flows)[2].share:.0%} with a prior" in picture.alt
    assert len(picture.data) == len(flows)


def test_the_sentence_has_the_three_shares(flows):
    early, minimiser, with_prior = study.stops(flows)
    said = study.say_vanishing(flows)
    for share in (f"{early.share:.0%}", f"{minimiser.share:.3%}", f"{with_prior.share:.0%}"):
        assert f"**{share}**" in said
