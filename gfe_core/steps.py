"""What a training does with a batch: Algorithm 1, and the autoencoder trained alongside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from gfe_core.contract import HOW
from gfe_core.encoding import Encoding, Solver, encoder_of
from gfe_core.extra import Extra, handing, require_taken
from gfe_core.landscape import InTheta, Landscape, Start
from gfe_core.objective import Loss, Objective, bce

Step = Callable[..., Tensor]  # images (B, ...), and extra where there is some -> losses (B,); adds to .grad


class Gradient(Protocol):
    """How the summed loss changes with theta (Sec. 3.1): one tensor for each decoder parameter, or None."""

    needs_path: ClassVar[bool]  # whether the encoding must be recorded

    def __call__(self, objective: Landscape, encoding: Encoding) -> InTheta:
        """The gradient of the batch's summed loss at ``encoding``."""
        ...


def iteration(objective: Landscape, solver: Solver, gradient: Gradient, z0: Start | None = None) -> Tensor:
    """Losses (B,) of a batch at z_tau; d_theta of their sum, Eq. (1), is added to .grad. See :func:`encoding_step`."""
    encoding = encoded(objective, solver, gradient, z0)  # z_tau, Eq. (2) or (5)
    add_to_grad(objective.decoder, gradient(objective, encoding))
    return encoding.loss


def encoded(objective: Landscape, solver: Solver, gradient: Gradient, z0: Start | None = None) -> Encoding:
    """z_tau of every image, with its path if ``gradient`` needs it. A solver that learns from batches learns this one.

    Such a solver starts at ``z0`` only as long as it knows of no better start.
    """
    z0 = None if getattr(solver, "has_start", False) else z0
    encoding = solver.encode(objective, z0, record=gradient.needs_path)
    if learn := getattr(solver, "learn", None):  # of a solver that starts where earlier batches point to
        learn(objective, encoding)
    return encoding


def add_to_grad(module: nn.Module, slopes: InTheta) -> None:
    """Add to each parameter's .grad, as backward() does; None adds nothing."""
    given: set[int] = set()
    for parameter, slope in zip(module.parameters(), slopes, strict=True):
        if slope is None:
            continue
        if parameter.grad is not None:
            parameter.grad.add_(slope)
            continue
        if slope.layout != torch.strided:  # of an embedding with sparse=True
            parameter.grad = slope
            continue
        memory = slope.untyped_storage()  # autograd may give several parameters the same, or repeat one number
        shared = memory.data_ptr() in given or memory.nbytes() < slope.nbytes
        given.add(memory.data_ptr())
        parameter.grad = slope.clone(memory_format=torch.contiguous_format) if shared else slope


def encoding_step(
    decoder: nn.Module, solver: Solver, gradient: Gradient, loss: Loss = bce, *, z0: Start | None = None,
    latent_dim: int | None = None, latent_shape: tuple[int, ...] | None = None, train_mode: bool = False,
) -> EncodingStep:  # fmt: skip
    """One iteration of Algorithm 1: z_tau of each image by ``solver``, then d_theta of the summed loss by ``gradient``.

    The step is a function of images (B, ...), and of ``extra`` where loss or decoder take it, as in
    :class:`~gfe_core.objective.Objective`; it returns the losses (B,) and adds the gradient to .grad, as backward()
    does. Integers that neither takes are the labels of a data set, and left out.

    - ``solver``: of one that learns from batch to batch, such as ``WarmStart()``, the step makes an encoder of its own.
    - ``z0``: where encoding starts, as in :meth:`Objective.start`; one that learns starts there before its first batch.
    - ``latent_dim``, ``latent_shape``: of the latents, where the decoder has no ``latent_dim``.
    - ``train_mode``: encode with the decoder in eval mode, and take the gradient in theta with the modules as they are
      found. Batch normalisation and dropout then act at the update, and not while encoding.

    The loss is l alone, without a prior. To train with one, make the step a function of images that calls
    ``iteration(Prior(Objective(decoder, images), energy), solver, gradient)``.

    Costs the solver's decoder passes and those of ``gradient``. Raises ``ValueError`` as the objective does, and for a
    ``train_mode`` with a gradient that follows the path back, whose points are of another mode.
    """
    if train_mode and gradient.needs_path:
        raise ValueError(
            f"train_mode=True with {type(gradient).__name__}: a path that was found in eval mode cannot be followed "
            "back in train mode; use ApproximateGradient, or leave train_mode out."
        )
    return EncodingStep(decoder, encoder_of(solver), gradient, loss, z0, latent_dim, latent_shape, train_mode)


class EncodingStep:
    """The step that :func:`encoding_step` makes; ``solver`` is what it encodes with, ``objective`` the last batch's."""

    def __init__(
        self, decoder: nn.Module, solver: Solver, gradient: Gradient, loss: Loss, z0: Start | None,
        latent_dim: int | None, latent_shape: tuple[int, ...] | None, train_mode: bool,
    ) -> None:  # fmt: skip
        self.decoder, self.solver, self.gradient, self.loss = decoder, solver, gradient, loss
        self.z0, self.latent, self.train_mode = z0, (latent_dim, latent_shape), train_mode
        self.objective: Objective | None = None

    def __call__(self, images: Tensor, extra: Extra | None = None) -> Tensor:
        """The losses (B,) of ``images`` (B, ...) at their z_tau; the gradient of their sum is added to .grad."""
        extra = wanted(extra, self.decoder, self.loss)
        if not self.train_mode:
            return iteration(self.renewed(images, extra), self.solver, self.gradient, self.z0)
        with in_eval_mode(self.decoder):
            objective = self.renewed(images, extra)
            encoding = encoded(objective, self.solver, self.gradient, self.z0)
        add_to_grad(self.decoder, self.gradient(objective, encoding))
        return encoding.loss

    def renewed(self, images: Tensor, extra: Extra | None) -> Objective:
        """The objective of a batch; decoder and loss are tried with the first one."""
        if self.objective is None:
            self.objective = Objective(self.decoder, images, self.loss, extra, *self.latent)
        else:
            self.objective = self.objective.renewed(images, extra)
        return self.objective

    def state_dict(self) -> dict[str, Any]:
        """What its solver has learnt; empty for one that does not learn."""
        return state_of(self.solver) or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        if state:
            self.solver.load_state_dict(state)  # type: ignore[attr-defined]


def autoencoder_step(autoencoder: nn.Module, loss: Loss = bce) -> AutoEncoderStep:
    """One iteration of the autoencoder: encoder and decoder updated together by backpropagation.

    ``autoencoder`` is any module from images (B, ...) to what ``loss`` takes. The step is used like that of
    :func:`encoding_step`, and raises ``ValueError`` for losses that are not (B,) and for ``extra`` that nobody takes.
    """
    return AutoEncoderStep(autoencoder, loss)


class AutoEncoderStep:
    """The step that :func:`autoencoder_step` makes."""

    def __init__(self, autoencoder: nn.Module, loss: Loss) -> None:
        self.autoencoder, self.loss = autoencoder, loss

    def __call__(self, images: Tensor, extra: Extra | None = None) -> Tensor:
        """The losses (B,) of ``images`` (B, ...); the gradient of their sum is added to .grad."""
        extra = wanted(extra, self.autoencoder, self.loss)
        to_model, to_loss = handing(self.autoencoder, 1, extra, unknown=False), handing(self.loss, 2, extra, True)
        require_taken(extra, to_model, to_loss)
        losses = to_loss.call(self.loss, to_model.call(self.autoencoder, images, extra=extra), images, extra=extra)
        if losses.shape != (len(images),):
            raise ValueError(
                f"the loss of {len(images)} images has shape {tuple(losses.shape)}, and needs ({len(images)},): {HOW}."
            )
        losses.sum().backward()
        return losses.detach()


def wanted(extra: Extra | None, module: nn.Module, loss: Loss) -> Extra | None:
    """``extra``, or None for integers that neither ``module`` nor ``loss`` takes: the labels of a data set."""
    if not isinstance(extra, Tensor) or extra.is_floating_point() or extra.dtype == torch.bool:
        return extra
    taken = handing(module, 1, extra, unknown=False).whole or handing(loss, 2, extra, unknown=False).whole
    return extra if taken else None


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """With all modules in eval mode; afterwards each is in its own mode again."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def state_of(part: object) -> dict[str, Any] | None:
    """The ``state_dict`` of what has one, else None."""
    return part.state_dict() if hasattr(part, "state_dict") else None
