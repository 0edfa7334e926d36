"""How runs encode images: by a solver, by what a training has learnt for it, or by an autoencoder's own encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfe_core.encoding import Solver
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.training import autoencoder_losses, encode_all


def encode(model: nn.Module, images: Tensor, solver: Solver | None) -> dict[str, Tensor]:
    """Latents, losses and more of each image, by ``solver`` or, where it is None, by the autoencoder's own encoder."""
    if solver is None:
        assert isinstance(model, AutoEncoder), "a decoder alone cannot encode: give a solver"
        z, loss = autoencoder_losses(model, images)
        return {"z": z, "loss": loss}
    encodings = list(encode_all(getattr(model, "decoder", model), images, solver))
    return {name: torch.cat([getattr(e, name) for e in encodings]) for name in ("z", "loss", "t", "steps", "status")}


def knowledge_of(encoder: Solver | None) -> dict[str, Tensor]:
    """What an encoder has learnt in its training; nothing, where it is none that learns."""
    return encoder.knowledge() if encoder is not None and hasattr(encoder, "knowledge") else {}


def restored(solver: Solver | None, knowledge: dict[str, Tensor]) -> Solver | None:
    """``solver``, or its encoder with this ``knowledge`` where it makes encoders that learn."""
    return solver.encoder(knowledge) if solver is not None and hasattr(solver, "encoder") else solver


def model_with(weights: dict, solver: Solver | None) -> nn.Module:
    """What a training kept: a decoder, or an autoencoder where it was trained without ``solver``."""
    model: nn.Module = AutoEncoder() if solver is None else Decoder()
    model.load_state_dict(weights)
    return model
