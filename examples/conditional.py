"""A decoder that is told the label: what is left for the latent is the hand that wrote the digit.

The labels travel with the images as `extra`, and go to the decoder. Then each image's latent is decoded under all ten
labels. Run: python examples/conditional.py [--out NEW_FOLDER]
"""

import torch
from pictures import arguments, draw_rows, new_folder
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn.functional import one_hot

import gfe_core as gfe
from gfe_companion.datasets.digits import digits

PENALTY = 3e-3  # on latents; a label costs nothing, so that the decoder learns the digit from it


class Conditional(nn.Module):
    """D(z, label): latents (B, d) and labels (B,) -> logits (B, 784)."""

    def __init__(self, latent_dim: int = 3) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.decoder = gfe.Decoder(latent_dim + 10, generator=torch.Generator().manual_seed(0))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Logits under the ``label`` of each image."""
        return self.decoder(torch.cat([z, 8 * one_hot(label, 10).to(z)], dim=1))


if __name__ == "__main__":
    given = arguments(__doc__, "conditional", images=25_600).parse_args()
    torch.set_num_threads(1)  # for networks as small as these, more are no faster
    out, (learn, _, test) = new_folder(given.out), digits()
    decoder = Conditional()
    optimizer = torch.optim.Adam(decoder.parameters(), 2e-3)
    training = gfe.Training(
        decoder, gfe.encoding_step(decoder, gfe.WarmStart(penalty=PENALTY), gfe.ApproximateGradient()), learn.images,
        recipe=gfe.Recipe(batch_size=32), optimizer=optimizer, extra=learn.labels,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, given.images // 32),
    )  # fmt: skip
    training.advance(given.images // 32 * 32)

    images, labels = test.images[:100], test.labels[:100]
    objective = gfe.Objective(decoder, images, extra=labels)
    z = gfe.LBFGSAMD(tolerance=1e-3).encode(gfe.Penalised(objective, PENALTY)).z
    every = torch.arange(10).repeat(len(images))
    with torch.no_grad():
        written = decoder(z.repeat_interleave(10, dim=0), every).sigmoid()
    neighbours = KNeighborsClassifier(5).fit(learn.images, learn.labels)
    agreed = (neighbours.predict(written) == every.numpy()).mean()
    print(f"{len(images)} latents under ten labels: nearest neighbours read {agreed:.0%} as the label")
    shown = torch.cat([images[:, None], written.view(-1, 10, 784)], dim=1)[:10].view(10, 11, 28, 28)
    rows = {f"a {label}": row for label, row in zip(labels, shown, strict=False)}
    draw_rows(rows, out / "conditional.png", ["image", *map(str, range(10))])
