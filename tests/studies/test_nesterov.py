"""Notebook 03's studies, where a number can be had by hand or in closed form."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gfe_companion.studies import nesterov as study
from gfe_companion.studies import nesterov_on_images
from gfe_core.models import Decoder


def losses(first, second):
    """Losses of images along both flows under a decoder of 480 images: one row an image, one column a slice."""
    rows = [
        (480, method, image, n, 8 * n, loss)
        for method, images in (("gfe", first), ("gfe_nesterov", second))
        for image, along in enumerate(images)
        for n, loss in enumerate(along)
    ]
    return pd.DataFrame(rows, columns=["images", "method", "image", "slice", "passes", "loss"])


def test_the_bessel_form_solves_the_equation_of_the_flow():
    t, h = np.array([0.5, 2.0, 7.0]), 1e-4
    z, before, after = (study.bessel(t + shift) for shift in (0, -h, h))
    residual = (after - 2 * z + before) / h**2 + 3 / t * (after - before) / (2 * h) + z - 1  # Eq. (7), mu = 1
    assert np.abs(residual).max() < 1e-5
    assert study.bessel(1e-6) == pytest.approx(0, abs=1e-9)


def test_our_solver_lies_on_the_bessel_form_and_a_method_is_put_in_its_time():
    walks = study.origin(lambda s: [0.0, s, 1.0])
    assert study.furthest(walks) < 1e-5
    method = walks[walks.what == "Nesterov's method, s = 0.3"]
    assert method.t.tolist() == pytest.approx([0, 0.3**0.5, 2 * 0.3**0.5])
    assert method.z.tolist() == [0.0, 0.3, 1.0]
    moved = walks.assign(z=walks.z + 0.25 * (walks.what == study.OURS))
    assert study.furthest(moved) == pytest.approx(0.25, abs=1e-4)


def test_without_a_guard_rk4_starts_six_times_too_fast_and_uphill():
    """From rest its stages add up to +3h/2 grad l, where the flow has -h/4 grad l."""
    guards = study.table_eps().data.set_index("eps")
    smallest = guards.loc[1e-5]
    assert smallest["v(h) by RK4"] == pytest.approx(-6, rel=0.01)
    assert smallest["v(h) in closed form"] == pytest.approx(1, rel=0.01)
    assert guards["flow bent by"].is_monotonic_increasing
    assert guards.loc[1.0, "v(h) by RK4"] == pytest.approx(guards.loc[1.0, "v(h) in closed form"], rel=0.01)


def test_the_sentence_on_the_signs_has_the_closed_form():
    assert "At $t = 4$ the Bessel form says $z = 1.033$" in study.say_signs(4.0, 1.0, -1e7)


def test_who_is_ahead_is_counted_over_the_first_half_and_at_the_end():
    curves = losses([[4, 3, 2, 2, 2], [4, 3, 2, 2, 1]], [[4, 3.5, 1.5, 1, 1], [4, 3.5, 2.5, 1, 1.5]])
    found = nesterov_on_images.ahead(curves).loc[480]
    assert (found.early, found.late) == (0.25, 0.5)
    assert "| 480 images | 25% | 50% | 0% | " in nesterov_on_images.say_passes(curves)


def test_an_image_rises_once_its_loss_does_so_anywhere():
    curves = losses([[4, 3, 2], [4, 5, 2]], [[4, 3, 2], [4, 3, 2]])
    found = nesterov_on_images.rising(curves.iloc[::-1]).loc[480]
    assert (found.gfe, found.gfe_nesterov) == (0.5, 0.0)


def test_both_flows_go_equally_far_under_a_constant_gradient():
    """The first-order flow goes tau (1 - e^-2) / 2, the second-order flow tau^2 / 8."""
    for factor in (1, 10):
        flows = nesterov_on_images.flows(20, factor)
        assert flows["gfe_nesterov"].tau ** 2 / 8 == pytest.approx(flows["gfe"].tau * (1 - np.exp(-2)) / 2)
        assert flows["gfe"].tau == factor * 1e4


def test_passes_are_those_that_the_objective_counts(setting, monkeypatch):
    small = {images: Decoder(hidden=(8,)) for images in (480, 960)}
    monkeypatch.setattr(nesterov_on_images.borrowed, "decoders", lambda setting: small)
    curves = nesterov_on_images.curves_of_passes(setting)
    assert len(curves) == 2 * 2 * 16 * 21
    ends = curves.groupby("method").passes.max()
    assert (ends.gfe, ends.gfe_nesterov) == (8 * 20, 8 * 20 - 6)  # one gradient in the first slice, instead of four
    assert (curves[curves.slice == 0].passes == 0).all()


def test_each_flow_is_compared_at_its_own_best_time():
    rows = [(480, "gfe", 3.0), (480, "gfe", 1.0), (480, "gfe_nesterov", 2.0), (480, "gfe_nesterov", 4.0)]
    best = nesterov_on_images.at_best_tau(pd.DataFrame(rows, columns=["images", "method", "loss"]))
    assert best.loc[480].to_dict() == {"gfe": 1.0, "gfe_nesterov": 2.0}


def test_titles_say_who_is_ahead_only_where_it_is_so_under_every_decoder(setting):
    curves = losses([[4, 3, 2, 2, 2]], [[4, 3.5, 2.5, 1, 1]])
    assert (
        "behind in the first half and ends ahead"
        in nesterov_on_images.fig_passes(setting, curves).figure.get_suptitle()
    )
    for second in ([4, 2.5, 1.5, 1, 1], [4, 3.5, 2.5, 3, 3]):  # ahead from the first, and behind to the last
        other = losses([[4, 3, 2, 2, 2]], [second])
        assert "behind" not in nesterov_on_images.fig_passes(setting, other).figure.get_suptitle()
    rows = [(480, method, f, 1.0, loss) for f in (0.1, 1) for method, loss in (("gfe", 2 * f), ("gfe_nesterov", f))]
    sweep = pd.DataFrame(rows, columns=["images", "method", "factor", "tau", "loss"])
    assert "ends lower" in nesterov_on_images.fig_tau(setting, sweep).figure.get_suptitle()
    swapped = sweep.assign(method=sweep.method.map({"gfe": "gfe_nesterov", "gfe_nesterov": "gfe"}))
    assert "ends lower" not in nesterov_on_images.fig_tau(setting, swapped).figure.get_suptitle()
    plt.close("all")


def test_a_method_that_does_not_come_nearer_with_smaller_steps_is_not_said_to():
    """The closed form itself, off by s or by the inverse of s."""
    good = study.origin(lambda s: [study.bessel(max(k * s**0.5, 1e-6)) + s for k in range(20)])
    bad = study.origin(lambda s: [study.bessel(max(k * s**0.5, 1e-6)) + 1 / s for k in range(20)])
    assert study.approaches(good) and not study.approaches(bad)
    assert "approaches" in study.fig_origin(good).figure.axes[0].get_title()
    assert "approaches" not in study.fig_origin(bad).figure.axes[0].get_title()
    plt.close("all")
