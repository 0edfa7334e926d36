"""What latents say of classes: t-SNE maps (Figures 6 and 7), and measures of what their pictures only suggest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.evaluate import Evaluate

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

NEIGHBOURS, FOLDS = 10, 5


@dataclass(frozen=True)
class Latents(RunConfig):
    """What the latents of the first ``count`` images of ``evaluation`` say of their classes, and their t-SNE map."""

    evaluation: Evaluate
    count: int
    perplexity: float = 30.0
    early_exaggeration: float = 4.0
    learning_rate: float = 100.0
    neighbours: int = NEIGHBOURS
    folds: int = FOLDS

    @property
    def name(self) -> str:
        """The latents of which test."""
        return self.evaluation.name.replace("test-", "latents-", 1)

    @property
    def work(self) -> tuple[str, int]:
        """A map and measures, of so many latents."""
        return type(self).__name__, self.count

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The encoded test images."""
        return (self.evaluation,)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Draw and measure: the frame of :func:`structure`."""
        z, labels = needed[0]["z"][: self.count].numpy(), dataset.test.labels[: self.count].numpy()
        drawn = tsne(z, self.perplexity, self.early_exaggeration, self.learning_rate)
        return structure(z, labels, drawn, self.neighbours, self.folds), {}


def tsne(z: np.ndarray, perplexity: float, early_exaggeration: float, learning_rate: float) -> np.ndarray:
    """A t-SNE map of latents (N, d): (N, 2), by scikit-learn, started from their principal components.

    Raises scikit-learn's ``ValueError`` unless ``perplexity`` is below N.
    """
    from sklearn.manifold import TSNE  # scikit-learn is slow to import, and not for every worker

    with threadpool_limits(1):
        return TSNE(
            perplexity=perplexity,
            early_exaggeration=early_exaggeration,
            learning_rate=learning_rate,
            init="pca",
            random_state=0,
            n_jobs=1,
        ).fit_transform(z)


def structure(
    z: np.ndarray, labels: np.ndarray, drawn: np.ndarray | None = None, neighbours: int = NEIGHBOURS, folds: int = FOLDS
) -> pd.DataFrame:
    """How latents (N, d) separate the classes ``labels`` (N,), one row a latent.

    Columns: ``label`` . ``neighbours``, whether the majority of its nearest latents, ``neighbours`` of them, names the
    class right . ``probe``, whether a linear classifier does . both found by cross-validation in ``folds``, on latents
    that the classifier has not seen . ``silhouette``, from -1 to 1: how much nearer its own class is than the next .
    and of the map ``drawn`` (N, 2), where there is one: ``x``, ``y`` and ``trustworthiness``, the map's own, in every
    row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.manifold import trustworthiness
    from sklearn.metrics import silhouette_samples
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    classifiers = {
        "neighbours": KNeighborsClassifier(neighbours),
        "probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }
    columns: dict[str, object] = {"label": labels}
    with threadpool_limits(1):
        for name, classifier in classifiers.items():
            columns[name] = cross_val_predict(classifier, z, labels, cv=parts) == labels
        columns["silhouette"] = silhouette_samples(z, labels)
        if drawn is not None:
            columns |= {"x": drawn[:, 0], "y": drawn[:, 1], "trustworthiness": trustworthiness(z, drawn)}
    return pd.DataFrame(columns)
