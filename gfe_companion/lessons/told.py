"""What notebooks call: ``check`` says what there is to say of an answer, ``hint`` gives one hint more at each call."""

from __future__ import annotations

from IPython.display import Markdown, display

from gfe_companion.lessons.exercise import Exercise, Finding, finding
from gfe_companion.lessons.exercises import EXERCISES

_given: dict[str, int] = {}  # how many hints each exercise has given


def check(name: str, answer: object) -> None:
    """Show whether ``answer`` to the exercise ``name`` is right, and if it is not, what is wrong with it.

    No answer raises an error; one of ``...`` or None has not been tried yet. Raises ``ValueError`` for an unknown name.
    """
    display(Markdown(str(found(name, answer))))


def hint(name: str) -> None:
    """Show the next hint to the exercise ``name``. Raises ``ValueError`` for an unknown name."""
    display(Markdown(next_hint(name)))


def found(name: str, answer: object) -> Finding:
    """What :func:`check` shows."""
    return finding(_exercise(name), answer)


def next_hint(name: str) -> str:
    """What :func:`hint` shows, one hint more at each call; after the last one, where the solution is."""
    hints = _exercise(name).hints
    number = _given[name] = _given.get(name, 0) + 1
    if number > len(hints):
        return "**No more hints.** The solution is folded away below the exercise."
    return f"**Hint {number} of {len(hints)}:** {hints[number - 1]}"


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(sorted(EXERCISES))}.")
    return EXERCISES[name]
