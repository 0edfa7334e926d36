"""A decoder of torch as a function of JAX, and many small problems minimised by optimistix side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from jax import Array

Layer = tuple[str, tuple[int, ...]]  # what a layer does, and its sizes
Value = Callable[..., Any]  # z (d,), weights, what belongs to the image: a number


def layers_of(decoder: nn.Module) -> tuple[tuple[Layer, ...], list[Tensor]]:
    """What the layers of ``decoder`` do, one after another, and their weights.

    Raises ``ValueError`` for a layer that :func:`output` cannot compute.
    """
    found: list[Layer] = []
    weights: list[Tensor] = []
    modules = decoder if isinstance(decoder, nn.Sequential) else [decoder]
    for module in modules:
        if isinstance(module, nn.Sequential):
            inner, more = layers_of(module)
            found += inner
            weights += more
        elif isinstance(module, nn.Linear) and module.bias is not None:
            found.append(("linear", ()))
            weights += [module.weight.detach(), module.bias.detach()]
        elif isinstance(module, nn.ConvTranspose2d) and _plain(module):
            found.append(("transposed", (module.stride[0], module.kernel_size[0] - 1 - int(module.padding[0]))))
            assert module.bias is not None
            weights += [module.weight.detach().flip(2, 3).transpose(0, 1), module.bias.detach()]
        elif isinstance(module, nn.ELU) and module.alpha == 1:
            found.append(("elu", ()))
        elif isinstance(module, nn.Unflatten):
            found.append(("shape", tuple(int(size) for size in module.unflattened_size)))
        elif isinstance(module, nn.Flatten):
            found.append(("shape", (-1,)))
        else:
            raise ValueError(f"{module} has no counterpart in JAX here; use Linear, ConvTranspose2d, ELU or Flatten.")
    return tuple(found), weights


def _plain(module: nn.ConvTranspose2d) -> bool:
    """Whether it is square, has a bias, and neither groups nor dilation nor padding of its output."""
    square = all(len(set(sizes)) == 1 for sizes in (module.stride, module.kernel_size, module.padding))
    usual = (module.groups, *module.dilation, *module.output_padding) == (1, 1, 1, 0, 0)
    return square and usual and module.bias is not None


def output(layers: tuple[Layer, ...], weights: list[Array], z: Array) -> Array:
    """D(z) for one latent z (d,)."""
    import jax
    from jax import numpy as jnp

    following = iter(weights)
    for kind, sizes in layers:
        if kind == "linear":
            z = z @ next(following).T + next(following)
        elif kind == "elu":
            z = jax.nn.elu(z)
        elif kind == "shape":
            z = jnp.reshape(z, sizes)
        else:
            weight, bias = next(following), next(following)
            stride, pad = sizes
            around, apart = ((pad, pad), (pad, pad)), (stride, stride)
            z = jax.lax.conv_general_dilated(z[None], weight, (1, 1), around, lhs_dilation=apart)[0]
            z = z + bias[:, None, None]
    return z


def cross_entropy(layers: tuple[Layer, ...], penalty: float, u: Array, weights: list[Array], of_image: tuple) -> Array:
    """l(y, D(z)) + penalty |z|^2 / 2 at z = z0 + u L^T, with ``of_image`` (y, z0, L): the mean over the pixels."""
    from jax import numpy as jnp

    image, z0, factor = of_image
    z = z0 + u @ factor.T
    logits = output(layers, weights, z).ravel()
    losses = jnp.maximum(logits, 0) - logits * image + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.mean(losses) + penalty / 2 * jnp.sum(z * z)


def with_gradient(value: Value) -> Value:
    """``value``, whose gradient is computed along with it.

    Under vmap, optimistix's conditions would hand the weights of the way back to each image in a copy of its own, which
    is twenty times slower. What the way back needs is now the gradient (d,) alone.
    """
    import jax

    @jax.custom_vjp
    def computed(u: Array, weights: Any, of_image: Any) -> Any:
        return value(u, weights, of_image)

    def forward(u: Array, weights: Any, of_image: Any) -> Any:
        return jax.value_and_grad(value)(u, weights, of_image)

    computed.defvjp(forward, lambda gradient, factor: (factor * gradient, None, None))
    return computed


def minimise(value: Value, method: str, pairs: int, steps: int) -> Callable[..., tuple[Array, Array, Array]]:
    """A compiled function that minimises ``value`` for many images at once, by optimistix's "LBFGS" or "BFGS".

    It takes starts (B, d), the weights, what belongs to the images (B rows of each), and the tolerance, relative and
    absolute. It returns the minimisers (B, d), their values (B,) and the numbers of trials (B,), ``steps`` at most.
    """
    import jax
    import optimistix

    computed = with_gradient(value)

    def one(start: Array, of_image: Any, weights: Any, tolerance: Array) -> tuple[Array, Array, Array]:
        fields = {"history_length": pairs} if method == "LBFGS" else {}
        solver = getattr(optimistix, method)(rtol=tolerance, atol=tolerance, **fields)
        at = optimistix.minimise(
            lambda u, given: computed(u, *given), solver, start, (weights, of_image), max_steps=steps, throw=False
        )
        return at.value, value(at.value, weights, of_image), at.stats["num_steps"]

    def many(starts: Array, weights: Any, of_images: Any, tolerance: Array) -> tuple[Array, Array, Array]:
        return jax.vmap(one, (0, 0, None, None))(starts, of_images, weights, tolerance)

    return jax.jit(many)


@cache
def encoder(layers: tuple[Layer, ...], penalty: float, method: str, pairs: int, steps: int) -> Callable[..., tuple]:
    """:func:`minimise` of :func:`cross_entropy`; it is compiled once for each number of images."""
    return minimise(partial(cross_entropy, layers, penalty), method, pairs, steps)
