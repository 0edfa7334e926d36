"""Fill in what was not seen: a digit is encoded from its upper half, and the decoder draws the lower one.

An encoder network was made for whole images; given half of one, it cannot leave the other half out. A loss can: each
image's mask goes along as `extra`. Run: python examples/inpainting.py [--out NEW_FOLDER]
"""

from collections.abc import Callable

import torch
from pictures import arguments, draw_rows, new_folder
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import gfe_core as gfe
from gfe_companion.datasets.digits import digits


def seen_loss(logits: Tensor, images: Tensor, seen: Tensor) -> Tensor:
    """Cross-entropy, the mean over the pixels that are seen: (B, 784), (B, 784), (B, 784) -> (B,)."""
    losses = binary_cross_entropy_with_logits(logits, images, reduction="none")
    return (seen * losses).sum(dim=1) / seen.sum(dim=1)


def train(model: nn.Module, step: Callable[..., Tensor], pool: Tensor, images: int) -> None:
    """Adam, its learning rate falling to zero, on batches of 32."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, images // 32)
    recipe = gfe.Recipe(batch_size=32)
    gfe.Training(model, step, pool, recipe=recipe, optimizer=optimizer, scheduler=scheduler).advance(images // 32 * 32)


if __name__ == "__main__":
    given = arguments(__doc__, "inpainting", images=9_600).parse_args()
    torch.set_num_threads(1)  # for networks as small as these, more are no faster
    out, (learn, _, test) = new_folder(given.out), digits()
    truth = test.images[:200]
    seen = torch.ones(28, 28)
    seen[14:] = 0
    seen = seen.flatten().expand_as(truth)

    decoder = gfe.Decoder(generator=torch.Generator().manual_seed(0))
    step = gfe.encoding_step(decoder, gfe.WarmStart(penalty=1e-4), gfe.ApproximateGradient())
    train(decoder, step, learn.images, given.images)
    objective = gfe.Objective(decoder, seen * truth, seen_loss, extra=seen)
    # Half a digit leaves much of the latent open; a Gaussian prior decides there.
    z = gfe.LBFGSAMD(tolerance=1e-3).encode(gfe.Penalised(objective, 1e-3)).z

    autoencoder = gfe.AutoEncoder(generator=torch.Generator().manual_seed(0))
    train(autoencoder, gfe.autoencoder_step(autoencoder), learn.images, 3 * given.images)  # about the same compute time

    filled = {"GFE": decoder(z).sigmoid(), "autoencoder": autoencoder(seen * truth).sigmoid()}
    for name, pictures in filled.items():
        error = ((1 - seen) * (pictures - truth)).square().sum() / (1 - seen).sum()
        print(f"{name}: mean squared error on the unseen half {error:.4f}")
    rows = {"seen": seen * truth + 0.5 * (1 - seen)} | filled | {"truth": truth}
    draw_rows({name: pictures[:10].view(-1, 28, 28) for name, pictures in rows.items()}, out / "inpainting.png")
