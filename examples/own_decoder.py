"""A decoder and a loss of your own: convolutional, on a few colour images, trained by encoding beside an autoencoder.

The autoencoder gets the same compute time. Run: python examples/own_decoder.py [--out NEW_FOLDER]
"""

import math

import torch
from pictures import arguments, draw_rows, new_folder, photographs
from torch import Tensor, nn

import gfe_core as gfe

D = 32  # dimensions of a latent


def mse(output: Tensor, images: Tensor) -> Tensor:
    """One number for each image: (B, 3, 32, 32), (B, 3, 32, 32) -> (B,)."""
    return (output - images).square().flatten(1).mean(dim=1)


def new_decoder() -> nn.Module:
    """Latents (B, D) -> images (B, 3, 32, 32)."""
    up = [nn.ConvTranspose2d(*channels, 4, 2, 1) for channels in ((64, 32), (32, 16), (16, 3))]
    first = [nn.Linear(D, 1024), nn.ELU(), nn.Unflatten(1, (64, 4, 4))]
    return nn.Sequential(*first, up[0], nn.ELU(), up[1], nn.ELU(), up[2])


def new_encoder() -> nn.Module:
    """Its mirror image: images (B, 3, 32, 32) -> latents (B, D)."""
    down = [nn.Conv2d(*channels, 4, 2, 1) for channels in ((3, 16), (16, 32), (32, 64))]
    return nn.Sequential(down[0], nn.ELU(), down[1], nn.ELU(), down[2], nn.ELU(), nn.Flatten(), nn.Linear(1024, D))


if __name__ == "__main__":
    given = arguments(__doc__, "own_decoder", images=8_000).parse_args()
    out, few, test = new_folder(given.out), photographs(200, size=32), photographs(100, size=32, held_out=True)
    torch.set_num_threads(1)  # the clock counts the seconds of all threads
    torch.manual_seed(0)

    decoder, solver = new_decoder(), gfe.QuasiNewtonAMD(s_0=1.0, max_trials=3)
    warm = gfe.WarmStart(solver, refresh=100, penalty=1e-4).encoder()
    step = gfe.encoding_step(decoder, warm, gfe.ApproximateGradient(), mse, latent_dim=D)
    adam = torch.optim.Adam(decoder.parameters(), 8e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, given.images // 16)
    training = gfe.Training(decoder, step, few, optimizer=adam, scheduler=cosine)  # in batches of 16
    training.advance(given.images // 16 * 16)
    z = next(gfe.encode_all(decoder, test, gfe.LBFGSAMD(), mse, latent_dim=D, z0=warm.start)).z

    autoencoder = nn.Sequential(new_encoder(), new_decoder())
    adam = torch.optim.Adam(autoencoder.parameters(), 2e-3)
    beside = gfe.Training(autoencoder, gfe.autoencoder_step(autoencoder, mse), few, optimizer=adam)
    while beside.seconds < training.seconds:
        adam.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * beside.seconds / training.seconds))
        beside.advance(beside.images + 320)

    outputs = {"GFE": decoder(z), "autoencoder": autoencoder(test)}
    for (name, output), done in zip(outputs.items(), (training, beside), strict=True):
        print(f"{name}: test loss {mse(output, test).mean():.5f}, {done.seconds:.0f} seconds, {done.images:,} images")
    draw_rows({"truth": test[:10]} | {name: output[:10] for name, output in outputs.items()}, out / "own_decoder.png")
