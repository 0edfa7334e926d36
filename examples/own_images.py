"""Encode a folder of pictures of your own: train a decoder on them, encode them, reconstruct them, save it all.

Without a folder it takes squares of two photographs. Run: python examples/own_images.py [FOLDER] [--out NEW_FOLDER]
"""

from pathlib import Path

import torch
from pictures import arguments, cut, draw_rows, new_folder, photographs
from PIL import Image
from torch import Tensor

import gfe_core as gfe

parser = arguments(__doc__, "own_images", images=9_600)
parser.add_argument("folder", type=Path, nargs="?", help="pictures of any size and kind, also in folders within it")


def read(folder: Path) -> tuple[list[str], Tensor]:
    """The names of the pictures in ``folder``, and the pictures (N, 3, 32, 32)."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            found[str(path.relative_to(folder))] = cut(Image.open(path), size=32)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            print(f"{path} is left out, as it cannot be read as a picture ({error}).")
    if not found:
        raise SystemExit(f"there is no picture in {folder}; pass a folder of some.")
    return list(found), torch.stack(list(found.values()))


if __name__ == "__main__":
    given = parser.parse_args()
    torch.set_num_threads(1)  # for networks as small as these, more are no faster
    names, pictures = read(given.folder) if given.folder else ([], photographs(200, size=32))
    out, flat = new_folder(given.out), pictures.flatten(1)

    decoder = gfe.Decoder(64, hidden=(512,), pixels=flat.shape[1], generator=torch.Generator().manual_seed(0))
    warm = gfe.WarmStart(gfe.QuasiNewtonAMD(s_0=1.0, max_trials=3), refresh=100, penalty=1e-5).encoder()
    step = gfe.encoding_step(decoder, warm, gfe.ApproximateGradient())
    adam = torch.optim.Adam(decoder.parameters(), 4e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, given.images // 16)
    recipe = gfe.Recipe(batch_size=16)
    gfe.Training(decoder, step, flat, recipe=recipe, optimizer=adam, scheduler=cosine).advance(given.images // 16 * 16)

    # Start where the pictures of the training say that pictures lie.
    encodings = gfe.encode_all(decoder, flat, gfe.LBFGSAMD(tolerance=1e-3), z0=warm.start)
    z = torch.cat([encoding.z for encoding in encodings])
    torch.save({"decoder": decoder.state_dict(), "z": z, "names": names}, out / "encoded.pt")
    with torch.no_grad():
        reconstructed = decoder(z).sigmoid().view_as(pictures)
    draw_rows({"pictures": pictures[:10], "reconstructed": reconstructed[:10]}, out / "reconstructed.png")
    error = (reconstructed - pictures).square().mean().sqrt()
    print(f"{len(z)} pictures are encoded, and {out} holds them; pixels are off by {error:.1%} (root mean square).")
