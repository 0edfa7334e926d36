"""Under autocast the decoder runs in the lower precision, and what a solver does with its losses does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch

Method = TypeVar("Method", bound=Callable[..., Any])
_FOR_THE_DECODER: ContextVar[torch.dtype | None] = ContextVar("autocast for the decoder", default=None)


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Switch autocast off on a ``device``, but for the decoder: see :func:`as_the_caller_has_it`."""
    if not torch.is_autocast_enabled(device):
        yield
        return
    token = _FOR_THE_DECODER.set(torch.get_autocast_dtype(device))
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        _FOR_THE_DECODER.reset(token)


@contextmanager
def as_the_caller_has_it(device: str) -> Iterator[None]:
    """Within :func:`full_precision`, the autocast that was switched off there."""
    if (dtype := _FOR_THE_DECODER.get()) is None:
        yield
        return
    with torch.autocast(device, dtype=dtype):
        yield


def in_full_precision(method: Method) -> Method:
    """A method of (self, objective, ...) whose own arithmetic autocast leaves alone."""

    @wraps(method)
    def within(self: Any, objective: Any, *given: Any, **named: Any) -> Any:
        if not torch.is_autocast_enabled(objective.images.device.type):
            return method(self, objective, *given, **named)
        with full_precision(objective.images.device.type):
            return method(self, objective, *given, **named)

    return within  # type: ignore[return-value]
