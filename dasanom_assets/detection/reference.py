"""What scoring needs beside the networks: fitted detectors, and how often reference ground does as much."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.detection.clustering import assign, cluster_quality
from dasanom_assets.detection.conformal import Conformal
from dasanom_assets.detection.crossfit import Folds, Heard, listen, measured_by_others, split_inside, strengths
from dasanom_assets.detection.detectors import Detector, Windows, detector_class, detector_classes
from dasanom_assets.detection.events import hour_of, outlines
from dasanom_assets.detection.inputs import ERROR, FEATURES, Inputs
from dasanom_assets.detection.latent import Latent
from dasanom_assets.detection.rates import Rates
from dasanom_assets.models import checkpoints
from dasanom_assets.models.training import encode_bank
from dasanom_assets.models.training_set import SPLITS, WindowIndex, load_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import (
    BackgroundSettings,
    ReferenceSettings,
    Settings,
    TrainingSetSettings,
    WindowSettings,
)
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME, stack
from dasanom_assets.tables.store import Store

NAME = "reference_model"
WINDOWS = ("spectrogram", "window", "background")
"""Sections of the settings that make windows."""
NEEDED = (*WINDOWS, "reference")
"""Sections of the settings that a model and what it scores must share."""
SAME_HZ = 0.005
"""Centres of bands that differ by a smaller share are the same: sampling rates are not exact."""
TOLD_WINDOWS = 5_000
"""Held-out windows that the quality of the clusters is told of, at most."""
TRIED_WINDOWS = 16
"""Windows that a fitted detector is tried on before it is asked for all."""
DAY_NS = 86_400 * SECOND_NS


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
        Name to fitted `Detector`.
    conformal : dict
        Name to what each detector said of the reference, in the order of their columns; ``fused`` to what all of
        them and the surroundings did.
    fused : tuple of str
        Detectors that make up the score.
    rates : Rates
        Events of the reference.
    level : float
        Score from which a window can be part of an event.
    windows : dict
        Where the windows that detectors were fitted on come from: ``fibre``, ``channel``, ``start_ns``.
    settings : dict
        The settings that a table must share to be scored: see `NEEDED`.
    grids : list of list of float
        Centre frequencies of the bands, Hz, as they were on the fibres of the training days.
    usual : dict
        The median over the training days of their `background`: ``fibre``, ``channel``, ``median_db``, ``mad_db``.
    note : dict
        What a person wants to know: counts, quality of the clusters, what was left out and why.
    version : str
        Of the stored checkpoint; empty before it is stored.
    infogan_version : str or None
        The infoGAN that a detector looks through; None where none does.
    """

    vae_version: str
    detectors: dict[str, Detector]
    conformal: dict[str, Conformal]
    fused: tuple[str, ...]
    rates: Rates
    level: float
    windows: dict[str, np.ndarray]
    settings: dict[str, Any]
    grids: list[list[float]]
    usual: dict[str, np.ndarray]
    note: dict[str, Any]
    version: str = ""
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

    @property
    def latent(self) -> Latent | None:
        """The detector whose clusters `cluster_labels` and the map show, whether or not it scores."""
        return self.detectors.get("latent")  # type: ignore[return-value]


def needed(settings: Settings) -> dict[str, Any]:
    """Return the settings in force of the sections `NEEDED`."""
    return {name: getattr(settings, name).model_dump(mode="json") for name in NEEDED}


def fit_reference(
    store: Store,
    manifest: dict[str, Any],
    vae: Vae | None,
    vae_version: str,
    settings: Settings,
    device: str,
    infogan_version: str | None = None,
) -> Reference:
    """Fit detectors on windows of the training days, and count what these days do.

    Nothing is left out for being loud: what recurs is normal, and one strange event costs one in the rate. Each
    part of the reference is scored by detectors, and measured against a background, that have not seen it
    (`crossfit`), and its events are found as those of any day are.

    Parameters
    ----------
    store : Store
    manifest : dict
        The training set; see `models.training_set.build_manifest`.
    vae : Vae or None
        Without it, detectors that look through a network are left out, and there are no clusters.
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
        Where no detector of the fusion is left.
    """
    settings = settings.model_copy(
        update={
            "window": WindowSettings(**manifest["window"]),
            "background": BackgroundSettings(**manifest["background"]),
            "training_set": TrainingSetSettings(**manifest["training_set"]),
        }
    )
    detection, recipe = settings.detection, settings.reference
    against = measured_by_others(store, manifest["days"], settings.background)
    bank, where = load_bank(store, manifest, None, against=against)
    some = drawn(where, recipe.windows, settings.window, detection.seed)
    bank, where = bank.subset(some), where.subset(some)
    if not len(bank):
        raise ValueError(
            f"{', '.join(manifest['days'])} hold no {settings.window.seconds} s in a row on any channel: add days"
        )
    classes = detector_classes([*detection.detectors, *({"latent"} - set(detection.detectors))])
    left_out: dict[str, str] = {}
    looking = [name for name, of in classes.items() if {FEATURES, ERROR} & set(of.inputs)]
    infogan = _fitting_infogan(store, infogan_version, manifest) if looking else None
    if looking and infogan is None:
        left_out |= dict.fromkeys(looking, "there is no infoGAN: materialize infogan_checkpoint first")
    if vae is None:
        classes = {name: of for name, of in classes.items() if not of.network}
    classes = {name: of for name, of in classes.items() if name not in left_out}
    inputs = Inputs(classes.values(), store, store, infogan, device)

    def look(windows: Windows, of: WindowIndex) -> Windows:
        encoded = None if vae is None else encode_bank(vae, windows.bank, device)
        return replace(windows, encoded=encoded, more=inputs.of(windows.bank, of))

    seen = split_inside(where.start_ns, settings.window.seconds, settings.training_set)
    trained = np.flatnonzero(seen == SPLITS.index("train"))
    learned = Windows(bank.subset(trained))
    if any(of.network for of in classes.values()):
        learned = look(learned, where.subset(trained))
    plain = Windows(bank)
    if any(of.inputs for of in classes.values() if not of.network):
        plain = replace(plain, more=inputs.of(bank, where))
    folds = Folds(where, settings.window.seconds, recipe)
    without = [plain.subset(folds.outside(fold, where)) for fold in range(folds.n)]
    # As many windows judge a day as judged the reference: among more, all would be nearer to one of them.
    fewest = min(len(some) for some in without)
    mine = np.sort(np.random.default_rng(detection.seed).choice(len(plain), fewest, replace=False))
    plain, origin = plain.subset(mine), where.subset(mine)
    detectors: dict[str, Detector] = {}
    crossed: list[dict[str, Detector]] = [{} for _ in range(folds.n)]
    for name, of in classes.items():
        try:
            if not of.network:
                fits = [of.fit(some, settings) for some in without]
                for fold, fit in zip(crossed, fits, strict=True):
                    fold[name] = fit
            own = learned if of.network else plain
            detectors[name] = of.fit(own, settings)
            detectors[name].score(own.subset(np.arange(min(len(own), TRIED_WINDOWS))))
        except Exception as error:  # whatever it is, also of somebody else's detector: the others go on
            detectors.pop(name, None)
            for fold in crossed:
                fold.pop(name, None)
            left_out[name] = f"it could not be fitted ({error})"
    asked = detector_classes(detection.detectors)
    scoring = {name: detectors[name] for name in classes if name in detectors and name in asked}
    through = {name: of for name, of in scoring.items() if of.network}
    heard = list(listen(store, against, settings, folds, crossed, through, inputs.of, look))
    conformal: dict[str, Conformal] = {}
    for name in scoring:
        try:
            conformal[name] = Conformal.fit(
                np.concatenate([one.scores[name] for one in heard]), recipe.spread_quantile
            )
        except ValueError as error:
            left_out[name] = str(error)
    wanted = detection.fusion(list(asked))
    fused = tuple(name for name in wanted if name in conformal)
    if not fused:
        reasons = (f"{name}: {left_out.get(name, 'detection.detectors lacks it')}" for name in wanted)
        raise ValueError(f"no detector is left that makes up the score; {'; '.join(reasons)}")
    for name, reason in left_out.items():
        logging.getLogger(__name__).warning("detector %s is left out: %s", name, reason)
    step, shift_ns = manifest["spectrogram"]["group_channels"], settings.window.shift_seconds * SECOND_NS
    of_fusion = {name: conformal[name] for name in fused}
    strength = strengths(heard, of_fusion, recipe, shift_ns, step)
    conformal["fused"] = Conformal.fit(np.concatenate(strength))
    level = conformal["fused"].score_of(max(recipe.extend_share, 2 / (conformal["fused"].n + 1)))
    spacing = spacings(store, manifest["days"], settings)
    rates = count_events(heard, strength, level, spacing, settings, step)
    usual = usual_of(store, manifest["days"])
    held_out = np.flatnonzero(seen == SPLITS.index("calibration"))[:TOLD_WINDOWS]
    latent = detectors.get("latent")
    clusters: dict[str, Any] = {"n_clusters": 0, "noise_share": 1.0}
    if vae is not None and isinstance(latent, Latent) and len(held_out):
        mu = encode_bank(vae, bank.subset(held_out), device).mu
        clusters = cluster_quality(mu, assign(latent.clusters, mu)[0])
    note = {
        "reference_windows": len(plain),
        "judged_windows": conformal["fused"].n,
        "events": len(rates.strength),
        "km_days": rates.km_days,
        "spacing_m": spacing,
        "days": rates.days,
        "folds": folds.n,
        "fused": list(fused),
        "left_out": left_out,
        "clusters": clusters,
    }
    origins = {"fibre": origin.fibre.astype(str), "channel": origin.channel, "start_ns": origin.start_ns}
    kept = {name: manifest[name] for name in WINDOWS} | {"reference": recipe.model_dump(mode="json")}
    grids = grids_of(store, manifest["days"])
    return Reference(
        vae_version,
        detectors,
        conformal,
        fused,
        rates,
        level,
        origins,
        kept,
        grids,
        usual,
        note,
        infogan_version=infogan,
    )


def drawn(where: WindowIndex, n: int, window: WindowSettings, seed: int) -> np.ndarray:
    """Return the positions of at most `n` windows, drawn at random from those that overlap the least, ascending.

    Windows that share seconds are each other's nearest, and say little of what else there is.
    """
    shifts = np.clip(len(where) // n, 1, max(1, window.seconds // window.shift_seconds))
    start = where.start_ns // (window.shift_seconds * SECOND_NS)
    apart = np.flatnonzero((start + 3 * where.channel.astype(np.int64)) % shifts == 0)
    if len(apart) <= n:
        return apart
    return np.sort(np.random.default_rng(seed).choice(apart, n, replace=False))


def count_events(
    heard: Sequence[Heard],
    strength: Sequence[np.ndarray],
    level: float,
    spacing_m: dict[str, float],
    settings: Settings,
    step: int,
) -> Rates:
    """Return the events of the reference, found as those of any day are.

    Parameters
    ----------
    heard : sequence of Heard
    strength : sequence of numpy.ndarray
        Of the same length: the score of each window; NaN where there is none.
    level : float
        Score from which a window can be part of an event.
    spacing_m : dict of str to float
        Distance of channels by fibre, m.
    settings : Settings
    step : int
        Channels that a row stands for.
    """
    recipe, window = settings.reference, settings.window
    block_ns = recipe.block_seconds * SECOND_NS
    lanes = sorted({(one.fibre, one.channel) for one in heard})
    of_lane = {key: i for i, key in enumerate(lanes)}
    lane_exposure, hour_exposure = np.zeros(len(lanes)), np.zeros(24)
    blocks: dict[tuple[str, int], float] = {}
    columns: list[tuple[np.ndarray, ...]] = []
    for one, score in zip(heard, strength, strict=True):
        there = np.isfinite(score)
        start = one.start_ns[there]
        of_window = spacing_m[one.fibre] * step / 1000 * window.shift_seconds * SECOND_NS / DAY_NS
        number = of_lane[one.fibre, one.channel]
        lane_exposure[number] += len(start) * of_window
        hour_exposure += np.bincount(hour_of(start), minlength=24) * of_window
        for block, n in zip(*np.unique(start // block_ns, return_counts=True), strict=True):
            key = (one.fibre, int(block))
            blocks[key] = blocks.get(key, 0.0) + n * of_window
        loud = there & (score >= level)
        columns.append((np.full(loud.sum(), number), one.start_ns[loud], score[loud]))
    of_block = {key: i for i, key in enumerate(sorted(blocks))}
    lane, start, score = (np.concatenate(part) for part in zip(*columns, strict=True))
    fibre = np.array([name for name, _ in lanes], object)
    channel = np.array([number for _, number in lanes], np.int32)
    rows = pa.table(
        {
            "fibre": pa.array(fibre[lane], pa.string()),
            "channel": channel[lane],
            "start": pa.array(start, pa.int64()).cast(TIME),
            "score": score,
        }
    )
    peak = np.array([found.peak for found in outlines(rows, level, recipe, window, step)], np.int64)
    peak = peak[np.argsort(-score[peak], kind="stable")]
    blocks_of_peaks = [of_block[fibre[lane[i]], int(start[i] // block_ns)] for i in peak]
    return Rates(
        strength=score[peak].astype(np.float32),
        lane=lane[peak].astype(np.int32),
        block=np.array(blocks_of_peaks, np.int32),
        hour=hour_of(start[peak]).astype(np.int8),
        fibre=fibre.astype(str),
        channel=channel,
        distance_m=channel * np.array([spacing_m[name] for name in fibre]),
        lane_exposure=lane_exposure,
        block_exposure=np.array([blocks[key] for key in sorted(blocks)]),
        hour_exposure=hour_exposure,
        days=len({one.day for one in heard}),
        recipe=recipe,
    )


def spacings(store: Store, days: Sequence[str], settings: Settings) -> dict[str, float]:
    """Return the distance of neighbouring channels of each fibre, m: the median over the files that say it."""
    columns = ["fibre", "channel_spacing_m"]
    rows = pa.concat_tables([store.read_day("recordings", day, columns) for day in days])
    listened = {grid["fibre"] for day in days for grid in store.metadata("spectrograms", day)["grids"]}
    out = {}
    for name in sorted(listened.union(rows["fibre"].to_pylist())):
        told = rows.filter(pc.equal(rows["fibre"], name))["channel_spacing_m"].drop_null().to_numpy()
        out[name] = float(np.median(told)) if len(told) else settings.detection.channel_spacing_m
    return out


def _fitting_infogan(store: Store, version: str | None, manifest: dict[str, Any]) -> str | None:
    """Return `version`, of an infoGAN that learned from windows as those of the training set are."""
    if version is not None:
        _, trained = checkpoints.load(store, "infogan", version)
        _, learned = checkpoints.load(store, "training_set", trained["training_set"])
        if differ := [name for name in WINDOWS if learned[name] != manifest[name]]:
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
    parts: dict[str, dict[str, Any]] = {
        "detector": reference.detectors,
        "conformal": reference.conformal,
        "rates": {"": reference.rates},
    }
    values: dict[str, dict[str, Any]] = {}
    for kind, of in parts.items():
        values[kind] = {}
        for name, part in of.items():
            own, values[kind][name] = part.state()
            tensors |= {f"{kind}.{name}.{key}": array for key, array in own.items()}
    description = {
        "vae_version": reference.vae_version,
        "infogan_version": reference.infogan_version,
        "detectors": [
            {"name": name, "class": f"{type(d).__module__}:{type(d).__name__}", "values": values["detector"][name]}
            for name, d in reference.detectors.items()
        ],
        "conformal": values["conformal"],
        "rates": values["rates"][""],
        "fused": list(reference.fused),
        "level": reference.level,
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

    def below(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): array for key, array in tensors.items() if key.startswith(prefix)}

    try:
        detectors = {
            row["name"]: detector_class(row["class"]).restore(below(f"detector.{row['name']}."), row["values"])
            for row in d["detectors"]
        }
        conformal = {
            name: Conformal(tensors[f"conformal.{name}.scores"], tensors[f"conformal.{name}.above"], **own)
            for name, own in d["conformal"].items()
        }
        rates = Rates.restore(below("rates.."), d["rates"], ReferenceSettings(**d["settings"]["reference"]))
        places = {
            of: {name: tensors[f"{of}.{name}"] for name in names}
            | {"fibre": np.array(d["fibres"], str)[tensors[f"{of}.fibre"]]}
            for of, names in (("windows", ("channel", "start_ns")), ("usual", ("channel", "median_db", "mad_db")))
        }
        return Reference(
            d["vae_version"],
            detectors,
            conformal,
            tuple(d["fused"]),
            rates,
            d["level"],
            places["windows"],
            d["settings"],
            d["grids"],
            places["usual"],
            d["note"],
            version,
            d["infogan_version"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoints.CheckpointError(
            f"reference model {version} was made by another version of dasanom or of a detector ({error}): "
            "run the job train"
        ) from error


def require_fit(reference: Reference, metadata: dict[str, Any], settings: Settings, day: str) -> None:
    """Refuse to score a day with a model that was made by another recipe, for other settings or other bands.

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
            do = (
                ""
                if section == "reference"
                else "Materialize the day's spectrograms with the model's settings, or "
            )
            raise IncompatibleModelError(
                f"reference model {reference.version} does not fit {day}: {names}. "
                + (do + "run the job train." if do else "Set the recipe back, or run the job train.")
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
