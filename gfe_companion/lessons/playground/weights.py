"""The playground's networks and digits in one small file: each weight a few bits, rounded on a scale of its row.

The file is compressed (zlib). In it are a length (uint32), a header in JSON, and then for each layer its scales and
biases (float32) and the codes of its weights, and for each digit its pixels, a byte each. All numbers are
little-endian, and weights.js reads the same.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PUBLISHED = Path(__file__).parent / "weights.bin"
SHRUNK = np.linspace(1.0, 0.4, 13)  # of a row's largest weight: what lies beyond is cut off if that costs less
DAMPING = 0.01  # of the inputs' mean square, so that their moments can be inverted


@dataclass(frozen=True)
class Weights:
    """``networks`` by name, float32; the ``digits`` (N, 784) with their ``labels``; and where they come from."""

    networks: dict[str, nn.Sequential]
    digits: Tensor
    labels: list[int]
    provenance: dict


def network(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with ELU between them, as :mod:`gfe_core.models` has them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        with torch.random.fork_rng(devices=[]):  # nobody else's numbers are others for it
            layers += [nn.Linear(inputs, outputs), nn.ELU()]
    made = nn.Sequential(*layers[:-1])
    made.latent_dim = sizes[0]  # type: ignore[assignment]
    return made.requires_grad_(False)


def rounded(weight: np.ndarray, bits: int, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales (rows,) and codes (rows, columns): scale (code - middle) does on ``inputs`` what ``weight`` did.

    Codes are whole numbers from 0 to 2^bits - 2; the middle one stands for zero. What rounding a column changes in the
    outputs for ``inputs`` (M, columns) is made good, as far as can be, by the columns that are rounded after it (GPTQ:
    Frantar, Ashkboos, Hoefler and Alistarh, 2022); for uncorrelated inputs that is the closest code.
    """
    scale, middle = _scale(weight, bits)[:, None], 2 ** (bits - 1) - 1
    moments = inputs.T @ inputs
    moments += DAMPING * np.trace(moments) / len(moments) * np.eye(len(moments))
    order = np.argsort(-np.diag(moments), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    left, codes = weight[:, order], np.empty_like(weight)
    for i, column in enumerate(order):
        codes[:, column] = np.clip(np.rint(left[:, i] / scale[:, 0]), -middle, middle)
        missed = (left[:, i] - scale[:, 0] * codes[:, column]) / upper[i, i]
        left[:, i:] -= np.outer(missed, upper[i, i:])
    return scale[:, 0], (codes + middle).astype(np.uint16)


def _scale(weight: np.ndarray, bits: int) -> np.ndarray:
    """The scale of each row with which rounding to the closest code costs least."""
    middle = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=1)
    largest[largest == 0] = 1.0
    scales = (SHRUNK[:, None] * largest / middle).astype(np.float32)
    codes = np.clip(np.rint(weight / scales[:, :, None]), -middle, middle)
    errors = np.square(scales[:, :, None] * codes - weight).sum(axis=2)
    return scales[errors.argmin(axis=0), np.arange(len(weight))]


def _float64(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def _packed(codes: np.ndarray, bits: int) -> bytes:
    each = (codes.reshape(-1, 1) >> np.arange(bits)) & 1  # the lowest bit first
    return np.packbits(each.astype(np.uint8).ravel(), bitorder="little").tobytes()


def _unpacked(data: bytes, count: int, bits: int) -> np.ndarray:
    each = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    return (each.astype(np.int64) << np.arange(bits)).sum(axis=1)


@torch.no_grad()
def write(
    path: Path,
    networks: dict[str, nn.Sequential],
    inputs: dict[str, Tensor],
    bits: int,
    digits: Tensor,
    labels: list[int],
    provenance: dict,
) -> None:
    """Write ``networks`` of linear layers, ``bits`` a weight, and ``digits`` (N, P) in [0, 1] with ``labels``.

    Each network is rounded so that it does on its ``inputs`` (M, its width) what it did.
    """
    described, body = [], []
    for name, made in networks.items():
        linear = [layer for layer in made if isinstance(layer, nn.Linear)]
        sizes = [linear[0].in_features, *(layer.out_features for layer in linear)]
        described.append({"name": name, "sizes": sizes, "bits": bits})
        given = inputs[name]
        for layer in made:
            if isinstance(layer, nn.Linear):
                scale, codes = rounded(_float64(layer.weight), bits, _float64(given))
                bias = layer.bias.detach().cpu().numpy().astype("<f4")
                body += [scale.astype("<f4").tobytes(), bias.tobytes(), _packed(codes, bits)]
            given = layer(given)
    body.append((digits * 255).round().to(torch.uint8).numpy().tobytes())
    header = {"networks": described, "pixels": digits.shape[1], "digits": labels, "provenance": provenance}
    head = json.dumps(header).encode()
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(zlib.compress(b"".join([struct.pack("<I", len(head)), head, *body]), 9))
    part.replace(path)


def read(path: Path = PUBLISHED) -> Weights:
    """What :func:`write` wrote; every number is the one that weights.js reads."""
    data = zlib.decompress(path.read_bytes())
    (length,) = struct.unpack_from("<I", data)
    header, at = json.loads(data[4 : 4 + length]), 4 + length

    def taken(count: int) -> bytes:
        nonlocal at
        at += count
        return data[at - count : at]

    networks = {}
    for described in header["networks"]:
        sizes, bits = described["sizes"], described["bits"]
        made, middle = network(sizes), 2 ** (bits - 1) - 1
        for layer, (inputs, outputs) in zip(list(made)[::2], pairwise(sizes), strict=True):
            assert isinstance(layer, nn.Linear)
            scale, bias = (np.frombuffer(taken(4 * outputs), "<f4") for _ in range(2))
            codes = _unpacked(taken((inputs * outputs * bits + 7) // 8), inputs * outputs, bits)
            whole = (codes - middle).reshape(outputs, inputs).astype(np.float32)
            layer.weight.copy_(torch.from_numpy(scale[:, None] * whole))
            layer.bias.copy_(torch.from_numpy(bias.copy()))
        networks[described["name"]] = made
    count = len(header["digits"]) * header["pixels"]
    digits = torch.from_numpy(np.frombuffer(taken(count), np.uint8).copy()).reshape(-1, header["pixels"]).float() / 255
    return Weights(networks, digits, header["digits"], header["provenance"])
