"""What several tests share: decoders that count, random problems, and hypothesis without surprises."""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from committed import report_in
from filelock import FileLock
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gfe_companion.cli.endings import SIGNALS
from gfe_companion.runs import folders
from gfe_core.amd import AMD
from gfe_core.objective import Objective, bce

HERE = Path(__file__).parent
for helper in ("browsing", "engines"):
    pytest.register_assert_rewrite(helper)

# The same examples everywhere and every time; `pytest --hypothesis-profile=explore` looks for new ones.
settings.register_profile("fixed", max_examples=40, derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("explore", max_examples=2000, deadline=None, database=None, print_blob=True)
settings.load_profile("fixed")

# Calls in the background ignore these, and so would all that the tests start and interrupt.
for number in SIGNALS:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# A run uses one thread, and so do the tests and what they start: as many go side by side as there are cores.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# Files that take minutes, the longest first.
LONGEST = [HERE / name for name in (
    "site/test_notebooks.py", "cli/test_honest_runs.py", "examples/test_examples.py", "browser/test_lab_page.py",
    "browser/test_report_pages.py", "runs/test_cluster.py", "faults/test_endings.py", "faults/test_kernels.py",
)]  # fmt: skip


def pytest_collection_modifyitems(items):
    """The longest files come first, then others with slow tests, few before many: nobody waits for one at the end."""
    of_file = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item):
        if item.path in LONGEST:
            return 0, LONGEST.index(item.path)
        return (1, of_file[item.path]) if item.path in slow else (2, 0)

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def as_at_the_start():
    """One test neither sets another's threads, nor tells it of runs that ended early."""
    torch.set_num_threads(1)
    yield
    folders.broken_off.clear()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The folder of the report of what is committed, which the first of pytest's workers to need it makes for all."""
    place = tmp_path_factory.getbasetemp()
    home = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "committed"
    with FileLock(f"{home}.lock"):
        return report_in(home)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp(
    sizes: tuple[int, ...],
    scale: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    between: type = nn.ELU,
) -> nn.Module:
    """Linear layers with ELU (or another function) between them, normal weights of deviation scale/sqrt(inputs).

    The second derivative of ELU jumps at 0, which costs methods of high order their order: where that is tested, pass
    ``between=nn.Tanh``.
    """
    generator, layers = seeded(seed), []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        linear = nn.Linear(inputs, outputs, dtype=dtype)
        with torch.no_grad():
            linear.weight.normal_(0, scale * inputs**-0.5, generator=generator)
            linear.bias.normal_(0, scale, generator=generator)
        layers += [linear, between()]
    decoder = nn.Sequential(*layers[:-1])
    decoder.latent_dim = sizes[0]
    return decoder


def quadratic(logits: Tensor, images: Tensor) -> Tensor:
    """Half the squared distance of Sec. 3: with a linear decoder the flow has a closed form."""
    return 0.5 * (logits - images).square().sum(dim=1)


def identity(dim=1, weight=1.0, dtype=torch.float64):
    """D(z) = weight * z."""
    decoder = mlp((dim, dim), dtype=dtype)
    with torch.no_grad():
        decoder[0].weight.copy_(weight * torch.eye(dim, dtype=dtype))
        decoder[0].bias.zero_()
    return decoder


def linear_problem(rows=9, columns=4, batch=3, curvature=1.0, seed=0):
    """D(z) = A z with the largest eigenvalue of A^T A equal to ``curvature``; its Hessian H and images y."""
    decoder = mlp((columns, rows), seed=seed)
    with torch.no_grad():
        decoder[0].bias.zero_()
        weight = decoder[0].weight
        weight *= math.sqrt(curvature) / torch.linalg.matrix_norm(weight, 2)
    a = decoder[0].weight.detach()
    return decoder, a, a.T @ a, torch.rand(batch, rows, generator=seeded(seed + 1), dtype=torch.float64)


class Counting(nn.Module):
    """A decoder that counts, in images, what is sent through it either way; ``limit`` calls are an endless loop."""

    def __init__(self, decoder: nn.Module, limit: int = 10_000) -> None:
        super().__init__()
        self.decoder, self.limit = decoder, limit
        self.latent_dim = decoder.latent_dim
        self.forward_images = self.backward_images = self.calls = 0

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1
        assert self.calls <= self.limit, f"more than {self.limit} decoder calls: the solver does not end"
        self.forward_images += len(z)
        logits = self.decoder(z)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backward_images += len(gradient)

    def forget(self) -> None:
        """Count from here, behind the passes in which an objective tries its contract."""
        self.forward_images = self.backward_images = self.calls = 0


def orders(errors: list[float]) -> list[float]:
    """The orders of convergence when the number of slices doubles from entry to entry."""
    return [math.log2(a / b) for a, b in pairwise(errors)]


@dataclass(frozen=True)
class Problem:
    """A random decoder with a batch of images, in words, so that hypothesis can print it."""

    sizes: tuple[int, ...]
    batch: int
    scale: float
    seed: int
    dtype: torch.dtype

    def decoder(self) -> Counting:
        return Counting(mlp(self.sizes, self.scale, self.seed, self.dtype))

    def images(self) -> Tensor:
        return torch.rand(self.batch, self.sizes[-1], generator=seeded(self.seed + 1), dtype=self.dtype)

    def z0(self) -> Tensor:
        return torch.randn(self.batch, self.sizes[0], generator=seeded(self.seed + 2), dtype=self.dtype)

    def objective(self) -> Objective:
        decoder = self.decoder()
        objective = Objective(decoder, self.images(), bce)
        decoder.forget()
        return objective


@st.composite
def problems(draw, dtypes=(torch.float32, torch.float64), batches=(1, 7)) -> Problem:
    width = st.integers(1, 12)
    return Problem(
        sizes=(draw(st.integers(1, 5)), *draw(st.lists(width, max_size=3)), draw(st.integers(1, 20))),
        batch=draw(st.integers(*batches)),
        scale=draw(st.sampled_from((0.1, 1.0, 3.0, 10.0))),
        seed=draw(st.integers(0, 10_000)),
        dtype=draw(st.sampled_from(dtypes)),
    )


@st.composite
def amds(draw, steps=60, tolerances=(0.0, 0.01, 0.1)) -> AMD:
    """AMD with any fields; an end after about ``steps`` steps."""
    s_0 = draw(st.sampled_from((0.01, 0.3, 1.0, 7.0)))
    return AMD(
        tau=draw(st.sampled_from((0.05, 2.0, 50.0, 1e4))),
        beta=draw(st.floats(0.1, 0.95)),
        kappa=draw(st.sampled_from((1.0, 1.1, 2.0))),
        s_0=s_0,
        s_max=s_0 * draw(st.sampled_from((1.0, 10.0, 1000.0))),
        tolerance=draw(st.sampled_from(tolerances)),
        grow_accepted=draw(st.booleans()),
        max_steps=draw(st.integers(1, steps)),
    )
