"""Labels that are doubtful by probabilities of models that did not see the image.

Confident learning (Northcutt, Jiang and Chuang, JAIR 2021): a class counts as confidently told
where its probability is at least the mean over the images that bear its label; an image is doubtful
where the likeliest such class is another than its label. Differs from the paper: images are told
and none is removed, and no noise model is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from foldtune.errors import NotInstalled

Doubt = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def doubtful(shares: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of doubtful images, most doubtful first, and the class that each seems to be of.

    shares: (images, classes) out-of-fold probabilities; labels: (images,). Doubt is the
    probability of the other class less that of the label.
    """
    rows = np.arange(len(labels))
    counts = np.bincount(labels, minlength=shares.shape[1])
    sums = np.bincount(labels, shares[rows, labels], minlength=shares.shape[1])
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    sure = np.where(shares >= usual, shares, -1.0)
    seems = sure.argmax(1)
    found = np.flatnonzero((sure.max(1) > 0) & (seems != labels))
    doubt = shares[found, seems[found]] - shares[found, labels[found]]
    order = np.argsort(-doubt, kind="stable")
    return found[order], seems[found[order]]


def by_cleanlab(shares: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by cleanlab (extra `cleanlab`): it estimates how many images of each class bear each
    other label and takes so many, those of the largest margin. Each seems of its likeliest class.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise NotInstalled("--by cleanlab", "cleanlab", "cleanlab") from None
    found = find_label_issues(
        labels, shares, return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    return found, shares[found].argmax(1)


RULES: Mapping[str, Doubt] = {"own": doubtful, "cleanlab": by_cleanlab}
