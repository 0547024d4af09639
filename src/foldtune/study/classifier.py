"""A tuned backbone as an estimator of scikit-learn, on arrays of images or on paths of files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from foldtune.backbones import Backbone, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.method import Method
from foldtune.data.identity import data_identity, image_hash, split_hash, unpack
from foldtune.data.images import ImageData
from foldtune.data.sources.arrays import as_file
from foldtune.data.store.decode import Fit, decode
from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits
from foldtune.methods.catalogue import parse
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.run import ATTENTIVE
from foldtune.study.compare import compare
from foldtune.study.fit import recipe_for
from foldtune.study.terms.settings import attentive
from foldtune.training.recipe import Recipe, recipe_of
from foldtune.tunings.imagefiles import decode_files

AUTO = "auto"
_HELD = 5  # one image in so many is held apart in the splits, and trained on all the same
Images = np.ndarray | Sequence[Any]


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A frozen backbone tuned by a method, as scikit-learn's estimators are used.

    model, method: as of `foldtune.fit`; "auto" has `foldtune.compare` choose the method on splits
    of the training images, `trials` each, and trains the chosen on all of them. size: side of the
    images that the backbone takes; epochs, lr, head, seed, device: as of `foldtune.fit`.

    Images are (images, height, width, 3) or (images, height, width) uint8, or floats from 0 to 1,
    of any height and width; or paths of picture files. After `fit`: `classes_`; `method_`, as one
    writes it; `attachment_`, of which `merge()` gives the plain network.

    >>> model = Classifier(method="BitFit", size=16, epochs=1)
    >>> model.get_params()["method"]
    'BitFit'
    """

    def __init__(
        self,
        model: str | Backbone = "micro",
        method: str | Method = "SSF",
        *,
        epochs: int = 20,
        size: int | None = None,
        lr: float | None = None,
        head: str | None = None,
        trials: int = 4,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.model, self.method, self.epochs, self.size = model, method, epochs, size
        self.lr, self.head, self.trials, self.seed = lr, head, trials, seed
        self.device = device

    def fit(self, X: Images, y: Sequence[Any]) -> Classifier:
        """Tune on all of the images. Raises InputError for what is no image, for another number of
        labels than of images, and where the training diverges."""
        given = np.asarray(y)
        if given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        if given.ndim != 1 or len(given) != len(X):
            raise InputError(
                f"y has the shape {given.shape} and X {len(X)} images; give one label an image"
            )
        check_classification_targets(given)
        self.classes_, labels = np.unique(given, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"y holds one class, {self.classes_[0]}; a classifier needs two or more"
            )
        self.backbone_ = self._backbone()
        data = _as_data(self._pixels(X), labels, [str(name) for name in self.classes_])
        method, recipe, head = self._choose(data)
        bench = Bench(self.backbone_, data, self.device)
        # A trial reads no test split, and nothing is watched of what is trained on.
        run = bench.describe(
            "trial", method, recipe, self.seed, head=head, train_on=("train", "val")
        )
        self.attachment_, row = bench.tune(run)
        if row["verdict"] != "finished":
            self.attachment_.detach()
            raise InputError(f"{method!r} {row['verdict']}")
        self.method_ = repr(method)
        return self

    def predict_proba(self, X: Images) -> np.ndarray:
        """(images, classes), in the order of `classes_`."""
        check_is_fitted(self, "attachment_")
        pixels, prepare = self._pixels(X), prepare_for(self.backbone_)
        logits = predict_logits(self.attachment_.model, pixels, np.arange(len(pixels)), prepare)
        shares: np.ndarray = logits.double().softmax(1).numpy()
        return shares

    def predict(self, X: Images) -> np.ndarray:
        """(images,), each one of `classes_`."""
        shares = self.predict_proba(X)
        found: np.ndarray = self.classes_[shares.argmax(1)]
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.input_tags.string = True
        return tags

    # -- private -------------------------------------------------------------------------------

    def _backbone(self) -> Backbone:
        from foldtune.study.inputs import as_backbone

        if isinstance(self.model, Backbone):
            return as_backbone(self.model)
        return load_backbone(self.model, size=self.size)

    def _choose(self, data: ImageData) -> tuple[Method, Recipe, str]:
        """Method, recipe and start of the classifier."""
        from dataclasses import replace

        if self.method != AUTO:
            method = self.method if isinstance(self.method, Method) else parse(self.method)
            pooled = self.head == ATTENTIVE
            method = attentive(method) if pooled else method
            recipe = recipe_for(method, self.epochs)
            recipe = replace(recipe, lr=recipe.lr if self.lr is None else self.lr)
            return method, recipe, (None if pooled else self.head) or method.head_start
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npz"
            np.savez(path, images=data.pixels, labels=data.labels)
            found = compare(
                path, self.backbone_, out=Path(folder) / "study", epochs=self.epochs,
                trials=self.trials, seeds=1, head=self.head, seed=self.seed, device=self.device,
                cache=Path(folder) / "cache",
            )  # fmt: skip
            method, won = parse(found.best), found.winner
            assert won is not None  # `best` refuses where nothing won
            start = next(r["head_start"] for r in found.rows if r["run"] == won["run"])
            return method, recipe_of(won["recipe"]), start

    def _pixels(self, X: Images) -> np.ndarray:
        """The images as the backbone takes them, uint8."""
        if len(X) and isinstance(X[0], str | Path):
            return decode_files([Path(one) for one in X], self.backbone_)
        images = _as_bytes(np.asarray(X))
        transform = self.backbone_.transform
        fit = Fit(transform.size, transform.resize, transform.interpolation,
                  channels=transform.channels)  # fmt: skip
        return np.stack([decode(as_file(image), fit) for image in images])


def _as_bytes(images: np.ndarray) -> np.ndarray:
    """(images, height, width) or (images, height, width, 3) as uint8."""
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise InputError(
            f"X has the shape {images.shape}; give (images, height, width), (images, height, "
            "width, 3), or paths of picture files"
        )
    if not len(images):
        raise InputError("X holds no image")
    images = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise InputError(f"X is of {images.dtype}; give uint8, or floats from 0 to 1")
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise InputError(
            f"X is of floats from {images.min():g} to {images.max():g}; scale them to 0 to 1, or "
            "give uint8"
        )
    return np.round(images * 255).astype(np.uint8)


def _as_data(pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> ImageData:
    """Images of which all are trained on."""
    keys = [image_hash(image) for image in pixels]
    rows = np.arange(len(pixels))
    held = rows % _HELD == 0
    splits = {"train": rows[~held], "val": rows[held], "test": rows[:0]}
    names = tuple(map(str, rows))
    facts = {"split_hash": split_hash(splits), "source": "arrays"}
    identity = data_identity(keys, labels.tolist(), classes, (*pixels.shape[1:],))
    return ImageData(
        "arrays", pixels, labels.astype(np.int64), tuple(classes), names, splits, identity,
        unpack("".join(key + key for key in keys), 32), facts,
    )  # fmt: skip
