"""What an objective asks of a decoder and a loss, checked once: one loss for each image, and a function of z alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from gfe_core.objective import Objective

HOW = (
    "write a loss of (output, images) that returns one number for each image, as "
    "F.mse_loss(output, images, reduction='none').flatten(1).mean(dim=1)"
)

HALF = (torch.float16, torch.bfloat16)
DRAWS = 8  # calls in which a difference is looked for: what is drawn may be the same now and then


def fitting_dtypes(decoder: nn.Module, images: Tensor) -> tuple[torch.dtype | None, torch.dtype]:
    """The dtype of the decoder's parameters, None if it has none, and that of latents and losses.

    The latter is single precision beside a decoder of half precision. Raises ``ValueError`` where images and decoder
    differ in dtype or device, for a decoder that was built in inference mode, and for images that are not a tensor.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"the images are a {type(images).__name__}; pass a tensor, as torch.as_tensor(images) is.")
    tensors = (*decoder.parameters(), *decoder.buffers())
    if any(tensor.is_inference() for tensor in tensors):
        raise ValueError("the decoder was built in inference mode, and has no gradient; build it outside.")
    own = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    if own is not None and own.device != images.device:
        raise ValueError(f"the images are on {images.device}, the decoder is on {own.device}; move one of them.")
    theirs = images.dtype if images.is_floating_point() else None
    accepts = None if own is None else own.dtype
    kinds = [torch.float32 if dtype in HALF else dtype for dtype in (accepts, theirs) if dtype is not None]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"the images are {theirs} and the decoder is {accepts}; convert one of them: images.to({accepts}) or "
            f"decoder.to({theirs})."
        )
    return accepts, kinds[0] if kinds else torch.get_default_dtype()


def require_steady_modules(decoder: nn.Module) -> None:
    """Raise ``ValueError`` for a module whose mode makes the output random, or a function of the whole batch."""
    for module in decoder.modules():
        if told := _unsteady(module):
            what, why = told
            name = next(name for name, other in decoder.named_modules() if other is module)
            raise ValueError(f"the decoder's {what} '{name}' {why}.")


def _unsteady(module: nn.Module) -> tuple[str, str] | None:
    """What a module is, and why the loss of an image is no function of its latent with it; None if it is one."""
    normal = isinstance(module, nn.modules.batchnorm._BatchNorm)
    if normal and module.running_mean is None:
        return "batch normalisation", (
            "keeps no running statistics, so that an image's loss depends on the rest of the batch in any mode; build "
            "it with track_running_stats=True"
        )
    if not module.training:
        return None
    if normal:
        return "batch normalisation", (
            "is in training mode, so that an image's loss depends on the rest of the batch; call decoder.eval() first"
        )
    if isinstance(module, nn.RReLU) or (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0):
        return type(module).__name__, (
            "is in training mode and draws at random, so that z has no loss of its own; call decoder.eval() first"
        )
    if any("SpectralNorm" in type(part).__name__ for part in (module, *module._forward_pre_hooks.values())):
        return "spectral normalisation of", (
            "is in training mode and changes the weight at each call, so that z has no loss of its own; call "
            "decoder.eval() first"
        )
    return None


@torch.no_grad()
def probe(objective: Objective, z: Tensor) -> None:
    """Try decoder and loss on one and on two images, several times, at latents ``z`` (2, d).

    Raises ``ValueError`` unless there is one floating loss for each image that does not depend on other images, and is
    the same whenever it is asked again. Costs eleven calls of the decoder, on one or two images; more to name what is
    not steady.
    """
    one = objective.select(torch.zeros(1, dtype=torch.int64))
    two = objective.select(torch.tensor([0, min(1, len(objective) - 1)]))
    if len(objective) == 1:  # beside itself, its pixels moved on by one: what broadcasts is then told apart
        two.images = torch.cat([one.images, one.images.reshape(1, -1).roll(1, 1).reshape(one.images.shape)])
    outputs, losses = [], []
    other = two.select(torch.ones(1, dtype=torch.int64))
    for part, at in [*[(two, z)] * DRAWS, (one, z[:1]), (other, z[1:])]:
        try:
            outputs.append(part.output(at))
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            raise ValueError(
                f"the decoder fails on latents of shape {tuple(objective.shaped(at).shape)}: "
                f"{_line(error)}. Check latent_dim or latent_shape, and what the decoder is handed besides z."
            ) from error
        losses.append(_losses(part, outputs[-1]))
    raw = [leaf for leaf in tree_leaves(outputs[0]) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    eps = max(torch.finfo(x.dtype).eps for x in (*raw, losses[0]))
    if not all(_alike(losses[0], again, 64 * eps) for again in losses[1:DRAWS]):
        culprit = first_unsteady(objective.decoder, lambda: two.output(z))
        what = f"the decoder's {culprit}" if culprit else "the decoder or the loss"
        raise ValueError(
            f"{what} gives another result when it is called again with the same latents, so that z has no loss of its "
            "own; call decoder.eval(), or hold its noise fixed."
        )
    for beside, alone in zip(losses[0].split(1), losses[DRAWS:], strict=True):
        if not _alike(beside, alone, max(eps**0.5, 1e-2 if z.is_cuda else 0.0)):
            raise ValueError(
                f"the loss of an image is {float(alone):.4g} on its own and {float(beside):.4g} beside another; it "
                f"must not depend on the batch: {HOW}, and pass what belongs to each image as extra."
            )
    _require_gradient(one, z[:1])


def _losses(part: Objective, output: Any) -> Tensor:
    """The losses of one or two images, of the right shape and kind."""
    images = f"{len(part)} image{'s' * (len(part) > 1)}"
    try:
        with torch.inference_mode(False):
            losses = part.raw_losses(output)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        kind = "" if part.images.is_floating_point() else f" of {part.images.dtype} (if floats are wanted: .float())"
        shape = f"{tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the loss fails on {images}{kind}, output {shape}, images {tuple(part.images.shape)}: {_line(error)}. "
            "Reshape the images to what the loss wants; what belongs to each image (a mask, a weight, a label) must "
            "not be held by the loss itself: pass it as extra."
        ) from error
    if not isinstance(losses, Tensor) or losses.shape != (len(part),):
        got = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"the loss of {images} has {got}, and needs ({len(part)},): {HOW}, and pass what belongs to each image as "
            "extra."
        )
    if not losses.is_floating_point():
        raise ValueError(f"the loss is {losses.dtype}, and must be floating to have a gradient: {HOW}.")
    return losses


def _require_gradient(one: Objective, z: Tensor) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        z = z.clone().requires_grad_()
        losses = one.raw_losses(one.output(z))
    if not losses.requires_grad:
        raise ValueError(
            "the loss has no gradient in z: somewhere between them is a detach(), a no_grad() or a step such as "
            "argmax or round; leave it out."
        )


def _alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    scale = float(one.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return torch.allclose(one, other.to(one), rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(".")


def first_unsteady(decoder: nn.Module, call: Callable[[], Any]) -> str | None:
    """The innermost module, by type and name, that answers the same input differently in two calls; None if unknown."""
    seen: list[tuple[str, list[Tensor], list[Tensor]]] = []

    def note(name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: nn.Module, given: Any, output: Any) -> None:
            inputs, outputs = ([x.clone() for x in tree_leaves(y) if isinstance(x, Tensor)] for y in (given, output))
            seen.append((f"{type(module).__name__} '{name}'" if name else type(module).__name__, inputs, outputs))

        return hook

    try:
        hooks = [module.register_forward_hook(note(name, module)) for name, module in decoder.named_modules()]
    except RuntimeError:  # a scripted module
        return None
    try:
        for _ in range(DRAWS):
            seen.clear()
            call()
            half = len(seen)
            call()
            for (name, given, out), (_, given_again, out_again) in zip(seen[:half], seen[half:], strict=False):
                if _same(given, given_again) and not _same(out, out_again):
                    return name
    finally:
        for hook in hooks:
            hook.remove()
    return None


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-8, equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )


def latent_shape_of(
    decoder: nn.Module, latent_dim: int | None, latent_shape: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The shape of one latent as told, else the decoder's, or None. Raises ``ValueError`` for impossible sizes."""
    if latent_shape is not None:
        shape = (latent_shape,) if isinstance(latent_shape, int) else tuple(latent_shape)
        if not shape or any(size < 1 for size in shape):
            raise ValueError(f"latent_shape = {shape}: one positive size or more, such as (20,) or (18, 512).")
        if latent_dim not in (None, math.prod(shape)):
            raise ValueError(f"latent_dim = {latent_dim}, but latent_shape = {shape} has {math.prod(shape)} numbers.")
        return shape
    dim = getattr(decoder, "latent_dim", None) if latent_dim is None else latent_dim
    if dim is None:
        return None
    if dim < 1:
        raise ValueError(f"latent_dim = {dim}: at least 1.")
    return (int(dim),)
