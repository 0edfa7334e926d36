"""What travels with the images: masks, weights, labels, one row an image, handed to the loss and to the decoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Extra = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Handing:
    """How a function is handed what travels with the images: by position as a whole, or by ``names``, or not at all."""

    whole: bool = False
    names: tuple[str, ...] = ()

    def call(self, function: Callable[..., Any], *given: Any, extra: Extra | None) -> Any:
        """``function`` of what is ``given``, and of its part of ``extra``."""
        if self.whole:
            return function(*given, extra)
        if self.names:
            assert isinstance(extra, dict)
            return function(*given, **{name: extra[name] for name in self.names})
        return function(*given)


def handing(function: Callable[..., Any], given: int, extra: Extra | None, unknown: bool) -> Handing:
    """How ``function`` takes ``extra`` beside what is ``given`` by position.

    An entry of a dict goes to the parameter of its name. A tensor, and a dict none of whose names is a parameter's,
    goes to the next parameter by position, if that has no default but None: other defaults mark an option of the
    function's own. ``unknown``: whether a function that does not tell its parameters is handed it too.
    """
    if extra is None:
        return Handing()
    parameters = _parameters(function)
    if parameters is None:
        return Handing(whole=unknown)
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][given:]
    if isinstance(extra, dict):
        free = {p.name for p in (*by_position, *(p for p in parameters if p.kind == p.KEYWORD_ONLY))}
        anything = any(p.kind == p.VAR_KEYWORD for p in parameters)
        if names := tuple(name for name in extra if anything or name in free):
            return Handing(names=names)
    if by_position:
        return Handing(whole=by_position[0].default in (inspect.Parameter.empty, None))
    return Handing(whole=any(p.kind == p.VAR_POSITIONAL for p in parameters))


def checked(extra: Extra | Mapping[str, Tensor] | None, images: int) -> Extra | None:
    """``extra``, if each of its tensors has a row for each of so many ``images``; else ``ValueError``."""
    if extra is None:
        return None
    named: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {"": extra}
    if not named:
        return None
    for name, tensor in named.items():
        what = f"extra[{name!r}]" if name else "extra"
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{what} is a {type(tensor).__name__}; pass a tensor with one row for each image.")
        if tensor.ndim == 0 or len(tensor) != images:
            raise ValueError(
                f"{what} has shape {tuple(tensor.shape)}; it needs one row for each of the {images} images. What is "
                "the same for all belongs into the loss or the decoder itself."
            )
    fresh = {name: _normal(tensor) for name, tensor in named.items()}
    return fresh if isinstance(extra, Mapping) else fresh[""]


def require_taken(extra: Extra | None, *ways: Handing) -> None:
    """Raise ``ValueError`` where neither the loss nor the decoder takes ``extra``, or one of its entries."""
    if extra is None or any(way.whole for way in ways):
        return
    left = [name for name in extra if not any(name in way.names for way in ways)] if isinstance(extra, dict) else None
    if left is None:
        raise ValueError(
            "neither the loss nor the decoder takes extra; write loss(output, images, extra) or a decoder's "
            "forward(self, z, extra)."
        )
    if left:
        raise ValueError(f"neither the loss nor the decoder has a parameter named {left[0]!r}, as extra has an entry.")


def rows(extra: Extra | None, index: Tensor | slice) -> Extra | None:
    """The rows at ``index`` of each tensor."""
    if isinstance(extra, dict):
        return {name: tensor[index] for name, tensor in extra.items()}
    return None if extra is None else extra[index]


def _normal(tensor: Tensor) -> Tensor:
    """The tensor, copied if it was made in inference mode: no gradient could go past it."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """What a function, or a module's ``forward``, takes; None if it does not tell."""
    target: Any = function
    while isinstance(target, nn.Module):
        if isinstance(target, torch.jit.ScriptModule):
            empty, keyword = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
            told = target.forward.schema.arguments[1:]  # type: ignore[attr-defined]
            return [
                inspect.Parameter(a.name, keyword, default=a.default_value if a.has_default_value() else empty)
                for a in told
            ]
        within = list(target.children())
        target = within[0] if len(within) == 1 and _passes_on(target.forward) else target.forward
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None


def _passes_on(forward: Callable[..., Any]) -> bool:
    """Whether a wrapper's ``forward`` takes anything, for what it wraps: *args or **kwargs."""
    try:
        kinds = {parameter.kind for parameter in inspect.signature(forward).parameters.values()}
    except (TypeError, ValueError):  # one that does not tell
        return False
    return bool(kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})
