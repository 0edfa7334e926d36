"""What an exercise is, and how answers are read and judged: numbers, choices, tensors and functions."""

from __future__ import annotations

import dis
import linecache
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

OF_STUBS = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


@dataclass(frozen=True)
class Finding:
    """What a judge found: whether the answer is ``right``, None where there is none yet, and what is ``said`` of it."""

    right: bool | None
    said: str

    def __str__(self) -> str:
        return f"**{ {True: 'Right:', False: 'Not yet:', None: 'Not tried yet.'}[self.right] }** {self.said}"


def yes(said: str) -> Finding:
    """The answer is right."""
    return Finding(True, said)


def no(said: str) -> Finding:
    """The answer is wrong, or not complete."""
    return Finding(False, said)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    ``name`` such as "03.friction": the notebook's number, a dot, one word . ``question`` in a sentence . ``hints``
    from the first push to nearly the solution . ``judge`` finds what there is to say of an answer; it may raise
    :class:`Unread` . ``right``: an answer that is right . ``wrong``: typical wrong answers, each under words that
    what is said of it must contain.
    """

    name: str
    question: str
    hints: tuple[str, ...]
    judge: Callable[[Any], Finding]
    right: Any
    wrong: dict[str, Any]


class Unread(Exception):
    """The answer is not of the kind that is asked for, or it raised an error; the text says so to the reader."""


def untouched(answer: object) -> bool:
    """Whether ``answer`` is what a stub leaves: ``...``, None, or a function whose body is ``...``."""
    if not isinstance(answer, FunctionType):
        return answer is None or answer is Ellipsis
    code = list(dis.get_instructions(answer))
    returned = [step.argval for step in code if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in code} <= OF_STUBS and set(returned) <= {None, Ellipsis}


def finding(exercise: Exercise, answer: object) -> Finding:
    """What there is to say of ``answer``; no answer makes it raise, whatever it is."""
    if untouched(answer):
        return Finding(None, f'Write your answer in the place of the dots. For a hint: `hint("{exercise.name}")`.')
    try:
        return exercise.judge(answer)
    except Unread as error:
        return no(str(error))
    except Exception as error:
        said = " ".join(str(error).split())
        return no(f"what came back could not be read as an answer to this question ({type(error).__name__}: {said}).")


def number(answer: object) -> float:
    """``answer`` as a number: a Python number, or a tensor or array that holds one. Raises :class:`Unread`."""
    if isinstance(answer, str | bool) or callable(answer):
        raise Unread(f"a number is asked for, and this is a {type(answer).__name__}.")
    try:
        value = float(answer)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unread(f"one number is asked for, and this is a {type(answer).__name__} that is none.") from error
    if not math.isfinite(value):
        raise Unread(f"the number is {value}, which is not finite.")
    return value


def tensor(answer: object, shape: tuple[int, ...]) -> Tensor:
    """``answer`` as a float64 tensor of this ``shape``. Raises :class:`Unread`, with the shape that it has."""
    try:
        found = torch.as_tensor(answer).detach().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unread(f"numbers in a tensor or a list are asked for, and this is a {type(answer).__name__}.") from error
    if tuple(found.shape) != shape:
        raise Unread(f"the shape is {tuple(found.shape)}, and should be {shape}.")
    if not found.isfinite().all():
        raise Unread("not all of its numbers are finite.")
    return found


def near(one: float, other: float, relative: float = 1e-6) -> bool:
    """Whether two numbers are equal up to this ``relative`` error, or 1e-12."""
    return math.isclose(one, other, rel_tol=relative, abs_tol=1e-12)


def of_number(
    right: float, said: str, mistakes: Mapping[float, str], otherwise: str, relative: float = 1e-3
) -> Callable[[Any], Finding]:
    """The judge of a number: ``said`` where it is ``right``, else what its mistake says, or ``otherwise``."""

    def judge(answer: object) -> Finding:
        value = number(answer)
        if near(value, right, relative):
            return yes(said)
        for wrong, why in mistakes.items():
            if near(value, wrong, relative):
                return no(why)
        return no(f"{value:g} is too {'large' if value > right else 'small'}. {otherwise}")

    return judge


def of_choice(right: str, said: str, mistakes: Mapping[str, str]) -> Callable[[Any], Finding]:
    """The judge of a choice: a letter or a word, in capitals or not; ``mistakes`` has each wrong one and why."""

    def judge(answer: object) -> Finding:
        chosen = answer.strip().lower() if isinstance(answer, str) else answer
        if chosen == right:
            return yes(said)
        if isinstance(chosen, str) and chosen in mistakes:
            return no(mistakes[chosen])
        raise Unread(f"choose one of {', '.join(map(repr, sorted([right, *mistakes])))}.")

    return judge


def called(function: object, *arguments: object) -> Any:
    """What the reader's ``function`` returns; :class:`Unread`, naming the line, where it raises or returns nothing."""
    if not callable(function):
        raise Unread(f"a function is asked for, and this is a {type(function).__name__}: name it without brackets.")
    given = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
    try:
        result = function(*given)
    except Exception as error:
        raise Unread(_of_error(function, error)) from error
    if result is None or result is Ellipsis:
        raise Unread("the function returns nothing: its last line needs a `return`.")
    return result


def _of_error(function: Callable, error: Exception) -> str:
    """Which line of ``function`` raised, and what, in one sentence."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    code = getattr(function, "__code__", None)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if code and each.filename == code.co_filename]
    if code is None or not frames or not code.co_firstlineno <= frames[-1].lineno:
        return f"the function could not be called ({said}); look at its arguments."
    line = frames[-1].lineno or code.co_firstlineno
    text = linecache.getline(code.co_filename, line).strip()
    shown = f", `{text}`," if text else ""
    return f"line {line - code.co_firstlineno + 1} of the function{shown} raised {said}."
