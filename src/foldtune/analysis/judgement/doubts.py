"""Labels that are doubtful by probabilities of models that did not see the image.

Confident learning (Northcutt, Jiang and Chuang, JAIR 2021): a class counts as confidently told
where its probability is at least the mean over the images that bear its label; an image is doubtful
where the likeliest such class is another than its label. Differs from the paper: images are told
and none is removed, and no noise model is fitted.
"""

from __future__ import annotations

import numpy as np


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
