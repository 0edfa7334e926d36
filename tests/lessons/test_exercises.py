"""Every exercise finds the right answer right, knows typical mistakes, and never raises for what a reader writes."""

import pytest
import torch

from gfe_companion import lessons
from gfe_companion.lessons import told
from gfe_companion.lessons.exercise import Exercise, Unread, called, finding, number, of_choice, tensor, untouched, yes
from gfe_companion.lessons.exercises import EXERCISES

every_exercise = pytest.mark.parametrize("name", sorted(EXERCISES))
MISTAKES = [(name, words) for name, exercise in sorted(EXERCISES.items()) for words in exercise.wrong]


def stub(*arguments, **named): ...


def documented_stub(z):
    """What is to be written here."""
    ...


def raising(*arguments, **named):
    return 1 / 0


@every_exercise
def test_the_right_answer_is_right_and_nothing_is_not_tried(name):
    exercise = EXERCISES[name]
    assert finding(exercise, exercise.right).right is True
    for nothing in (..., None, stub, documented_stub):
        found = finding(exercise, nothing)
        assert found.right is None and str(found).startswith("**Not tried yet.**")
    assert len(exercise.wrong) >= 3, "three typical mistakes"
    assert len(exercise.hints) >= 2 and all(exercise.hints)
    assert exercise.question.endswith((".", "?"))


@pytest.mark.parametrize(("name", "words"), MISTAKES, ids=[f"{name}: {words}" for name, words in MISTAKES])
def test_a_typical_mistake_is_told(name, words):
    found = finding(EXERCISES[name], EXERCISES[name].wrong[words])
    assert found.right is False
    assert words in str(found) and str(found).startswith("**Not yet:**")


@every_exercise
def test_no_answer_makes_it_raise(name):
    exercise = EXERCISES[name]
    for answer in (raising, "text", 1e300, float("nan"), [], {}, object(), torch.zeros(0), lambda: 1, len, [None]):
        assert finding(exercise, answer).right is False, answer
    if callable(exercise.right):
        assert "line 2 of the function, `return 1 / 0`, raised ZeroDivisionError" in finding(exercise, raising).said
        assert "could not be called" in finding(exercise, lambda: 1).said


def test_a_judge_that_fails_says_that_the_answer_cannot_be_read():
    exercise = Exercise("00.x", "?", (), lambda answer: yes(str(answer["a"])), {"a": 1}, {})
    assert "could not be read" in finding(exercise, [1]).said
    assert finding(exercise, {"a": 1}).right


def test_answers_are_read():
    assert number(torch.tensor([2.0])) == number(2) == 2.0
    assert tensor([[1, 2]], (1, 2)).dtype == torch.float64
    for read in (lambda: number("2"), lambda: number(True), lambda: number(torch.zeros(2)), lambda: tensor([1], (2,))):
        with pytest.raises(Unread):
            read()
    with pytest.raises(Unread, match="returns nothing"):
        called(lambda z: print(end=""), 1)
    with pytest.raises(Unread, match="brackets"):
        called(3.0)
    assert untouched(stub) and untouched(documented_stub)
    assert not untouched(lambda z: 1) and not untouched(lambda z: z) and not untouched(0)


def test_a_choice_is_a_letter_in_any_case():
    judge = of_choice("b", "Since.", {"a": "It is not."})
    assert judge(" B").right and judge("a").said == "It is not."
    for other in ("c", 2, [1]):
        with pytest.raises(Unread, match="choose one of 'a', 'b'"):
            judge(other)


def test_a_function_cannot_change_what_it_is_tried_on():
    z = torch.zeros(2)
    called(lambda given: given.add_(1), z)
    assert z.tolist() == [0, 0]


def test_hints_come_one_at_a_time_and_end(monkeypatch):
    shown = []
    monkeypatch.setattr(told, "display", lambda markdown: shown.append(markdown.data))
    monkeypatch.setattr(told, "_given", {})
    name = min(EXERCISES)
    for _ in range(len(EXERCISES[name].hints) + 1):
        lessons.hint(name)
    assert [hint in said for hint, said in zip(EXERCISES[name].hints, shown, strict=False)].count(False) == 0
    assert "No more hints" in shown[-1]
    lessons.check(name, ...)
    assert "Not tried yet" in shown[-1] and f'hint("{name}")' in shown[-1]
    for call in (lambda: lessons.check("99.none", 1), lambda: lessons.hint("99.none")):
        with pytest.raises(ValueError, match=f"no exercise '99.none'; there are .*{name}"):
            call()
