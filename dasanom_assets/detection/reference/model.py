"""What scoring needs beside the networks: fitted detectors, and how often reference ground does as much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dasanom_assets.detection.calibration.conformal import Conformal
from dasanom_assets.detection.calibration.rates import Rates
from dasanom_assets.detection.detectors.base import Detector, Windows, detector_class
from dasanom_assets.detection.detectors.latent import Latent
from dasanom_assets.detection.reference.crossfit import CrossFitted, Folds
from dasanom_assets.detection.reference.inputs import Inputs
from dasanom_assets.detection.reference.known import NAME, KnownGround, other_bands, places
from dasanom_assets.models import checkpoints
from dasanom_assets.settings import ReferenceSettings, Settings
from dasanom_assets.tables.store import Store

WINDOWS = ("spectrogram", "window", "background")
"""Sections of the settings that make windows."""
NEEDED = (*WINDOWS, "reference")
"""Sections of the settings that a model and what it scores must share."""
AS_THEY_ARE = ("vae_version", "infogan_version", "least_score", "settings", "grids", "note")
"""Parts of a model that JSON holds as they are."""

REMEDY = "train another, or say that it shall score anyway, as by dasanom promote {} --anyway"


class RefusedModelError(ValueError):
    """A model that a check has refused, and that nobody has asked for anyway."""


class IncompatibleModelError(ValueError):
    """A model that does not fit the table it should score."""


@dataclass(frozen=True, kw_only=True)
class Reference(KnownGround):
    """A fitted reference model.

    Attributes
    ----------
    vae_version : str
        The checkpoint whose latent space this is.
    detectors : dict
        Name to fitted `Detector`.
    crossed : CrossFitted
        What judges the days that it was fitted on.
    conformal : dict
        Name to what each detector said of the reference, in the order of their columns; ``fused`` to what all of
        them and the surroundings did.
    fused : tuple of str
        Detectors that make up the score.
    rates : Rates
        Events of the reference.
    least_score : float
        Score from which a window can be part of an event.
    windows : dict
        Where the windows that detectors were fitted on come from: ``fibre``, ``channel``, ``start_ns``.
    settings : dict
        The settings that a table must share to be scored: see `NEEDED`.
    grids, usual, version
        See `KnownGround`.
    note : dict
        What a person wants to know: counts, quality of the clusters, what was left out and why.
    infogan_version : str or None
        The infoGAN that a detector looks through; None where none does.
    """

    vae_version: str
    detectors: dict[str, Detector]
    crossed: CrossFitted
    conformal: dict[str, Conformal]
    fused: tuple[str, ...]
    rates: Rates
    least_score: float
    windows: dict[str, np.ndarray]
    settings: dict[str, Any]
    note: dict[str, Any]
    infogan_version: str | None = None

    @property
    def names(self) -> list[str]:
        """The detectors that score, in the order of their columns."""
        return [name for name in self.detectors if name in self.conformal]

    @property
    def recipe(self) -> ReferenceSettings:
        """The constants that it was made with."""
        return self.rates.recipe

    def inputs(self, store: Store, models: Store, device: str) -> Inputs:
        """Return what gives the detectors that score, on days of `store`, what they ask for; see `Inputs`."""
        return Inputs([self.detectors[name] for name in self.names], store, models, self.infogan_version, device)

    def score(self, windows: Windows, day: str, start_ns: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each detector says of windows of one day, float32, shape (n_windows,), by name.

        A day that the model was fitted on is judged by detectors that were fitted without it. Only those that look
        through networks know it.
        """
        learned = self.crossed.detectors[0] if day in self.crossed.folds.edges else {}
        return {
            name: self.crossed.score(name, windows, day, start_ns)
            if name in learned
            else self.detectors[name].score(windows)
            for name in self.names
        }

    @property
    def latent(self) -> Latent | None:
        """The detector whose clusters `cluster_labels` and the map show, whether or not it scores."""
        return self.detectors.get("latent")  # type: ignore[return-value]


def save_reference(store: Store, reference: Reference) -> str:
    """Store a reference model and return its version; making it live is a separate step."""
    parts = {"windows": reference.windows, "usual": reference.usual}
    fibres = np.unique(np.concatenate([arrays["fibre"] for arrays in parts.values()]))
    tensors = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
    tensors |= {
        f"{part}.fibre": np.searchsorted(fibres, arrays["fibre"]).astype(np.int32)
        for part, arrays in parts.items()
    }

    def kept(prefix: str, part: Any) -> dict[str, Any]:
        arrays, values = part.state()
        tensors.update({f"{prefix}.{key}": array for key, array in arrays.items()})
        return values

    def kept_detectors(prefix: str, detectors: Mapping[str, Detector]) -> list[dict[str, Any]]:
        kinds = {name: f"{type(d).__module__}:{type(d).__name__}" for name, d in detectors.items()}
        return [
            {"name": name, "class": kinds[name], "values": kept(f"{prefix}.{name}", d)}
            for name, d in detectors.items()
        ]

    crossed = reference.crossed
    edges = {day: values.tolist() for day, values in crossed.folds.edges.items()}
    description = {name: getattr(reference, name) for name in AS_THEY_ARE} | {
        "detectors": kept_detectors("detector", reference.detectors),
        "crossed": [kept_detectors(f"crossed.{i}", fitted) for i, fitted in enumerate(crossed.detectors)],
        "folds": vars(crossed.folds) | {"edges": edges},
        "conformal": {name: kept(f"conformal.{name}", c) for name, c in reference.conformal.items()},
        "rates": kept("rates", reference.rates),
        "fused": list(reference.fused),
        "fibres": fibres.tolist(),
    }
    return checkpoints.save(store, NAME, tensors, description)


def load_reference(store: Store, version: str | None = None) -> Reference:
    """Return a reference model, the live one by default.

    Raises
    ------
    checkpoints.CheckpointError
        Where there is none, it is damaged, or one of its detectors cannot be imported.
    """
    version = version or checkpoints.live(store, NAME)
    if version is None:
        raise checkpoints.CheckpointError("there is no live model yet: run the job train first")
    tensors, d = checkpoints.load(store, NAME, version)

    def below(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): array for key, array in tensors.items() if key.startswith(prefix)}

    def detectors_of(prefix: str, rows: list[dict[str, Any]]) -> dict[str, Detector]:
        return {
            row["name"]: detector_class(row["class"]).restore(below(f"{prefix}.{row['name']}."), row["values"])
            for row in rows
        }

    try:
        detectors = detectors_of("detector", d["detectors"])
        edges = {day: np.array(values) for day, values in d["folds"]["edges"].items()}
        crossed = [detectors_of(f"crossed.{i}", rows) for i, rows in enumerate(d["crossed"])]
        conformal = {
            name: Conformal(**(values | below(f"conformal.{name}."))) for name, values in d["conformal"].items()
        }
        rates = Rates.restore(below("rates."), d["rates"], ReferenceSettings(**d["settings"]["reference"]))
        return Reference(
            detectors=detectors,
            crossed=CrossFitted(Folds(**(d["folds"] | {"edges": edges})), crossed),
            conformal=conformal,
            fused=tuple(d["fused"]),
            rates=rates,
            windows=places("windows", tensors, d),
            usual=places("usual", tensors, d),
            version=version,
            **{name: d[name] for name in AS_THEY_ARE},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoints.CheckpointError(
            f"reference model {version} was made by another version of dasanom or of a detector ({error}): "
            "run the job train"
        ) from error


def promote(store: Store, version: str, *, anyway: bool = False) -> dict[str, str]:
    """Make a reference model, and the networks that it was fitted with, those that score; return their versions.

    Parameters
    ----------
    store : Store
    version : str
        Of the reference model.
    anyway : bool
        Whether what checks have said of it is passed over.

    Raises
    ------
    checkpoints.CheckpointError
        Where one of them is not there or damaged; what was live stays live.
    RefusedModelError
        Where its network has collapsed, or it lost against the live model; see `detection.proposal`.
    """
    _, description = checkpoints.load(store, NAME, version)
    versions = {NAME: version, "vae": description["vae_version"], "infogan": description["infogan_version"]}
    if versions["vae"]:
        network = checkpoints.load(store, "vae", versions["vae"])[1]
        versions["training_set"] = network["training_set"]
        if not anyway and network["collapsed"]:
            raise RefusedModelError(f"the network of {version} has collapsed: {REMEDY.format(version)}")
    said = store.read_json(path) if store.exists(path := proposal_path(version)) else {"reasons": []}
    if not anyway and said["reasons"]:
        raise RefusedModelError(f"{version} was refused: {'; '.join(said['reasons'])}: {REMEDY.format(version)}")
    versions = {name: version for name, version in versions.items() if version}
    checkpoints.set_live(store, versions)
    return versions


def proposal_path(version: str) -> str:
    """Return the path of what was said of a reference model beside the one that was live."""
    return f"models/{NAME}/{version}/proposal.json"


def require_fit(
    reference: Reference,
    metadata: dict[str, Any],
    settings: Settings,
    day: str,
    sections: Sequence[str] = NEEDED,
) -> None:
    """Refuse to score a day with a model that was made by another recipe, for other settings or other bands.

    Settings alone do not make the bands: those of a fibre end at half of its sampling rate. A day is refused where
    the model knows the bands of none; what has other bands than it knows is not scored.

    Parameters
    ----------
    reference : Reference
    metadata : dict
        That of the day of `spectrograms`.
    settings : Settings
        Those in force.
    day : str
    sections : sequence of str
        That must be the same.

    Raises
    ------
    IncompatibleModelError
        Naming what differs, and what to do.
    """
    have = {"spectrogram": metadata["settings"]} | {
        name: getattr(settings, name).model_dump(mode="json") for name in sections if name != "spectrogram"
    }
    for section in sections:
        learned = reference.settings[section]
        if differs := [key for key, value in have[section].items() if learned.get(key) != value]:
            names = ", ".join(
                f"{section}.{key} {have[section][key]} (model: {learned.get(key)})" for key in differs
            )
            remedy = (
                "Set the recipe back"
                if section == "reference"
                else "Materialize the day's spectrograms with the model's settings"
            )
            raise IncompatibleModelError(
                f"reference model {reference.version} does not fit {day}: {names}. {remedy}, or run the job train."
            )
    others = other_bands(reference, metadata)
    if others and len(others) == len(metadata["grids"]):
        raise IncompatibleModelError(
            f"reference model {reference.version} does not fit {day}: {'; '.join(others.values())}. Run the job "
            "train with days that hold this fibre, or set spectrogram.highest_hz to what every fibre carries, "
            "materialize spectrograms and train again."
        )
