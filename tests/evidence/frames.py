"""Made-up files as the notebooks write them, in which every claim of the paper holds, or none does."""

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.claims import EPOCH

AMD = "gfe_amd_uncapped"
SETS = ("mnist", "segmented_mnist", "fashion_mnist")


def frame(rows, columns):
    return pd.DataFrame(rows, columns=columns.split())


def made(favourable=True, seeds=3):
    """The frame of each file, by its name; over ``seeds`` all that is measured varies a little."""
    better, worse = (0.1, 0.2) if favourable else (0.2, 0.1)
    tiny = {seed: 1e-4 * seed for seed in range(seeds)}
    methods = {"ae": worse, AMD: better, "ae_then_amd": better}
    table1 = [(i, m, s, loss + d) for i in (480, 960) for m, loss in methods.items() for s, d in tiny.items()]
    near = methods if not favourable else {"ae": 0.1, AMD: 0.099, "ae_then_amd": 0.1}
    table2 = [(name, m, s, loss + d / 100) for name in SETS for m, loss in near.items() for s, d in tiny.items()]
    ae_of_2 = {s: near["ae"] + d / 100 for s, d in tiny.items()}
    drawn = [(name, i, m, loss + i / 1e4) for name in SETS[::2] for i in range(3) for m, loss in methods.items()]
    curve = [
        (m, s, i, i * cost * (1 + d), loss * 480 / i)
        for m, cost, loss in (("ae", 1.0, 1.0), (AMD, 10.0 if favourable else 0.1, 0.5 if favourable else 1.2))
        for s, d in tiny.items()
        for i in (480, 960, 5760, 57_600)
    ]
    adjoint, slower = (0.98, 5.0) if favourable else (1.5, 0.9)
    left = [
        ("fixed grid", g, s, i, i * cost * (1 + d), 0.2 * f + d)
        for g, f, cost in (("approximate", 1.0, 1.0), ("adjoint", adjoint, slower))
        for s, d in tiny.items()
        for i in (30, EPOCH)
    ]
    speed = {"gfe": 1.0, "gfe_nesterov": 1.2 if favourable else 0.8, AMD: 1.0}
    final = {"gfe": worse, "gfe_nesterov": better + 0.01 if favourable else worse + 0.01, AMD: better}
    right = [
        (m, s, i, i * speed[m] * (1 + d), final[m] + d) for m in speed for s, d in tiny.items() for i in (50, EPOCH)
    ]
    jumps = {"gfe": 30, "gfe_nesterov": 20, AMD: 0} if favourable else {"gfe": 0, "gfe_nesterov": 0, AMD: 9}
    late, followed, dear = (20.0, 5760, 5000) if favourable else (0.5, 60_000, 100)
    stiff = [(s, i, 1000.0 / f * (1 + d), 3.3e-3 * f) for s, d in tiny.items() for i, f in ((0, 1.0), (followed, late))]
    if not favourable:
        stiff = [(s, i, step, end / 10) for s, i, step, end in stiff]
    cost = [(followed, s, m, g + s) for s in tiny for m, g in (("dopri5", dear), ("gfe_amd", 400))]
    right_of = {("full", "ae"): 0.9, ("full", AMD): 0.91, ("few", AMD): 0.9, ("few", "ae"): 0.3}
    if not favourable:
        right_of = {("full", "ae"): 0.9, ("full", AMD): 0.7, ("few", AMD): 0.6, ("few", "ae"): 0.8}
    maps = [(d, m, s, a + tiny[s] * (m == "ae")) for (d, m), a in right_of.items() for s in tiny]
    ends = (0.3, 0.2, 0.1) if favourable else (0.1, 0.2, 0.3)
    flows = [(m, n, t, loss + 1 - t) for m in ("gfe", "gfe_nesterov") for n, loss in enumerate(ends) for t in (0, 1)]
    return {
        "fig_01_path": frame([(n, 1.0 - 0.1 * n * (1 if favourable else -1)) for n in range(5)], "step loss"),
        "fig1": frame(flows, "method iteration t loss"),
        "table1": frame(table1, "images method seed test_loss").assign(ae_loss=lambda f: f.seed.map(tiny) + worse),
        "table2": frame(table2, "dataset method seed test_loss").assign(
            ae_loss=lambda f: f.seed.map(ae_of_2), images=lambda f: f.dataset.map(lambda name: REGISTRY[name].epoch)
        ),
        "table_05_gain": frame([(480, s, worse - better + d) for s, d in tiny.items()], "images seed gain"),
        "fig4_left": frame(curve, "method seed images seconds validation_loss"),
        "fig4_right": frame(curve, "method seed images seconds validation_loss"),
        "fig3_left": frame(left, "solver gradient seed iterations seconds validation_loss"),
        "fig3_right": frame(right, "method seed iterations seconds validation_loss"),
        "fig5_a": frame(drawn, "dataset test_image method loss"),
        "fig_04_stability": frame(
            [(m, 0 if m == AMD else 100, s, EPOCH, n) for m, n in jumps.items() for s in tiny],
            "method slices seed iterations jumps",
        ),
        "fig_04_stiffness": frame(stiff, "seed images late_median end"),
        "table_04_dopri5": frame(cost, "images seed method gradients").assign(stopped=0.0),
        "table_07_latents": frame(maps, "data method seed neighbours").assign(images=REGISTRY["mnist"].epoch),
        "table_02_cost": pd.DataFrame(
            [
                ("fixed grid", "ApproximateGradient", 100, 2),
                ("fixed grid", "AdjointGradient", 100, 410 if favourable else 0),
            ],
            columns=["solver", "gradient", "passes to encode", "passes for the gradient"],
        ),
    }


def cut_short(frames, iterations=20):
    """``frames`` of trainings that ended after so many iterations, those of whole epochs and those of flows."""
    seen = ("table2", "table_07_latents", "fig_04_stiffness", "table_04_dopri5")
    cut = {name: frames[name].assign(images=frames[name].images.clip(upper=16 * iterations)) for name in seen}
    for name in ("fig3_left", "fig3_right", "fig_04_stability"):
        part = frames[name].assign(iterations=frames[name].iterations.clip(upper=iterations))
        cut[name] = part.drop_duplicates([c for c in ("gradient", "method", "seed", "iterations") if c in part])
    return frames | cut


def write(folder, frames):
    for name, data in frames.items():
        data.to_csv(folder / f"{name}.csv", index=False)


class Place:
    """Where the files are, which data sets are embedded, and which one is shown: all that a scorecard asks for."""

    def __init__(self, figures, embedded=(), dataset="mnist"):
        self.figures, self.shipped, self.dataset = figures, embedded, dataset

    def embedded(self, dataset="mnist"):
        return dataset in self.shipped
