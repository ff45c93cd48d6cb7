"""What scoring needs beside the networks: fitted detectors and calibrated scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dasanom_assets.detection.clustering import assign, cluster_quality
from dasanom_assets.detection.detectors import Detector, Windows, detector_class, detector_classes
from dasanom_assets.detection.fusion import Vote, calibrate, lane_names
from dasanom_assets.detection.inputs import ERROR, FEATURES, Inputs
from dasanom_assets.detection.latent import Latent
from dasanom_assets.detection.thresholds import Calibration
from dasanom_assets.models import checkpoints
from dasanom_assets.models.training import encode_bank
from dasanom_assets.models.training_set import load_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import Settings, WindowSettings
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

NAME = "reference_model"
NEEDED = ("spectrogram", "window", "background")
"""Sections of the settings that a model and the tables that it scores must share."""
SAME_HZ = 0.005
"""Centres of bands that differ by a smaller share are the same: sampling rates are not exact."""


class IncompatibleModelError(ValueError):
    """A model that does not fit the table it should score."""


@dataclass(frozen=True)
class Reference:
    """A fitted reference model.

    Attributes
    ----------
    vae_version : str
        The checkpoint whose latent space this is.
    detectors : dict
        Name to fitted `Detector`, in the order of their columns.
    calibrations : dict
        ``usual`` and, where there are such channels, ``restless``, to: detector name, each of
        `fusion.lane_names`, and ``"fused"``, to its `Calibration` on windows that no network was trained on.
    restless : frozenset of (str, int)
        Fibre and channel of those that are calibrated by themselves.
    windows : dict
        Where the windows that detectors were fitted on come from: ``fibre``, ``channel``, ``start_ns``.
    settings : dict
        The settings that a table must share to be scored: spectrogram, window and background.
    grids : list of list of float
        Centre frequencies of the bands, Hz, as they were on the fibres of the training days.
    usual : dict
        The median over the training days of their `background`: ``fibre``, ``channel``, ``median_db``, ``mad_db``.
    note : dict
        What a person wants to know: counts, quality of the clusters, shares left out.
    version : str
        Of the stored checkpoint; empty before it is stored.
    infogan_version : str or None
        The infoGAN that a detector looks through; None where none does.
    """

    vae_version: str
    detectors: dict[str, Detector]
    calibrations: dict[str, dict[str, Calibration]]
    restless: frozenset[tuple[str, int]]
    windows: dict[str, np.ndarray]
    settings: dict[str, Any]
    grids: list[list[float]]
    usual: dict[str, np.ndarray]
    note: dict[str, Any]
    version: str = ""
    infogan_version: str | None = None

    @property
    def votes(self) -> "dict[str, Vote]":
        """Of the detectors that score, by name, in the order of their columns."""
        return {
            name: Vote(self.note["weights"][name], self.detectors[name].least_p) for name in self.note["fused"]
        }

    def inputs(self, store: Store, models: Store, device: str) -> Inputs:
        """Return what gives the detectors that score, on days of `store`, what they ask for; see `Inputs`."""
        return Inputs([self.detectors[name] for name in self.votes], store, models, self.infogan_version, device)

    def of(self, fibre: str, channel: int) -> dict[str, Calibration]:
        """Return the calibrations of a channel."""
        return self.calibrations["restless" if (fibre, channel) in self.restless else "usual"]

    @property
    def latent(self) -> Latent:
        """The detector whose clusters `cluster_labels` and the map show, whether or not it scores."""
        return self.detectors["latent"]  # type: ignore[return-value]


def terms_of(detectors: Iterable[Detector], windows: Windows) -> np.ndarray:
    """Return the terms of all detectors that have some, float32, shape (n_windows, terms)."""
    of = [detector.terms(windows) for detector in detectors if detector.adds_up]
    return np.concatenate([np.empty((len(windows), 0), np.float32), *of], axis=1)


def needed(settings: Settings) -> dict[str, Any]:
    """Return the settings in force of the sections `NEEDED`."""
    return {name: getattr(settings, name).model_dump(mode="json") for name in NEEDED}


def fit_reference(
    store: Store,
    manifest: dict[str, Any],
    vae: Vae,
    vae_version: str,
    settings: Settings,
    device: str,
    infogan_version: str | None = None,
) -> Reference:
    """Fit detectors on training windows and calibrate them on the calibration blocks.

    Reference windows are not clean: those that are taken for events are left out of the calibration, with what
    hangs together with them (see `_quiet`).

    Parameters
    ----------
    store : Store
    manifest : dict
        The training set; see `models.training_set.build_manifest`.
    vae : Vae
    vae_version : str
    settings : Settings
    device : str
    infogan_version : str, optional
        Without it, detectors that look through an infoGAN are left out; ``note`` says which.

    Raises
    ------
    checkpoints.CheckpointError
        Where the infoGAN learned from windows of other settings.
    ValueError
        Where no detector is left.
    """
    detection = settings.detection
    train, origin = load_bank(store, manifest, "train", detection.reference_windows, detection.seed)
    held_out, where = load_bank(store, manifest, "calibration")
    classes = detector_classes([*detection.detectors, *({"latent"} - set(detection.detectors))])
    looking = [name for name, of in classes.items() if {FEATURES, ERROR} & set(of.inputs)]
    infogan = _fitting_infogan(store, infogan_version, manifest) if looking else None
    left_out = looking if infogan is None else []
    classes = {name: of for name, of in classes.items() if name not in left_out}
    inputs = Inputs(classes.values(), store, store, infogan, device)
    learned = Windows(train, encode_bank(vae, train, device), more=inputs.of(train, origin))
    detectors = {name: of.fit(learned, detection) for name, of in classes.items()}
    windows = Windows(held_out, encode_bank(vae, held_out, device), more=inputs.of(held_out, where))
    fused = [name for name, of in classes.items() if of in detector_classes(detection.detectors).values()]
    if not fused:
        raise ValueError(f"{', '.join(left_out)} has no network: materialize infogan_checkpoint first")
    scores = np.stack([detectors[name].score(windows) for name in fused], axis=1)
    step = manifest["spectrogram"]["group_channels"]
    usual = usual_of(store, manifest["days"])
    known = set(zip(usual["fibre"].tolist(), usual["channel"].tolist(), strict=True))
    window = WindowSettings(**manifest["window"])
    weights = {name: detection.weights.get(name, 1.0) for name in fused}
    votes = {name: Vote(weights[name], classes[name].least_p) for name in fused}
    terms = terms_of([detectors[name] for name in fused], windows)
    found = calibrate(scores, votes, where, window, step, detection, known, terms)
    note = {
        "reference_windows": len(train),
        "calibration_windows": len(held_out),
        "fused": fused,
        "weights": weights,
        "left_out": left_out,
        **found.note,
        "clusters": cluster_quality(windows.encoded.mu, assign_labels(detectors["latent"], windows)),
    }
    origins = {"fibre": origin.fibre.astype(str), "channel": origin.channel, "start_ns": origin.start_ns}
    return Reference(
        vae_version,
        detectors,
        found.calibrations,
        found.restless,
        origins,
        {name: manifest[name] for name in NEEDED},
        grids_of(store, manifest["days"]),
        usual,
        note,
        infogan_version=infogan,
    )


def _fitting_infogan(store: Store, version: str | None, manifest: dict[str, Any]) -> str | None:
    """Return `version`, of an infoGAN that learned from windows as those of the training set are."""
    if version is not None:
        _, trained = checkpoints.load(store, "infogan", version)
        _, learned = checkpoints.load(store, "training_set", trained["training_set"])
        if differ := [name for name in NEEDED if learned[name] != manifest[name]]:
            raise checkpoints.CheckpointError(
                f"infogan {version} learned from windows with other settings of {', '.join(differ)}: materialize "
                "infogan_checkpoint again"
            )
    return version


def grids_of(store: Store, days: Sequence[str]) -> list[list[float]]:
    """Return the different centre frequencies of bands, Hz, that the spectrograms of some days have."""
    grids = {tuple(grid["centre_hz"]) for day in days for grid in store.metadata("spectrograms", day)["grids"]}
    return sorted(map(list, grids))


def usual_of(store: Store, days: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the median over some days of their `background`, by channel; see `Reference.usual`."""
    tables = [store.read_day("background", day) for day in days]
    kind = tables[-1].schema.field("median_db").type
    tables = [t for t in tables if t.schema.field("median_db").type == kind]  # with as many parts of the day
    levels = {name: np.concatenate([stack(t[name]) for t in tables]) for name in ("median_db", "mad_db")}
    keys = [key for t in tables for key in zip(t["fibre"].to_pylist(), t["channel"].to_pylist(), strict=True)]
    rows: dict[tuple[str, int], list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    channels = sorted(rows)
    of = {
        name: np.array([np.median(values[rows[key]], axis=0) for key in channels], np.float32)
        for name, values in levels.items()
    }
    of["fibre"] = np.array([fibre for fibre, _ in channels], str)
    of["channel"] = np.array([channel for _, channel in channels], np.int32)
    return of


def assign_labels(latent: Detector, windows: Windows) -> np.ndarray:
    """Return the cluster of each window, int32, shape (n_windows,)."""
    assert isinstance(latent, Latent)
    return assign(latent.clusters, windows.encoded.mu)[0]


def save_reference(store: Store, reference: Reference) -> str:
    """Store a reference model and return its version; making it live is a separate step."""
    tensors: dict[str, np.ndarray] = {
        "windows.channel": reference.windows["channel"],
        "windows.start_ns": reference.windows["start_ns"],
    }
    tensors |= {f"usual.{name}": reference.usual[name] for name in ("channel", "median_db", "mad_db")}
    n = len(reference.windows["fibre"])
    fibres, code = np.unique(
        np.concatenate([reference.windows["fibre"], reference.usual["fibre"]]), return_inverse=True
    )
    tensors["windows.fibre"], tensors["usual.fibre"] = np.split(code.astype(np.int32), [n])
    values = {}
    for name, detector in reference.detectors.items():
        own, values[name] = detector.state()
        tensors |= {f"detector.{name}.{key}": array for key, array in own.items()}
    for of, calibrations in reference.calibrations.items():
        tensors |= {f"calibration.{of}.{name}": c.scores for name, c in calibrations.items()}
    description = {
        "vae_version": reference.vae_version,
        "infogan_version": reference.infogan_version,
        "detectors": [
            {"name": name, "class": f"{type(d).__module__}:{type(d).__name__}", "values": values[name]}
            for name, d in reference.detectors.items()
        ],
        "calibrations": {
            of: {name: c.to_dict() for name, c in calibrations.items()}
            for of, calibrations in reference.calibrations.items()
        },
        "restless": sorted(map(list, reference.restless)),
        "fibres": fibres.tolist(),
        "settings": reference.settings,
        "grids": reference.grids,
        "note": reference.note,
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
        raise checkpoints.CheckpointError("there is no reference model yet: run the job train first")
    tensors, d = checkpoints.load(store, NAME, version)
    detectors = {}
    try:
        for row in d["detectors"]:
            prefix = f"detector.{row['name']}."
            own = {key.removeprefix(prefix): array for key, array in tensors.items() if key.startswith(prefix)}
            detectors[row["name"]] = detector_class(row["class"]).restore(own, row["values"])
        calibrations = {
            of: {name: Calibration.from_dict(c, tensors[f"calibration.{of}.{name}"]) for name, c in each.items()}
            for of, each in d["calibrations"].items()
        }
        for each in calibrations.values():
            each[lane_names(1)[0]]  # since when surroundings have calibrations of their own
        places = {
            of: {name: tensors[f"{of}.{name}"] for name in names}
            | {"fibre": np.array(d["fibres"], str)[tensors[f"{of}.fibre"]]}
            for of, names in (("windows", ("channel", "start_ns")), ("usual", ("channel", "median_db", "mad_db")))
        }
        grids = d["grids"]
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoints.CheckpointError(
            f"reference model {version} was made by another version of dasanom or of a detector ({error}): "
            "run the job train"
        ) from error
    return Reference(
        d["vae_version"],
        detectors,
        calibrations,
        frozenset((fibre, channel) for fibre, channel in d["restless"]),
        places["windows"],
        d["settings"],
        grids,
        places["usual"],
        d["note"],
        version,
        d["infogan_version"],
    )


def require_fit(reference: Reference, metadata: dict[str, Any], settings: Settings, day: str) -> None:
    """Refuse to score a day with a model that was made for other settings or other bands.

    Settings alone do not make the bands: those of a fibre end at half of its sampling rate.

    Parameters
    ----------
    reference : Reference
    metadata : dict
        That of the day of `spectrograms`.
    settings : Settings
        Those in force.
    day : str

    Raises
    ------
    IncompatibleModelError
        Naming what differs, and what to do.
    """
    have = needed(settings) | {"spectrogram": metadata["settings"]}
    for section, wanted in reference.settings.items():
        if differs := [key for key in wanted if have[section].get(key) != wanted[key]]:
            names = ", ".join(
                f"{section}.{key} {have[section].get(key)} (model: {wanted[key]})" for key in differs
            )
            raise IncompatibleModelError(
                f"reference model {reference.version} does not fit {day}: {names}. "
                "Materialize the day's spectrograms with the model's settings, or run the job train."
            )
    for grid in metadata["grids"]:
        hz = np.array(grid["centre_hz"])
        if not any(len(hz) == len(own) and np.allclose(hz, own, rtol=SAME_HZ) for own in reference.grids):
            learned = " or ".join(f"{own[0]:g} to {own[-1]:g} Hz" for own in reference.grids if own)
            raise IncompatibleModelError(
                f"reference model {reference.version} does not fit {day}: the {len(hz)} bands of fibre "
                f"{grid['fibre']}, sampled at {grid['sampling_rate_hz']:g} Hz, have their centres at {hz[0]:g} to "
                f"{hz[-1]:g} Hz (model: {learned}). Run the job train with days that hold this fibre, or set "
                f"spectrogram.highest_hz to what every fibre carries, materialize spectrograms and train again."
            )
