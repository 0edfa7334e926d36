"""The registry of methods: what each is called, how it encodes and is tested, how it is drawn, and how it races.

A new method is one entry of :data:`METHODS`. Table 1, the race, the legends and the contract tests iterate over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from gfe_companion.methods.baselines import AdamEncoder, LBFGSEncoder, OdeEncoder
from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.encoding import Solver
from gfe_core.fixed_grid import FixedGrid
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.nesterov import Nesterov
from gfe_core.trials import Trials
from gfe_core.warm import WarmStart

LITERAL = AMD()  # Sec. 3.4 as it is written: s_max = 10, about 1,000 steps to tau, fewer where the curve is flat
# The departure: larger steps, each grown from the last accepted one, and a hundred trials in all.
UNCAPPED = AMD(s_max=1000.0, tolerance=1e-3, grow_accepted=True, max_trials=100)

# Beyond the paper: five quasi-Newton trials from where recent batches point to; and as many as it takes, for tests.
FAST = WarmStart(penalty=1e-5)
FAST_TEST = replace(FAST, solver=QuasiNewtonAMD(s_0=1.0, tolerance=1e-4, max_trials=60))
COLD_TEST = QuasiNewtonAMD(tolerance=1e-5, max_trials=200)  # for decoders whose training knows no start

# The paper gives no final time for its fixed grids. The first-order flow gets AMD's, the second-order flow the time in
# which a constant gradient carries z equally far: tau^2 / 8 = 1e4 (1 - e^-2) / 2.
FLOW_TAU = 1e4
NESTEROV_TAU = math.sqrt(4 * FLOW_TAU * (1 - math.exp(-2)))
FIXED, SECOND_ORDER = FixedGrid(FLOW_TAU), Nesterov(NESTEROV_TAU)  # with 100 slices; a profile may take fewer

# What the race tries: numbers of steps, from 5 to about 1,200; tolerances; and settings of the library's encoders.
STEPS = tuple(round(5 * 1.2**i) for i in range(31))
TOLERANCES = (
    0.1, 0.03, 0.01, 5e-3, 3e-3, 2e-3, 1.5e-3, 1e-3, 7e-4, 5e-4, 3e-4, 2e-4, 1.5e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6,
    3e-7, 1e-7,
)  # fmt: skip
TAUS = (1e3, 3e3, 1e4, 3e4, 1e5)
MANY = 10_000  # trials: the tolerance stops the encoder, not its budget

BLUE, ORANGE, GREEN, RED, PINK, BROWN, ROSE, GREY, SKY = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#56b4e9",
)  # fmt: skip  # seaborn's palette "colorblind" without its yellow, which is pale on white


@dataclass(frozen=True)
class Look:
    """How a method is drawn everywhere: colours from a colour-blind-safe palette, told apart by markers in grey too."""

    short: str  # for tables
    label: str  # for legends
    color: str = GREY
    marker: str = "o"
    linestyle: str = "-"


@dataclass(frozen=True)
class Entrant:
    """An encoder in the race: its name there, and what it can be given, from cheap to dear, in one ladder a setting.

    A ``warm`` one starts where a training's :class:`~gfe_core.warm.WarmEncoder` points to, in its coordinates.
    """

    name: str
    ladders: tuple[tuple[Solver, ...], ...]
    warm: bool = False


@dataclass(frozen=True)
class Method:
    """One method of the companion.

    - ``solver``: how it encodes, and trains if it does; None for an autoencoder or under another's decoder.
    - ``tester``: how test images are encoded, by default by ``solver``.
    - ``table1``: whether it is trained for Table 1 and Figure 4; ``slow`` ones only where the profile affords it.
    - ``printed``: its column in the paper's tables, if the paper prints its numbers. Others are shown uncompared.
    - ``race``: how it takes part in the race of encoders, if it does.
    """

    look: Look
    solver: Solver | None = None
    tester: Solver | None = None
    table1: bool = False
    slow: bool = False
    printed: str | None = None
    race: Entrant | None = None


def by_tolerance(solver: Solver) -> tuple[tuple[Solver, ...], ...]:
    """One ladder for the race: ``solver`` at each of :data:`TOLERANCES`.

    All images are left at the same slope, which is how passes are best spent: accelerated ones look at steps of one
    number, not of one share.
    """
    fields = {"share": 0.0} if isinstance(solver, Trials) else {}
    return (tuple(replace(solver, tolerance=tolerance, **fields) for tolerance in TOLERANCES),)  # type: ignore[type-var]


def by_steps(make: Callable[[float, int], Solver], rates: Iterable[float]) -> tuple[tuple[Solver, ...], ...]:
    """One ladder for each rate: what ``make`` builds of it and each of :data:`STEPS`."""
    return tuple(tuple(make(rate, steps) for steps in STEPS) for rate in rates)


# Steps by Barzilai and Borwein, and Gauss-Newton's along a flat valley, let the rounding of a batch grow without end:
# with few trials the latents are the same to six digits in any batch, with many only their losses are.
METHODS: dict[str, Method] = {
    "gfe": Method(Look("GFE", "GFE, fixed grid", GREY, "v"), FIXED),
    "gfe_nesterov": Method(Look("2nd order GFE", "2nd order GFE, fixed grid", RED, "X"), SECOND_ORDER),
    "ae": Method(Look("AE", "AE", ORANGE, "s", "--"), table1=True, printed="ae"),
    "gfe_amd": Method(
        Look("GFE-amd", "GFE-amd, literal ($s_{max}=10$)", GREEN, "^", "-."),
        LITERAL, table1=True, slow=True, printed="gfe_amd", race=Entrant("AMD, literal", by_tolerance(LITERAL)),
    ),
    "gfe_amd_uncapped": Method(
        Look("GFE-amd, uncapped", "GFE-amd, uncapped ($s_{max}=1000$, 100 trial steps)", BLUE, "o"),
        UNCAPPED, table1=True, printed="gfe_amd",
        race=Entrant("AMD, s_max = 1000", by_tolerance(replace(UNCAPPED, max_trials=None))),
    ),
    "gfe_fast": Method(
        Look("GFE, accelerated", "GFE, accelerated (warm quasi-Newton)", PINK, "P"), FAST, tester=FAST_TEST,
    ),
    "gfe_fast_long": Method(  # trained by the same solver
        Look("GFE, accelerated, 12 epochs", "GFE, accelerated, as many images as the AE", BROWN, "*"), tester=FAST_TEST,
    ),
    "auto_decoder": Method(
        Look("auto-decoder", "auto-decoder (stored latents)", BROWN, "*", ":"), tester=COLD_TEST,
    ),
    "ae_then_amd": Method(
        Look("AE, then AMD", "AE decoder, encoded by uncapped AMD", SKY, "D", ":"), tester=UNCAPPED,
        printed="ae_then_amd",
    ),
    "levenberg_marquardt": Method(
        Look("Levenberg-Marquardt", "Levenberg-Marquardt", BROWN, "h"), LevenbergMarquardt(max_trials=15),
        race=Entrant("LevenbergMarquardt", by_tolerance(LevenbergMarquardt())),
    ),
    "quasi_newton": Method(
        Look("quasi-Newton", "quasi-Newton (BFGS)", SKY, "X"), QuasiNewtonAMD(),
        race=Entrant("QuasiNewtonAMD", by_tolerance(QuasiNewtonAMD(max_trials=MANY))),
    ),
    "limited_memory": Method(
        Look("limited-memory BFGS", "limited-memory BFGS", ORANGE, "*"), LBFGSAMD(),
        race=Entrant("LBFGSAMD", by_tolerance(LBFGSAMD(max_trials=MANY))),
    ),
    "nesterov_amd": Method(
        Look("Nesterov steps", "Nesterov steps under AMD's test", GREEN, "D"), NesterovAMD(),
        race=Entrant("NesterovAMD", by_tolerance(NesterovAMD(max_trials=MANY))),
    ),
    "barzilai_borwein": Method(
        Look("Barzilai-Borwein", "Barzilai-Borwein steps", RED, "^"), BarzilaiBorweinAMD(max_trials=40),
        race=Entrant("BarzilaiBorweinAMD", by_tolerance(BarzilaiBorweinAMD(max_trials=MANY))),
    ),
    "gauss_newton_bfgs": Method(Look("Gauss-Newton BFGS", "BFGS from a Gauss-Newton start"), GaussNewtonBFGS()),
    "warm_quasi_newton": Method(
        Look("warm quasi-Newton", "warm quasi-Newton", PINK, "v"),  # it stops at the first flat step
        race=Entrant(
            "warm QuasiNewtonAMD", by_tolerance(QuasiNewtonAMD(s_0=1.0, patience=1, max_trials=MANY)), warm=True
        ),
    ),
    "warm_gauss_newton_bfgs": Method(
        Look("warm Gauss-Newton BFGS", "warm BFGS from a Gauss-Newton start", BROWN, "P"),
        race=Entrant("warm GaussNewtonBFGS", by_tolerance(GaussNewtonBFGS(patience=2, max_trials=MANY)), warm=True),
    ),
    "warm_levenberg_marquardt": Method(
        Look("warm Levenberg-Marquardt", "warm Levenberg-Marquardt", ROSE, "X"),
        race=Entrant(
            "warm LevenbergMarquardt", by_tolerance(LevenbergMarquardt(first=None, damping=0.01)), warm=True
        ),
    ),
    "adam": Method(
        Look("Adam", "Adam", SKY, "p", ":"), race=Entrant("Adam", by_steps(AdamEncoder, (0.03, 0.1, 0.3, 1.0))),
    ),
    "lbfgs": Method(
        Look("LBFGS", "LBFGS, all images as one vector", BLUE, "<", ":"),
        race=Entrant("LBFGS", by_steps(LBFGSEncoder, (0.3, 1.0))),
    ),
    "dopri5": Method(
        Look("dopri5", "dopri5 on the flow", ORANGE, "h", ":"),
        race=Entrant("dopri5", (tuple(OdeEncoder("dopri5", tau) for tau in TAUS),)),
    ),
    "rk4": Method(
        Look("rk4", "RK4 on the flow, equal slices", GREEN, "d", ":"),
        race=Entrant("rk4", tuple(tuple(OdeEncoder("rk4", tau, slices=n) for n in STEPS[7:]) for tau in TAUS)),
    ),
}  # fmt: skip


def entrants() -> tuple[Entrant, ...]:
    """All encoders of the race, in the registry's order."""
    return tuple(method.race for method in METHODS.values() if method.race is not None)
