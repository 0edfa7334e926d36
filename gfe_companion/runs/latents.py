"""What latents say of classes: t-SNE maps (Figures 6 and 7), and measures of what their pictures only suggest."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

NEIGHBOURS, FOLDS = 10, 5


def tsne(z: np.ndarray, perplexity: float, early_exaggeration: float, learning_rate: float) -> np.ndarray:
    """A t-SNE map of latents (N, d): (N, 2), by scikit-learn, started from their principal components.

    Raises scikit-learn's ``ValueError`` unless ``perplexity`` is below N.
    """
    with threadpool_limits(1):
        return TSNE(
            perplexity=perplexity,
            early_exaggeration=early_exaggeration,
            learning_rate=learning_rate,
            init="pca",
            random_state=0,
            n_jobs=1,
        ).fit_transform(z)


def structure(z: np.ndarray, labels: np.ndarray, drawn: np.ndarray | None = None) -> pd.DataFrame:
    """How latents (N, d) separate the classes ``labels`` (N,), one row a latent.

    Columns: ``label`` . ``neighbours``, whether the majority of its ten nearest latents names the class right .
    ``probe``, whether a linear classifier does . both found by five-fold cross-validation, on latents that the
    classifier has not seen . ``silhouette``, from -1 to 1: how much nearer its own class is than the next . and of the
    map ``drawn`` (N, 2), where there is one: ``x``, ``y`` and ``trustworthiness``, the map's own, in every row.
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    classifiers = {
        "neighbours": KNeighborsClassifier(NEIGHBOURS),
        "probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }
    columns: dict[str, object] = {"label": labels}
    with threadpool_limits(1):
        for name, classifier in classifiers.items():
            columns[name] = cross_val_predict(classifier, z, labels, cv=folds) == labels
        columns["silhouette"] = silhouette_samples(z, labels)
        if drawn is not None:
            columns |= {"x": drawn[:, 0], "y": drawn[:, 1], "trustworthiness": trustworthiness(z, drawn)}
    return pd.DataFrame(columns)
