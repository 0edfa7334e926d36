"""The rules of the claims on flows: on each side of each limit, and with what a profile leaves out."""

import numpy as np
import pandas as pd
import pytest

from gfe_companion.evidence.claims import EPOCH, NO, PARTLY, UNDECIDED, YES, Unmeasured, flows
from tests.evidence.frames import AMD, made


def judged(rule, change=None, seeds=3, favourable=True):
    """The verdict of ``rule`` on made-up files, after ``change(frames)``."""
    frames = made(favourable, seeds)
    if change:
        change(frames)
    return rule(frames.__getitem__).verdict


def test_one_step_that_does_not_lower_the_loss_is_enough_to_deny_amds_guarantee():
    def level(frames):
        frames["fig_01_path"].loc[2, "loss"] = frames["fig_01_path"].loss[1]

    assert judged(flows.amd_reduces_each_step) == YES
    assert judged(flows.amd_reduces_each_step, level) == NO


def test_later_curves_end_lower_under_both_flows_or_under_one():
    def swap(frames):
        later = (frames["fig1"].method == "gfe") & (frames["fig1"].iteration == 2)
        frames["fig1"].loc[later, "loss"] += 0.5

    assert judged(flows.flow_sharpens_with_training, swap) == PARTLY
    assert judged(flows.flow_sharpens_with_training, seeds=1) == YES, "the figure is of one seed"


@pytest.mark.parametrize(
    ("gain", "slight", "hardly"),
    [
        (0.03, YES, YES),
        (0.08, PARTLY, NO),
        (-0.03, NO, YES),
        (-0.08, NO, NO),
        (0.0, UNDECIDED, YES),
        (0.05, UNDECIDED, UNDECIDED),
    ],
)
def test_the_gain_of_the_adjoint(gain, slight, hardly):
    def change(frames):
        frame = frames["fig3_left"]
        of = frame.gradient == "adjoint"
        noise = frame.seed[of].map({0: -0.002, 1: 0.0, 2: 0.002})
        frame.loc[of, "validation_loss"] = 0.2 * (1 - gain - noise)
        frame.loc[~of, "validation_loss"] = 0.2

    assert judged(flows.full_adjoint_slightly_better, change) == slight
    assert judged(flows.adjoint_hardly_helps, change) == hardly


def test_a_gain_that_grows_beyond_the_limit_at_the_end_is_not_called_small():
    def change(frames):
        frame = frames["fig3_left"]
        of, end = frame.gradient == "adjoint", frame.iterations == frame.iterations.max()
        noise = frame.seed[of].map({0: -0.002, 1: 0.0, 2: 0.002})
        frame.loc[of, "validation_loss"] = 0.2 * (1 - 0.01 - noise)
        frame.loc[of & end, "validation_loss"] = 0.2 * (1 - 0.06 - 5 * noise)
        frame.loc[~of, "validation_loss"] = 0.2

    assert judged(flows.adjoint_hardly_helps, change) == UNDECIDED


@pytest.mark.parametrize(
    ("gain", "iterations", "slight", "hardly"),
    [
        (-0.03, EPOCH - 10, UNDECIDED, YES),  # it may come true yet
        (-0.08, EPOCH - 10, UNDECIDED, UNDECIDED),
        (0.03, 30, YES, YES),  # the images of Table 1's first row
        (0.03, 29, YES, UNDECIDED),  # at first any two trainings are alike
        (0.08, 29, UNDECIDED, UNDECIDED),
    ],
)
def test_the_gain_of_the_adjoint_is_denied_after_an_epoch_and_called_small_after_table_1s_first_row(
    gain, iterations, slight, hardly
):
    def change(frames):
        frame = frames["fig3_left"].query("iterations == @EPOCH").assign(iterations=iterations)
        adjoint = 0.2 * (1 - gain - frame.seed.map({0: -0.002, 1: 0.0, 2: 0.002}))
        frames["fig3_left"] = frame.assign(validation_loss=adjoint.where(frame.gradient == "adjoint", 0.2))

    assert judged(flows.full_adjoint_slightly_better, change) == slight
    assert judged(flows.adjoint_hardly_helps, change) == hardly


@pytest.mark.parametrize(
    ("seconds", "passes", "verdict"),
    [
        (4.2, 4.1, YES),
        (3.9, 5.0, PARTLY),
        (5.0, 6.1, PARTLY),
        (2.0, 1.5, PARTLY),
        (0.9, 0.9, NO),
        (4.0, 5.0, UNDECIDED),
    ],
)
def test_five_times_is_within_a_fifth_and_dearer_alone_is_partly(seconds, passes, verdict):
    def change(frames):
        frame = frames["fig3_left"]
        of = frame.gradient == "adjoint"
        noise = frame.seed[of].map({0: 0.99, 1: 1.0, 2: 1.01})
        frame.loc[of, "seconds"] = frame.iterations[of] * seconds * noise
        frame.loc[~of, "seconds"] = frame.iterations[~of]
        frames["table_02_cost"]["passes for the gradient"] = [2, 102 * passes - 100]

    assert judged(flows.adjoint_costs_five_times, change) == verdict


def test_at_first_means_the_first_hundred_iterations():
    def later(frames):
        frame = frames["fig3_right"]
        frame.loc[(frame.method == "gfe_nesterov") & (frame.iterations > 100), "validation_loss"] = 9.0

    def shorter(frames):
        frames["fig3_right"] = frames["fig3_right"].query("iterations < 100")

    assert judged(flows.second_order_faster_at_first, later) == YES
    assert judged(flows.second_order_faster_at_first, shorter) == UNDECIDED, "these are not a hundred"
    assert judged(flows.second_order_faster_at_first, lambda frames: same(frames["fig3_right"])) == UNDECIDED


def same(frame):
    """The losses of GFE and of the 2nd order are noise about the same."""
    of = frame.method == "gfe_nesterov"
    frame.loc[of, "validation_loss"] = 0.2 + frame.seed[of].map({0: 1e-3, 1: 0.0, 2: -1e-3})
    frame.loc[frame.method == "gfe", "validation_loss"] = 0.2


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.4, YES), (1.6, PARTLY), (0.9, NO), (1.0, UNDECIDED), (1.5, UNDECIDED)]
)
def test_slightly_dearer_is_up_to_half_as_much_again(ratio, verdict):
    def change(frames):
        frame = frames["fig3_right"]
        of = frame.method == "gfe_nesterov"
        noise = frame.seed[of].map({0: 0.99, 1: 1.0, 2: 1.01})
        frame.loc[frame.method == "gfe", "seconds"] = frame.iterations
        frame.loc[of, "seconds"] = frame.iterations[of] * ratio * noise

    assert judged(flows.second_order_slightly_dearer, change) == verdict


@pytest.mark.parametrize(
    ("jumps", "iterations", "unstable", "more_stable"),
    [
        ({"gfe": 0, "gfe_nesterov": 0, AMD: 0}, 400, UNDECIDED, UNDECIDED),  # not watched for long enough
        ({"gfe": 0, "gfe_nesterov": 0, AMD: 0}, EPOCH - 10, UNDECIDED, UNDECIDED),
        ({"gfe": 0, "gfe_nesterov": 0, AMD: 0}, EPOCH, NO, NO),  # three seeds: the bound is 2.996 in three epochs
        ({"gfe": 1, "gfe_nesterov": 0, AMD: 0}, 400, UNDECIDED, UNDECIDED),
        ({"gfe": 1, "gfe_nesterov": 0, AMD: 0}, 2 * EPOCH, PARTLY, NO),
        ({"gfe": 9, "gfe_nesterov": 9, AMD: 0}, 400, YES, YES),
        ({"gfe": 2, "gfe_nesterov": 2, AMD: 1}, 400, YES, UNDECIDED),
        ({"gfe": 1, "gfe_nesterov": 1, AMD: 10}, 400, YES, NO),
    ],
)
def test_jumps_are_seen_or_certainly_rare_or_undecided(jumps, iterations, unstable, more_stable):
    def change(frames):
        frame = frames["fig_04_stability"]
        frame["iterations"] = iterations
        frame["jumps"] = frame.method.map(jumps).where(frame.seed == 0, 0)

    assert judged(flows.fixed_grids_unstable, change) == unstable
    assert judged(flows.amd_more_stable, change) == more_stable


def test_a_coarser_grid_is_told_and_does_not_count():
    def change(frames):
        frame = frames["fig_04_stability"]
        coarse = frame[frame.slices == 100].assign(slices=25, jumps=7, iterations=400)
        frames["fig_04_stability"] = pd.concat([frame.assign(jumps=0), coarse])

    assert judged(flows.fixed_grids_unstable, change) == NO
    frames = made()
    change(frames)
    said = flows.fixed_grids_unstable(frames.__getitem__).measured
    assert said.startswith("jumps, N = 100: GFE 0 in 9,375 iterations (at most 0.3 in 1,000), 2nd order 0")
    assert said.endswith("; on N / 4 slices GFE 21 in 1,200, 2nd order 21 in 1,200")


def test_a_seed_that_is_followed_for_longer_does_not_move_the_last_iteration():
    def longer(frames):
        frame = frames["fig3_right"]
        more = frame[(frame.seed == 0) & (frame.iterations == EPOCH)].assign(iterations=4000, validation_loss=0.3)
        frames["fig3_right"] = pd.concat([frame, more])

    assert judged(flows.amd_converges_better, longer) == YES


def test_better_convergence_is_judged_at_the_last_iteration_against_each_grid():
    def one_better(frames):
        frame = frames["fig3_right"]
        frame.loc[frame.method == "gfe_nesterov", "validation_loss"] = 0.01

    def broke_off(frames):
        frame = frames["fig3_right"]
        frames["fig3_right"] = frame.drop(frame[(frame.method == "gfe") & (frame.iterations > 100)].index)

    def last_is_missing(frames):
        frame = frames["fig3_right"]
        frame.loc[(frame.method == "gfe") & (frame.seed == 0), "validation_loss"] = np.nan

    def early(frames):
        one_better(frames)
        frames["fig3_right"] = frames["fig3_right"].replace({"iterations": {EPOCH: EPOCH - 1}})

    assert judged(flows.amd_converges_better, one_better) == PARTLY
    assert judged(flows.amd_converges_better, early) == UNDECIDED, "a denial waits for an epoch"
    assert judged(flows.amd_converges_better, broke_off) == YES
    assert judged(flows.amd_converges_better, last_is_missing) == YES, "the other seeds are still pairs"


def follow(frames, images):
    for name in ("fig_04_stiffness", "table_04_dopri5"):
        frame = frames[name]
        frames[name] = frame.assign(images=frame.images.where(frame.images == 0, images))


@pytest.mark.parametrize(
    ("shorter", "bound", "images", "verdict"),
    [
        (20, 1.0, 5760, YES),
        (5, 1.0, 5760, UNDECIDED),  # not tenfold, and not yet an epoch
        (5, 1.0, 16 * EPOCH, PARTLY),
        (20, 0.3, 5760, UNDECIDED),
        (20, 0.3, 16 * EPOCH, PARTLY),
        (0.5, 0.3, 16 * EPOCH, NO),
        (10, 1.0, 16 * EPOCH, UNDECIDED),
    ],
)
def test_stiff_is_near_the_bound_with_steps_a_tenth_as_long(shorter, bound, images, verdict):
    def change(frames):
        follow(frames, images)
        frame = frames["fig_04_stiffness"]
        late, noise = frame.images > 0, frame.seed.map({0: 0.99, 1: 1.0, 2: 1.01})
        frame["late_median"] = np.where(late, 1000 / shorter * noise, 1000)
        frame["end"] = np.where(late, bound * 3.3 / (1000 / shorter), 1e-4)

    assert judged(flows.stiff, change) == verdict


@pytest.mark.parametrize(
    ("ratio", "images", "stopped", "verdict"),
    [
        (11, 5760, 0.0, YES), (2.5, 5760, 0.0, UNDECIDED), (2.5, 16 * EPOCH, 0.0, PARTLY), (0.5, 16 * EPOCH, 0.0, NO),
        (0.5, 5760, 0.0, UNDECIDED), (11, 16 * EPOCH, 0.5, YES), (2.5, 16 * EPOCH, 0.5, UNDECIDED),
        (0.5, 16 * EPOCH, 0.5, UNDECIDED),
    ],
)  # fmt: skip
def test_exorbitant_is_ten_times_literal_amd(ratio, images, stopped, verdict):
    def change(frames):
        follow(frames, images)
        frame = frames["table_04_dopri5"]
        frame["gradients"] = np.where(frame.method == "dopri5", 400 * ratio + frame.seed, 400)
        frame["stopped"] = np.where(frame.method == "dopri5", stopped, 0.0)

    assert judged(flows.adaptive_solvers_take_exorbitant_time, change) == verdict


def test_the_last_decoder_counts_and_not_earlier_ones():
    def earlier(frames):
        frame = frames["table_04_dopri5"]
        cheap = frame.assign(images=480, gradients=1.0)
        frames["table_04_dopri5"] = type(frame)(np.vstack([cheap, frame]), columns=frame.columns).infer_objects()

    assert judged(flows.adaptive_solvers_take_exorbitant_time, earlier) == YES


def test_a_method_that_the_profile_did_not_run_leaves_the_claim_unmeasured():
    def without(frames):
        for name in ("fig3_right", "fig_04_stability"):
            frames[name] = frames[name].query("method != 'gfe_nesterov'")

    for rule in (flows.second_order_faster_at_first, flows.fixed_grids_unstable, flows.amd_more_stable):
        with pytest.raises(Unmeasured, match="did not run .*gfe_nesterov"):
            judged(rule, without)
