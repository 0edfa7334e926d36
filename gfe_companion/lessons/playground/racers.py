"""Which solvers race in the playground, what its sliders set, and how each is drawn: from the registry of methods."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from gfe_companion.methods import LITERAL, METHODS, UNCAPPED
from gfe_core.amd import AMD
from gfe_core.encoding import Solver
from gfe_core.warm import WarmStart

AUTOENCODER = "autoencoder"
PRESETS = {"paper": LITERAL, "uncapped": UNCAPPED}
ENGINE = ("AMD", "quasi-Newton")  # what the report's engine has
DASHES = {"-": [], "--": [6, 4], ":": [2, 3], "-.": [6, 3, 2, 3]}


def everyone() -> dict[str, Solver]:
    """Every solver of the registry that needs no training to start from, by name: AMD and BFGS first."""
    others = {
        method.look.short: method.solver
        for method in METHODS.values()
        if method.solver is not None and not isinstance(method.solver, AMD | WarmStart)
    }
    first: dict[str, Solver] = {"AMD": UNCAPPED, "quasi-Newton": others.pop("quasi-Newton")}
    return first | others


def settings(solver: Solver) -> dict[str, Any]:
    """The fields of a solver, by the names that the engine knows."""
    return {field.name: getattr(solver, field.name) for field in fields(solver)}  # type: ignore[arg-type]


def presets() -> dict[str, dict[str, Any]]:
    """The values of AMD that the sliders can be set to."""
    return {name: settings(solver) for name, solver in PRESETS.items()}


def looks() -> dict[str, dict[str, Any]]:
    """The colour and the dashes of each solver, and of the autoencoder."""
    drawn = {method.look.short: method.look for method in METHODS.values()}
    drawn |= {"AMD": METHODS["gfe_amd_uncapped"].look, AUTOENCODER: METHODS["ae"].look}
    names = (*everyone(), AUTOENCODER)
    return {name: {"color": drawn[name].color, "dash": DASHES[drawn[name].linestyle]} for name in names}


def setup() -> dict[str, Any]:
    """What the report's page tells its engine."""
    solvers = [
        {"name": name, "kind": type(everyone()[name]).__name__, "settings": settings(everyone()[name])}
        for name in ENGINE
    ]
    return {"solvers": solvers, "presets": presets(), "looks": looks()}
