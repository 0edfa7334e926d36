"""Notebook 08: what BFGS must satisfy, what coordinates do to a bowl, and why a latent is given a price."""

from __future__ import annotations

import torch
from torch import Tensor

from gfe_companion.lessons.exercise import Exercise, Finding, called, no, of_choice, of_number, tensor, yes

INVERSE = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
MOVED = torch.tensor([0.3, -0.1], dtype=torch.float64)
TURNED = torch.tensor([0.2, 0.1], dtype=torch.float64)


def bfgs(inverse: Tensor, moved: Tensor, turned: Tensor) -> Tensor:
    """The inverse curvature (d, d) that BFGS makes of ``inverse``, of a move (d,) and of the gradient's turn (d,)."""
    weight = 1 / (moved @ turned)
    keeps = torch.eye(len(moved), dtype=moved.dtype) - weight * torch.outer(moved, turned)
    return keeps @ inverse @ keeps.T + weight * torch.outer(moved, moved)


def swapped(inverse: Tensor, moved: Tensor, turned: Tensor) -> Tensor:
    """The same formula with move and turn exchanged: it learns the curvature, and not its inverse."""
    return bfgs(inverse, turned, moved)


def judge_bfgs(answer: object) -> Finding:
    """Whether the matrix is symmetric, satisfies the secant equation, and is the one of BFGS."""
    found = tensor(called(answer, INVERSE, MOVED, TURNED), (2, 2))
    if torch.allclose(found, bfgs(INVERSE, MOVED, TURNED), rtol=1e-6):
        return yes("it maps the turn to the move exactly, and changes as little else as it can.")
    if torch.allclose(found, swapped(INVERSE, MOVED, TURNED), rtol=1e-6):
        return no("this maps the move to the turn. That is the curvature; wanted is its inverse.")
    if torch.allclose(found, INVERSE):
        return no("the matrix has not changed, so that nothing was learnt from the step.")
    if not torch.allclose(found, found.T):
        return no(
            "it is not symmetric. An inverse curvature is: the same factor stands on both sides, once transposed."
        )
    reached = (found @ TURNED).tolist()
    return no(
        f"it maps the turn {TURNED.tolist()} to {[round(x, 4) for x in reached]}, and it should to the move "
        f"{MOVED.tolist()}: that is the secant equation."
    )


def without_last(inverse: Tensor, moved: Tensor, turned: Tensor) -> Tensor:
    """BFGS without its last term."""
    return bfgs(inverse, moved, turned) - torch.outer(moved, moved) / (moved @ turned)


CURVATURES = (4.0, 0.01)

EXERCISES = (
    Exercise(
        name="08.secant",
        question="Write the update of BFGS for one image.",
        hints=(
            "The new matrix has to map the turn of the gradient to the move that turned it.",
            "With `weight = 1 / (moved @ turned)`, take off the old knowledge along the move: "
            "`keeps = torch.eye(d) - weight * torch.outer(moved, turned)`.",
            "`keeps @ inverse @ keeps.T` knows nothing along the move. Add what was seen: "
            "`weight * torch.outer(moved, moved)`.",
        ),
        judge=judge_bfgs,
        right=bfgs,
        wrong={
            "maps the move to the turn": swapped,
            "has not changed": lambda inverse, moved, turned: inverse,
            "not symmetric": lambda inverse, moved, turned: inverse + torch.outer(moved, turned),
            "secant equation": without_last,
        },
    ),
    Exercise(
        name="08.coordinates",
        question="A bowl has the curvatures 4 and 0.01. Which ratio of the largest to the smallest curvature does it "
        "have in the coordinates u, with z = L u and L L^T the inverse of its Hessian?",
        hints=(
            "In u the Hessian is $L^T H L$.",
            "For a diagonal $H$, $L$ is diagonal too, with $1/\\sqrt{\\mu_i}$ on its diagonal.",
        ),
        judge=of_number(
            1.0,
            "each direction has the curvature 1, so that one full step is right in all of them.",
            {
                CURVATURES[0] / CURVATURES[1]: "this is the ratio in z. What does $L^T H L$ look like?",
                (CURVATURES[0] / CURVATURES[1]) ** 0.5: "here $L$ was applied on one side only; in u the Hessian is "
                "$L^T H L$.",
                CURVATURES[1] / CURVATURES[0]: "this is the smallest to the largest, and that in z.",
            },
            "Write down $L^T H L$ for a diagonal $H$.",
        ),
        right=1,
        wrong={"ratio in z": 400.0, "one side only": 20.0, "smallest to the largest": 0.0025},
    ),
    Exercise(
        name="08.penalty",
        question="A decoder draws the same images from latents that are ten times as long, with its first weights a "
        "tenth as large. What does the loss itself say of the two?",
        hints=(
            "Does any pixel change?",
            "What, then, keeps the latents of a long training from growing? Look for the term that sees their length.",
        ),
        judge=of_choice(
            "b",
            "nothing holds the length of the latents, unless a term such as $\\rho |z|^2 / 2$ does.",
            {
                "a": "the loss sees the latents through the image alone, and the image is the same.",
                "c": "the curvature changes, by a factor of a hundred. The loss does not.",
                "d": "the gradient in z changes, by a factor of ten. The loss does not.",
            },
        ),
        right="b",
        wrong={"through the image alone": "a", "curvature changes": "c", "gradient in z changes": "d"},
    ),
)
