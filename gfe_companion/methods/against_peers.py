"""Who takes part in the race against the peers, and the settings that each is swept over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gfe_companion.methods import MANY, Entrant, products
from gfe_companion.methods.baselines import AdamEncoder, LBFGSEncoder, OdeEncoder
from gfe_companion.methods.peers import OptimistixEncoder, ScipyEncoder, missing
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.encoding import Solver
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.levenberg_marquardt import GaussNewtonBFGS

TOLERANCES = (3e-3, 1e-3, 3e-4, 1e-4, 5e-5, 2e-5, 1e-5, 3e-6, 1e-6)
LOOSE = (0.06, 0.03, 0.02, 0.01, 0.006, 0.003, 0.001, 3e-4, 1e-4)  # of optimistix, whose test is a stricter one
STEPS = (25, 40, 60, 80, 120, 160, 240)


@dataclass(frozen=True)
class Racer:
    """An entrant, whether it is of this project, and whether the decoder multiplies by oneDNN."""

    entrant: Entrant
    ours: bool
    onednn: bool = False


def racers() -> list[Racer]:
    """Everyone, cold and warm; those of optimistix only where it is installed."""

    def ladder(solver: Solver) -> tuple[Solver, ...]:
        fields = {"share": 0.0, "max_trials": MANY}
        return tuple(replace(solver, tolerance=tolerance, **fields) for tolerance in TOLERANCES)  # type: ignore[type-var]

    def jax(method: str, pairs: Iterable[int]) -> tuple[tuple[Solver, ...], ...]:
        return tuple(tuple(OptimistixEncoder(method, tol, pairs=count) for tol in LOOSE) for count in pairs)

    limited = (ladder(LBFGSAMD(s_0=1.0, pairs=5)), ladder(LBFGSAMD()))
    near = tuple(ladder(LBFGSAMD(s_0=1.0, patience=1, pairs=pairs)) for pairs in (5, 10))
    joint = tuple(tuple(LBFGSEncoder(rate, steps) for steps in STEPS) for rate in (0.3, 1.0))
    scipy = (tuple(ScipyEncoder(steps, pairs=30) for steps in STEPS),)
    ours = [
        Entrant("LBFGSAMD", limited), Entrant("QuasiNewtonAMD", (ladder(QuasiNewtonAMD()),)),
        Entrant("GaussNewtonBFGS", (ladder(GaussNewtonBFGS()),)),
        Entrant("LBFGSAMD", near, warm=True),
        Entrant("QuasiNewtonAMD", (ladder(QuasiNewtonAMD(s_0=1.0, patience=1)),), warm=True),
        Entrant("GaussNewtonBFGS", (ladder(GaussNewtonBFGS(patience=2)),), warm=True),
    ]  # fmt: skip
    peers = [
        Entrant("torch LBFGS, joint", joint), Entrant("SciPy L-BFGS-B, joint", scipy),
        Entrant("torch Adam", tuple(tuple(AdamEncoder(rate, 5 * n) for n in STEPS[::2]) for rate in (0.1, 0.3))),
        Entrant("torchdiffeq dopri5", (tuple(OdeEncoder("dopri5", tau) for tau in (100, 300, 1e3, 1e4)),)),
        Entrant("torch LBFGS, joint", joint, warm=True),
    ]  # fmt: skip
    if not missing():
        for warm in (False, True):
            peers.append(Entrant("optimistix LBFGS", jax("LBFGS", (5, 10)), warm))
            peers.append(Entrant("optimistix BFGS", jax("BFGS", (0,)), warm))
    quick = [
        Racer(replace(entrant, name=f"{entrant.name}, oneDNN"), is_ours, True)
        for is_ours, side in ((True, ours), (False, peers))
        for entrant in side
        if entrant.name in ("LBFGSAMD", "torch LBFGS, joint") and products.available()
    ]
    return [*(Racer(entrant, True) for entrant in ours), *quick, *(Racer(entrant, False) for entrant in peers)]
