"""Notebook 02's studies, where a number can be had by hand or in closed form."""

import numpy as np
import pandas as pd
import pytest
import torch

from gfe_companion.studies import adjoint_neglected, adjoint_vs_autograd, adjoint_vs_implicit
from gfe_companion.studies import adjoint_vs_approximate as study
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid
from gfe_core.models import Decoder
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective


class Scale(torch.nn.Module):
    """D(z) = theta z."""

    latent_dim = 1

    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, z):
        return self.theta * z


def half_square(output, images):
    return (output - images).square().sum(dim=1) / 2


def curves(losses, failure=None):
    """Histories of two gradients on a fixed grid, from {(gradient, seed, iteration): validation loss}."""
    rows = [("fixed grid", *key, loss, np.nan) for key, loss in losses.items()]
    frame = pd.DataFrame(rows, columns=["solver", "gradient", "seed", "iterations", "validation_loss", "failure"])
    return frame.astype({"failure": object})


def test_the_relative_error_is_over_all_tensors_at_once():
    truth = [torch.tensor([3.0]), torch.tensor([0.0, 4.0])]
    ours = [torch.tensor([3.0]), torch.tensor([0.5, 4.0])]
    assert adjoint_vs_autograd.relative_error(ours, truth) == pytest.approx(0.1)


def test_autograd_through_one_step_is_the_closed_form():
    """From z = 0 one step h leads to z = h theta y, where l = (h theta^2 y - y)^2 / 2."""
    theta, h, y = 1.5, 0.2, 0.8
    objective = Objective(Scale(), torch.tensor([[y]], dtype=torch.float64), half_square)
    solver = AMD(tau=h, s_0=h, s_max=h, tolerance=0.0)
    path = solver.encode(objective, record=True).path
    (slope,) = adjoint_vs_autograd.through_the_solver(objective, solver, path)
    assert float(slope) == pytest.approx((h * theta**2 * y - y) * 2 * h * theta * y)


@pytest.mark.parametrize("solver", [FixedGrid(1.0, 4), Nesterov(2.0, 4)], ids=["gradient flow", "second order"])
def test_autograd_through_a_grid_is_the_derivative_of_what_the_grid_reaches(solver):
    objective = Objective(Scale(), torch.tensor([[0.8]], dtype=torch.float64), half_square)
    (slope,) = adjoint_vs_autograd.through_the_solver(objective, solver, solver.encode(objective, record=True).path)
    ends = []
    for nudge in (1e-5, -2e-5):
        with torch.no_grad():
            objective.decoder.theta += nudge
        ends.append(float(solver.encode(objective).loss))
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_autograd_through_a_step_down_a_penalised_loss_leaves_the_penalty_out_of_the_loss():
    """From z = 0 the first step is as before; the second feels the penalty: z = (2 - h theta^2 - c h) h theta y."""
    theta, h, y, c = 1.5, 0.2, 0.8, 0.5
    objective = Objective(Scale(), torch.tensor([[y]], dtype=torch.float64), half_square)
    solver = AMD(tau=2 * h, s_0=h, s_max=h, tolerance=0.0)
    path = solver.encode(objective, record=True).path
    (slope,) = adjoint_vs_autograd.through_the_solver(objective, solver, path, penalty=c)
    z = (2 - h * theta**2 - c * h) * h * theta * y
    in_theta = (2 - 3 * h * theta**2 - c * h) * h * y
    assert float(slope) == pytest.approx((theta * z - y) * (z + theta * in_theta))


def test_the_third_way_is_as_good_as_autograd_where_the_minimum_is_reached(setting):
    def by_hand(objective, inner, z):
        gradient, in_theta = objective.all_gradients(z)
        units = torch.eye(z.shape[1], dtype=z.dtype)
        hessian = torch.stack([inner.vector_jacobian(z, unit.expand_as(z))[0] for unit in units], dim=2)
        through = inner.vector_jacobian(z, torch.linalg.solve(hessian, gradient))[1]
        return [whole - part for whole, part in zip(in_theta, through, strict=True)]

    measured = adjoint_vs_implicit.ways(setting, by_hand)
    assert set(measured.way) == set(adjoint_vs_implicit.WAYS)
    longest = measured[measured.tau == 1000].set_index(["minimised", "way"]).error
    assert (longest[:, "adjoint"] < 1e-10).all()
    assert (longest[:, "implicit, gfe_core"] < 1e-4).all()
    assert longest["l", "Eq. (6)"] < 1e-4 and longest["l + prior", "Eq. (6)"] > 1e-2
    assert np.allclose(longest[:, "implicit, gfe_core"], longest[:, "implicit, by hand"], rtol=1e-2, atol=1e-8)
    shown = adjoint_vs_implicit.table_implicit(measured).shown
    assert len(shown) == 2 * len(adjoint_vs_implicit.TAUS)
    assert "implicit" in adjoint_vs_implicit.say_implicit(measured)


def test_refusals_are_told_beside_the_median_of_the_others():
    errors = {10: [0.1, np.nan, 0.3], 100: [np.nan] * 3, 1000: [0.1, 0.2, 0.3]}
    rows = [
        (seed, "l", tau, 1.0, "implicit", error, 2.0) for tau, of in errors.items() for seed, error in enumerate(of)
    ]
    columns = ["decoder", "minimised", "tau", "gradient", "way", "error", "passes"]
    shown = adjoint_vs_implicit.table_implicit(pd.DataFrame(rows, columns=columns)).shown
    assert shown.implicit.tolist() == ["2e-01 (1 refused)", "refused", "2e-01"]


def test_the_signs_are_tried_as_printed_and_corrected(setting):
    tried = []

    def sweep(objective, path, sign_end, sign_flow):
        tried.append((sign_end, sign_flow))
        return adjoint_vs_autograd.through_the_solver(objective, FixedGrid(2.0, 20), path)

    errors = adjoint_vs_autograd.signs(setting, sweep)
    assert tried == [(-1, -1), (1, 1)] * 5
    assert (errors["corrected"] == 0).all() and (errors["as printed"] == 0).all()
    assert (errors["integral dropped, Eq. (6)"] > 0.01).all()
    assert "in 0 of 5 cases" in adjoint_vs_autograd.say_signs(errors)


def test_an_error_that_falls_as_one_over_n_squared_is_of_order_two():
    n = [5, 10, 20, 40]
    errors = pd.DataFrame(
        {"decoder": "Tanh", "flow": "fixed grid", "slices": n, "error": [1.0] + [n**-2 for n in n[1:]]}
    )
    assert adjoint_vs_autograd.measured_orders(errors) == pytest.approx({"fixed grid": 2.0})


def test_the_adjoint_is_dearer_by_its_passes_and_seconds_in_all():
    columns = ["solver", "gradient", "passes to encode", "passes for the gradient", "seconds"]
    cost = pd.DataFrame(
        [("fixed grid", "ApproximateGradient", 98.0, 2.0, 0.1), ("fixed grid", "AdjointGradient", 98.0, 52.0, 0.3),
         ("AMD", "ApproximateGradient", 48.0, 2.0, 0.1), ("AMD", "AdjointGradient", 48.0, 102.0, 0.2)],
        columns=columns,
    )  # fmt: skip
    ratios = study.times_dearer(cost)
    assert ratios.passes.to_dict() == {"fixed grid": 1.5, "AMD": 3.0}
    assert ratios.seconds.to_dict() == pytest.approx({"fixed grid": 3.0, "AMD": 2.0})


def test_the_advantage_is_averaged_over_shared_iterations_and_then_over_seeds():
    found = study.advantages(curves({
        ("approximate", 0, 10): 1.0, ("adjoint", 0, 10): 0.9, ("approximate", 0, 20): 1.0, ("adjoint", 0, 20): 0.7,
        ("approximate", 1, 10): 0.5, ("adjoint", 1, 10): 0.5, ("approximate", 1, 20): 0.5,
    }))  # fmt: skip
    assert found.advantage.tolist() == pytest.approx([0.1, 0.3, 0.0])
    gain = study.mean_advantage(found)
    assert (gain.mean, gain.count) == (pytest.approx(0.1), 2)  # of 0.2 and 0
    assert study.signed(gain).startswith("+10.0% ± ")
    assert study.signed(study.mean_advantage(found[:2])) == "+20.0%"


def test_a_refusal_is_marked_at_the_last_loss_and_told(setting):
    frame = curves({("approximate", 0, 10): 1.0, ("adjoint", 0, 10): 0.9, ("adjoint", 0, 15): np.nan})
    frame.loc[2, "failure"] = "TooCoarse"
    picture = study.fig3_left(setting, frame)
    (cross,) = [line for line in picture.figure.axes[0].lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (15, 0.9)
    assert picture.alt.endswith("ended early: 1.")
    assert "refused on: fixed grid, seed 0, after 15 iterations." in study.say_advantages(frame)


def test_the_neglected_share_is_followed_at_three_stages(setting, monkeypatch):
    decoders = {images: Decoder() for images in (480, 960, 1920, 3840)}
    monkeypatch.setattr(adjoint_neglected.borrowed, "decoders", lambda setting: decoders)
    assert list(adjoint_neglected.stages(setting)) == [0, 480, 1920]


def test_a_share_is_past_its_peak_where_it_has_lost_a_tenth_of_it():
    shares = {0: [0.1, 0.2, 0.3], 480: [0.1, 0.5, 0.44], 1920: [0.2, 0.5, 0.46]}
    rows = [(stage, tau, share) for stage, of in shares.items() for tau, share in zip((1, 10, 100), of, strict=True)]
    assert adjoint_neglected.past_peak(pd.DataFrame(rows, columns=["images", "tau", "share"])) == 1


def test_figure_3_says_which_gradient_is_lower_only_where_the_interval_says_so():
    both = {("approximate", seed, 10): 1.0 for seed in (0, 1)}
    clear = curves(both | {("adjoint", 0, 10): 0.90, ("adjoint", 1, 10): 0.91})
    assert study.finding_of_fig3_left(clear) == "On a fixed grid the full adjoint's loss lies 9.5% lower on average"
    for unclear in (both | {("adjoint", 0, 10): 0.5, ("adjoint", 1, 10): 1.0}, {("adjoint", 0, 10): 0.9} | both):
        assert "lies" not in study.finding_of_fig3_left(curves(unclear))
    worse = curves(both | {("adjoint", 0, 10): 1.10, ("adjoint", 1, 10): 1.11})
    assert study.finding_of_fig3_left(worse).endswith("lies 10.5% higher on average")


def test_the_order_is_in_the_title_only_where_it_was_measured(setting):
    n = [5, 10, 20, 40]

    def errors(power, of_amd):
        of = {"fixed grid": [k**-power for k in n], "2nd order": [k**-2.0 for k in n], "AMD": [of_amd] * 4}
        return pd.concat([
            pd.DataFrame({"decoder": decoder, "flow": flow, "slices": n, "error": error})
            for decoder in ("Tanh", "ELU")
            for flow, error in of.items()
        ])  # fmt: skip

    assert adjoint_vs_autograd.of_second_order(errors(2.0, 1e-16))
    assert not adjoint_vs_autograd.of_second_order(errors(1.0, 1e-16))
    assert not adjoint_vs_autograd.of_second_order(errors(2.0, 1e-6))
    assert "1/N^2" in adjoint_vs_autograd.fig_order(errors(2.0, 1e-16)).figure.get_suptitle()
    assert "1/N^2" not in adjoint_vs_autograd.fig_order(errors(1.0, 1e-16)).figure.get_suptitle()


def test_the_dropped_part_falls_in_the_title_only_where_it_does_at_every_stage(setting):
    rows = [(0, tau, 1 / tau, share) for tau, share in zip((1, 10, 100), (0.1, 0.5, 0.2), strict=True)]
    falls = pd.DataFrame(rows, columns=["images", "tau", "gradient", "share"])
    assert "falls" in adjoint_neglected.fig_integral(setting, falls).figure.get_suptitle()
    rises = falls.assign(share=[0.1, 0.2, 0.5])
    assert "falls" not in adjoint_neglected.fig_integral(setting, rises).figure.get_suptitle()
