"""Every size, seed and budget in one place: smoke (does it run?), quick (the default), paper (the paper's sizes)."""

from __future__ import annotations

from dataclasses import dataclass

TABLE1_IMAGES = (480, 960, 1920, 3840, 5760)
LOG_SPACED = (160, 320, 9600, 16_000, 25_600, 40_000, 64_000, 96_000, 160_000, 256_000, 400_000, 560_000, 800_000)
AVAILABLE_SEEN = (
    160, 320, 640, 960, 1920, 3840, 5760, 9600, 16_000, 25_600, 40_000, 64_000, 96_000, 128_000, 160_000, 240_000,
    400_000,
)  # fmt: skip  # where trainings on few images are validated
FLOW_STEP = 160  # training images between two points of Figure 3: ten iterations
FLOW_KEPT = (160, 480, 1920)  # where Figure 1 looks: after 10, 30 and 120 iterations
WATCH_KEPT = (6400, 16_000, 32_000)  # where grids are measured later on
CURVE_IMAGES = tuple(sorted(TABLE1_IMAGES + LOG_SPACED))  # where Figure 4 measures; all are whole batches of 16


@dataclass(frozen=True)
class Profile:
    """The sizes of one profile.

    ``seeds`` of Table 1 . ``table1_images`` its rows . ``literal_amd`` whether its slow column, AMD with s_max = 10, is
    computed . ``test_images`` how many test images GFE encodes there (an autoencoder always gets the whole test set) .
    ``slow_test_images`` how many of those a slow method encodes, spread evenly over them . ``curve_ae``, ``curve_gfe``
    training images to which Figure 4 is drawn . ``curve_ae_seeds``, ``curve_gfe_seeds`` how many of the seeds go that
    far . ``validation_images`` for its losses.

    ``pool_from`` how many runs must be missing for them to go side by side: the shorter the runs, the less it pays to
    start processes for a few of them.

    Of Figures 1 and 3: ``slices`` N of the fixed grids . ``drawn_slices`` N of the finest of those that notebooks
    follow once . ``flow_images`` training images on the right of Figure 3 . ``adjoint_slices`` and ``adjoint_images``
    the same for its left . ``flow_validation_images`` for their losses . ``flow_seeds`` how many of the seeds they
    get . ``stiff_images`` how many images the stiffness is measured on . ``watched_images`` training images to which
    AMD and grids of N / 4 slices are watched . ``fine_seeds`` how many of the seeds go that far with N slices .
    ``coarse_images`` how many images the longest steps are measured on.

    Of Table 2 and Figures 5 to 7: ``converged_seeds`` how many of the seeds they get . ``few_images`` the "1 % of the
    data" . ``epoch_share`` the part of an epoch that counts as one: GFE sees one of these, an AE twelve .
    ``map_images`` how many test images a t-SNE map shows . ``excess_images`` for how many the optimum is looked for.
    The accelerated GFE sees as many images as the AE for the first ``beyond_seeds``.

    Of images available: ``available_images`` how many there are . ``available_ae`` and ``available_gfe`` how many
    images a training sees at each of these, at most, with replacement . ``available_seeds`` and
    ``available_other_seeds`` how many of the seeds each gets, on MNIST and on every other data set .
    ``available_points`` at how many numbers of images seen, at most, a training is validated; they end at its budget .
    ``available_reference`` the number at which curves are followed, and to whose loss by GFE the AE's is compared .
    ``available_validation`` how many images validate, or as many as are available . ``available_tested`` how many test
    images there are . ``available_trials`` of quasi-Newton steps to the optimum . ``opponent_seeds`` how many of the
    seeds the opponents get, on as many images as the reference . ``opponent_settings`` how many settings of each are
    tried . ``opponent_seen``, ``opponent_shifts`` and ``opponent_gfe`` how many images a training sees there at most:
    any, an AE on moved images, GFE on moved images.

    Beyond the paper: ``beyond_seeds`` how many of the seeds it gets . ``beyond_images`` training images to which the
    accelerated GFE is followed . ``beyond_tested`` test images of its curves . ``stability_images`` training images to
    which the remedies are compared . ``optimum_images`` how many test images the optimum is looked for .
    ``race_images`` on how many encoders race . ``race_passes`` decoder passes an image that they may take.

    Of tuned methods on the clock: ``clock_budgets`` seconds of one thread that a training may take . ``clock_seeds``
    how many of the seeds it gets . ``clock_sweep`` seconds of a training of the sweep . ``clock_settings`` how many
    settings are swept . ``clock_recipes`` budgets at which recipes are compared . ``clock_networks``
    the budget of other networks . ``clock_validated``, ``clock_tested`` validation and test images of each decoder .
    ``clock_trials`` of quasi-Newton, at most, to encode them.
    """

    name: str
    seeds: tuple[int, ...]
    table1_images: tuple[int, ...]
    literal_amd: bool
    test_images: int
    slow_test_images: int
    curve_ae: int
    curve_gfe: int
    curve_ae_seeds: int
    curve_gfe_seeds: int
    validation_images: int
    pool_from: int
    slices: int
    drawn_slices: int
    flow_images: int
    adjoint_slices: int
    adjoint_images: int
    flow_validation_images: int
    flow_seeds: int
    stiff_images: int
    watched_images: int
    fine_seeds: int
    coarse_images: int
    converged_seeds: int
    few_images: int
    epoch_share: float
    map_images: int
    excess_images: int
    available_images: tuple[int, ...]
    available_ae: tuple[int, ...]
    available_gfe: tuple[int, ...]
    available_seeds: tuple[int, ...]
    available_other_seeds: tuple[int, ...]
    available_points: int
    available_reference: int
    available_validation: int
    available_tested: int
    available_trials: int
    opponent_seeds: int
    opponent_settings: int
    opponent_seen: int
    opponent_shifts: int
    opponent_gfe: int
    beyond_seeds: int
    beyond_images: int
    beyond_tested: int
    stability_images: int
    optimum_images: int
    race_images: int
    race_passes: int
    clock_budgets: tuple[float, ...]
    clock_seeds: int
    clock_sweep: float
    clock_settings: int
    clock_recipes: tuple[float, ...]
    clock_networks: float
    clock_validated: int
    clock_tested: int
    clock_trials: int


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke", seeds=(0,), table1_images=(480, 960), literal_amd=False, test_images=150,
            slow_test_images=30,
            curve_ae=960, curve_gfe=0, curve_ae_seeds=1, curve_gfe_seeds=0, validation_images=50,
            pool_from=9, slices=10, drawn_slices=40, flow_images=480, adjoint_slices=20, adjoint_images=160,
            flow_validation_images=20, flow_seeds=1, stiff_images=1,
            watched_images=480, fine_seeds=1, coarse_images=4,
            converged_seeds=1, few_images=48, epoch_share=0.0016, map_images=150, excess_images=10,
            available_images=(60, 240), available_ae=(320, 640), available_gfe=(160, 320), available_seeds=(1, 1),
            available_other_seeds=(0, 1), available_points=2, available_reference=240, available_validation=10,
            available_tested=20, available_trials=20, opponent_seeds=1, opponent_settings=1, opponent_seen=160,
            opponent_shifts=160, opponent_gfe=160,
            beyond_seeds=1, beyond_images=320, beyond_tested=40, stability_images=480, optimum_images=2,
            race_images=4, race_passes=20,
            clock_budgets=(0.05,), clock_seeds=1, clock_sweep=0.02, clock_settings=2,
            clock_recipes=(0.05,), clock_networks=0.02, clock_validated=8, clock_tested=8, clock_trials=20,
        ),
        Profile(
            name="quick", seeds=(0, 1, 2), table1_images=TABLE1_IMAGES[:3], literal_amd=False, test_images=300,
            slow_test_images=100,
            curve_ae=11_520, curve_gfe=0, curve_ae_seeds=2, curve_gfe_seeds=0, validation_images=250,
            pool_from=2, slices=25, drawn_slices=80, flow_images=1920, adjoint_slices=100, adjoint_images=160,
            flow_validation_images=50, flow_seeds=2, stiff_images=1,
            watched_images=1920, fine_seeds=2, coarse_images=8,
            converged_seeds=2, few_images=480, epoch_share=0.0192, map_images=300, excess_images=15,
            available_images=(120, 480, 1920), available_ae=(3840, 25_600, 25_600),
            available_gfe=(1920, 3840, 3840), available_seeds=(2, 2, 2), available_other_seeds=(0, 2, 0),
            available_points=4, available_reference=480, available_validation=40, available_tested=100,
            available_trials=200, opponent_seeds=2, opponent_settings=1, opponent_seen=6400,
            opponent_shifts=6400, opponent_gfe=1920,
            beyond_seeds=1, beyond_images=6400, beyond_tested=150, stability_images=960, optimum_images=4,
            race_images=8, race_passes=200,
            clock_budgets=(1.5, 3.0), clock_seeds=2, clock_sweep=0.6, clock_settings=8,
            clock_recipes=(3.0,), clock_networks=1.0, clock_validated=40, clock_tested=60, clock_trials=200,
        ),
        Profile(
            name="paper", seeds=(0, 1, 2, 3, 4), table1_images=TABLE1_IMAGES, literal_amd=True, test_images=10_000,
            slow_test_images=1000,
            curve_ae=600_000, curve_gfe=64_000, curve_ae_seeds=3, curve_gfe_seeds=1, validation_images=1000,
            pool_from=2, slices=100, drawn_slices=200, flow_images=6400, adjoint_slices=200, adjoint_images=960,
            flow_validation_images=50, flow_seeds=3, stiff_images=8,
            watched_images=50_000, fine_seeds=1, coarse_images=16,
            converged_seeds=3, few_images=1920, epoch_share=1.0, map_images=5000, excess_images=500,
            available_images=(120, 480, 1920, 7680, 50_000), available_ae=(16_000, 64_000, 96_000, 160_000, 240_000),
            available_gfe=(9600, 25_600, 25_600, 40_000, 64_000), available_seeds=(5, 5, 5, 5, 5),
            available_other_seeds=(3, 3, 3, 0, 0), available_points=8, available_reference=480,
            available_validation=120, available_tested=500, available_trials=200,
            opponent_seeds=3, opponent_settings=2, opponent_seen=64_000, opponent_shifts=96_000, opponent_gfe=64_000,
            beyond_seeds=3, beyond_images=600_000, beyond_tested=1000, stability_images=64_000, optimum_images=50,
            race_images=128, race_passes=2000,
            clock_budgets=(3.0, 8.0, 20.0, 48.0, 110.0), clock_seeds=3, clock_sweep=10.0, clock_settings=24,
            clock_recipes=(8.0, 48.0), clock_networks=20.0, clock_validated=250, clock_tested=500, clock_trials=200,
        ),
    )
}  # fmt: skip
