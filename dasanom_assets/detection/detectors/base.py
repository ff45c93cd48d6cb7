"""What a detector is, and which there are.

A detector learns from windows of reference days, and gives each window of another day a score: larger is more
unusual. P-values, fusion and events are made of scores elsewhere, alike for all detectors.

Another one is a subclass of `Detector` that can be imported, and its ``module:Class`` in
``detection.detectors``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np

from dasanom_assets.models.encoding import Encoded
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.windows import WindowBank

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Windows:
    """Some windows, as the detectors see them.

    Attributes
    ----------
    bank : WindowBank
        Their whitened frames.
    encoded : Encoded or None
        What the VAE makes of them; None for detectors that do not ask (see `Detector.network`).
    outlier : numpy.ndarray or None
        float32, shape (n_windows,): their GLOSH scores, where `cluster_labels` has them already.
    more : mapping of str to numpy.ndarray
        float32, shape (n_windows, ...): what else a detector asks for by its `Detector.inputs`.
    """

    bank: WindowBank
    encoded: Encoded | None = None
    outlier: np.ndarray | None = None
    more: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.bank)

    def subset(self, index: np.ndarray) -> "Windows":
        """Return some of the windows; `index` are positions or a mask."""
        encoded = None if self.encoded is None else self.encoded.subset(index)
        outlier = None if self.outlier is None else self.outlier[index]
        return Windows(self.bank.subset(index), encoded, outlier, {k: v[index] for k, v in self.more.items()})


class Detector(ABC):
    """One way to tell unusual windows from usual ones."""

    name: ClassVar[str]
    """Of the columns ``score_<name>`` and ``p_<name>``."""

    inputs: ClassVar[tuple[str, ...]] = ()
    """Of `Windows.more`: what is computed for a detector that scores."""

    network: ClassVar[bool] = False
    """Whether it looks through a network. Such a detector is fitted and judged on windows that the network was,
    and was not, trained on; any other is fitted anew for each part of the reference that it is judged on."""

    @classmethod
    @abstractmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Learn from windows of reference days.

        Parameters
        ----------
        reference : Windows
            Drawn at random, at most ``reference.windows``; what is rare and strange is among them.
        settings : Settings
            With the recipe, ``reference``, and the seed of whatever is drawn, ``detection.seed``.

        Raises
        ------
        Exception
            Whatever stops it: the detector is left out then, with a warning.
        """

    @abstractmethod
    def score(self, windows: Windows) -> np.ndarray:
        """Return how unusual each window is, float32, shape (n_windows,).

        A score depends on its window alone, not on the others of the call.
        """

    @abstractmethod
    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return arrays and JSON-able values that `restore` makes an equal detector of."""

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Undo `state`, whose arrays and values are arguments of the class unless this is written anew."""
        return cls(**tensors, **values)


def detector_class(name: str) -> type[Detector]:
    """Return a detector's class.

    Parameters
    ----------
    name : str
        That of one in `BUILT_IN`, or ``module:Class``.

    Raises
    ------
    ValueError
        Where there is none, or it is no `Detector`.
    """
    path = BUILT_IN.get(name, name)
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError) as error:
        raise ValueError(f"detection.detectors names {name!r}, which cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Detector)):
        names = ", ".join(BUILT_IN)
        raise ValueError(f"detection.detectors names {name!r}: it takes {names}, or module:Class of a Detector")
    return kind


BUILT_IN = {
    "neighbours": "dasanom_assets.detection.detectors.neighbours:Neighbours",
    "ranked": "dasanom_assets.detection.detectors.neighbours:Ranked",
    "plain": "dasanom_assets.detection.detectors.neighbours:Plain",
    "mahalanobis": "dasanom_assets.detection.detectors.neighbours:Mahalanobis",
    "vae": "dasanom_assets.detection.detectors.latent:Likelihood",
    "latent": "dasanom_assets.detection.detectors.latent:Latent",
    "temporal": "dasanom_assets.detection.minutes.temporal:Temporal",
    "infogan": "dasanom_assets.detection.detectors.gan:InfoGan",
    "kmeans": "dasanom_assets.detection.detectors.latent:NearestCentre",
    "dbscan": "dasanom_assets.detection.detectors.latent:NearestCore",
    "isolation_forest": "dasanom_assets.detection.detectors.latent:Isolation",
}
"""Detectors by name. `plain` is what all are held against; `kmeans`, `dbscan` and `isolation_forest` are for
comparison, on what `latent` sees."""


def detector_classes(names: Sequence[str]) -> dict[str, type[Detector]]:
    """Return the classes of some detectors by the names of their columns.

    Raises
    ------
    ValueError
        Where one cannot be found, or two have the same name.
    """
    classes = {kind.name: kind for kind in map(detector_class, names)}
    if len(classes) < len(names):
        raise ValueError(f"detection.detectors {list(names)}: two of them have the same name")
    return classes
