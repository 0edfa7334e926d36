"""Notebook 09: when a number is near the printed one, and what an undecided verdict means."""

from __future__ import annotations

from collections.abc import Callable

from gfe_companion.evidence.claims import NO, NOT_MEASURED, PARTLY, UNDECIDED
from gfe_companion.lessons.exercise import Exercise, Finding, Unread, called, no, of_choice, yes

CASES = ((-0.01, 0.03), (-0.06, 0.01), (0.03, 0.09), (-0.2, 0.2), (0.051, 0.06))  # relative to the printed number
NEAR = 0.05


def fits(low: float, high: float, near: float) -> bool:
    """Whether the interval from ``low`` to ``high`` lies within ``near`` of zero, on both sides."""
    return -near <= low and high <= near


def overlaps(low: float, high: float, near: float) -> bool:
    """Whether it has any point in the band."""
    return low <= near and high >= -near


def middle(low: float, high: float, near: float) -> bool:
    """Whether its middle is in the band."""
    return abs(low + high) / 2 <= near


def above(low: float, high: float, near: float) -> bool:
    """Whether it keeps within the upper border."""
    return high <= near


def judge_fits(answer: object) -> Finding:
    """Tried on intervals that lie within, across, around and beside the band."""

    def found(function: Callable[..., object]) -> list[bool]:
        values = [called(function, low, high, NEAR) for low, high in CASES]
        if any(value not in (True, False) for value in values):
            raise Unread("the function has to return True or False.")
        return [bool(value) for value in values]

    values = found(answer)  # type: ignore[arg-type]
    if values == found(fits):
        return yes("a number is near only if the whole interval says so.")
    for wrong, why in (
        (overlaps, "an interval that has one point in the band passes here. All of it must lie within."),
        (middle, "only the middle is looked at here, so that a wide interval passes."),
        (above, "only the upper border is looked at here. An interval may also lie too low."),
    ):
        if values == found(wrong):
            return no(why)
    low, high, value = next(
        (*case, value) for case, value in zip(CASES, values, strict=True) if value != fits(*case, NEAR)
    )
    return no(
        f"the band reaches from {-NEAR:g} to {NEAR:g}. For the interval from {low:g} to {high:g} it gives {value}: "
        "does all of that interval lie in the band?"
    )


EXERCISES = (
    Exercise(
        name="09.near",
        question="Write the rule: does the interval from `low` to `high`, relative to the printed number, lie within "
        "`near` of it?",
        hints=(
            "Both ends of the interval count, and both borders of the band.",
            "`-near <= low` is one half of it.",
        ),
        judge=judge_fits,
        right=fits,
        wrong={
            "one point in the band": overlaps,
            "only the middle": middle,
            "only the upper border": above,
            "it gives True": lambda *given: True,
        },
    ),
    Exercise(
        name="09.more",
        question="The interval of a difference reaches from below zero to above it, so that no verdict falls. "
        "Which verdict is that, in the words of the rulebook?",
        hints=("The definitions stand at the top of the page.", "More seeds could decide it."),
        judge=of_choice(
            UNDECIDED,
            "more seeds make the interval narrower. They may turn it into any other verdict.",
            {
                NO: "for that the interval would have to lie on the wrong side as a whole.",
                PARTLY: "that is for a claim of several parts, of which some hold.",
                NOT_MEASURED: "it was measured. The interval is too wide to tell.",
            },
        ),
        right=UNDECIDED,
        wrong={"wrong side": NO, "several parts": PARTLY, "too wide": NOT_MEASURED},
    ),
)
