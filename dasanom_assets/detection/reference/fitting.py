"""Fit a reference model: detectors on windows of the training days, and a count of what these days do."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.conformal import Conformal
from dasanom_assets.detection.detectors.base import Detector, Windows, detector_classes
from dasanom_assets.detection.detectors.clustering import cluster_quality
from dasanom_assets.detection.detectors.clusters import assign
from dasanom_assets.detection.detectors.latent import Latent
from dasanom_assets.detection.reference.counting import count_events
from dasanom_assets.detection.reference.crossfit import (
    CrossFitted,
    Folds,
    listen,
    measured_by_others,
    split_inside,
    strengths,
)
from dasanom_assets.detection.reference.inputs import ERROR, FEATURES, Inputs
from dasanom_assets.detection.reference.model import WINDOWS, Reference
from dasanom_assets.models import checkpoints
from dasanom_assets.models.encoding import encode_bank
from dasanom_assets.models.training_set import SPLITS, WindowIndex
from dasanom_assets.models.training_windows import load_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.recordings.fibres import places_of
from dasanom_assets.settings import BackgroundSettings, Settings, TrainingSetSettings, WindowSettings
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

QUALITY_WINDOWS = 5_000
"""Held-out windows that the quality of the clusters is told of, at most."""
TRIED_WINDOWS = 16
"""Windows that a fitted detector is tried on before it is asked for all."""

Look = Callable[[Windows, WindowIndex], Windows]


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
    bank, index = load_bank(store, manifest, None, against=against)
    positions = drawn(index, recipe.windows, settings.window, detection.seed)
    bank, index = bank.subset(positions), index.subset(positions)
    if not len(bank):
        raise ValueError(
            f"{', '.join(manifest['days'])} hold no {settings.window.seconds} s in a row on any channel: add days"
        )

    left_out: dict[str, str] = {}
    classes = detector_classes([*detection.detectors, *({"latent"} - set(detection.detectors))])
    seeing = [name for name, kind in classes.items() if {FEATURES, ERROR} & set(kind.inputs)]
    infogan = _fitting_infogan(store, infogan_version, manifest) if seeing else None
    if seeing and infogan is None:
        left_out |= dict.fromkeys(seeing, "there is no infoGAN: materialize infogan_checkpoint first")
    classes = {
        name: kind
        for name, kind in classes.items()
        if name not in left_out and (vae is not None or not kind.network)
    }
    inputs = Inputs(classes.values(), store, store, infogan, device)

    def look(windows: Windows, index: WindowIndex) -> Windows:
        encoded = None if vae is None else encode_bank(vae, windows.bank, device)
        return replace(windows, encoded=encoded, more=inputs.of(windows.bank, index))

    split = split_inside(index.start_ns, settings.window.seconds, settings.training_set)
    detectors, crossed, origin = _fit_detectors(classes, bank, index, split, settings, inputs, look, left_out)
    asked = detector_classes(detection.detectors)
    scoring = {name: detectors[name] for name in classes if name in detectors and name in asked}
    through = {name: detector for name, detector in scoring.items() if detector.network}
    heard = list(listen(store, against, settings, crossed, through, inputs.of, look, manifest.get("threats")))
    conformal: dict[str, Conformal] = {}
    for name in scoring:
        try:
            scores = np.concatenate([channel.scores[name] for channel in heard])
            conformal[name] = Conformal.fit(scores, recipe.spread_quantile)
        except ValueError as error:
            left_out[name] = str(error)
    fusion = detection.fusion(list(asked))
    fused = tuple(name for name in fusion if name in conformal)
    if not fused:
        reasons = (f"{name}: {left_out.get(name, 'detection.detectors lacks it')}" for name in fusion)
        raise ValueError(f"no detector is left that makes up the score; {'; '.join(reasons)}")
    for name, reason in left_out.items():
        logging.getLogger(__name__).warning("detector %s is left out: %s", name, reason)

    step, shift_ns = manifest["spectrogram"]["group_channels"], settings.window.shift_seconds * SECOND_NS
    strength = strengths(heard, {name: conformal[name] for name in fused}, recipe, shift_ns, step)
    conformal["fused"] = Conformal.fit(np.concatenate(strength))
    least_score = conformal["fused"].score_of(max(recipe.extend_share, 2 / (conformal["fused"].n + 1)))
    places = places_of(store, manifest["days"], detection.channel_spacing_m)
    rates = count_events(heard, strength, least_score, places, settings, step)
    note = {
        "reference_windows": len(origin),
        "judged_windows": conformal["fused"].n,
        "events": len(rates.strength),
        "km_days": rates.km_days,
        "spacing_m": {name: places.spacing_m(name) for name in sorted({place.fibre for place in heard})},
        "days": rates.days,
        "folds": crossed.folds.n,
        "fused": list(fused),
        "left_out": left_out,
        "clusters": _quality_of_clusters(detectors.get("latent"), vae, bank, split, device),
    }
    return Reference(
        vae_version=vae_version,
        detectors=detectors,
        crossed=crossed,
        conformal=conformal,
        fused=fused,
        rates=rates,
        least_score=least_score,
        windows={"fibre": origin.fibre.astype(str), "channel": origin.channel, "start_ns": origin.start_ns},
        settings={name: manifest[name] for name in WINDOWS} | {"reference": recipe.model_dump(mode="json")},
        grids=grids_of(store, manifest["days"]),
        usual=usual_of(store, manifest["days"]),
        note=note,
        infogan_version=infogan,
    )


def _fit_detectors(
    classes: Mapping[str, type[Detector]],
    bank: WindowBank,
    index: WindowIndex,
    split: np.ndarray,
    settings: Settings,
    inputs: Inputs,
    look: Look,
    left_out: dict[str, str],
) -> tuple[dict[str, Detector], CrossFitted, WindowIndex]:
    """Return detectors that are fitted on all days, those without each part, and the windows of the former.

    Detectors that cannot be fitted are named, with the reason, in `left_out`.
    """
    network_windows = np.flatnonzero(split == SPLITS.index("train"))
    seen = Windows(bank.subset(network_windows))
    if any(kind.network for kind in classes.values()):
        seen = look(seen, index.subset(network_windows))
    windows = Windows(bank)
    if any(kind.inputs for kind in classes.values() if not kind.network):
        windows = replace(windows, more=inputs.of(bank, index))
    folds = Folds.of_windows(index, settings.window.seconds, settings.reference)
    without = [windows.subset(folds.outside(fold, index)) for fold in range(folds.n)]
    # As many windows judge a day as judged the reference: among more, all would be nearer to one of them.
    fewest = min(map(len, without))
    as_many = np.sort(np.random.default_rng(settings.detection.seed).choice(len(windows), fewest, replace=False))
    windows, origin = windows.subset(as_many), index.subset(as_many)
    detectors: dict[str, Detector] = {}
    crossed: list[dict[str, Detector]] = [{} for _ in range(folds.n)]
    for name, kind in classes.items():
        try:
            fits = [] if kind.network else [kind.fit(part, settings) for part in without]
            learned = seen if kind.network else windows
            detector = kind.fit(learned, settings)
            detector.score(learned.subset(np.arange(min(len(learned), TRIED_WINDOWS))))
        except OSError as error:  # a full disk, say, is no reason for a model without the detector
            raise OSError(error.errno, f"{name} could not be fitted: {error}. Mend it, and fit again") from error
        except Exception as error:  # whatever it is, also of somebody else's detector: the others go on
            left_out[name] = f"it could not be fitted ({error})"
            continue
        detectors[name] = detector
        for fold, fit in zip(crossed, fits, strict=False):
            fold[name] = fit
    return detectors, CrossFitted(folds, crossed), origin


def _quality_of_clusters(
    latent: Detector | None, vae: Vae | None, bank: WindowBank, split: np.ndarray, device: str
) -> dict[str, Any]:
    """Return `cluster_quality` of windows that neither network nor clusters have seen."""
    unseen = np.flatnonzero(split == SPLITS.index("calibration"))[:QUALITY_WINDOWS]
    if vae is None or not isinstance(latent, Latent) or not len(unseen):
        return {"n_clusters": 0, "noise_share": 1.0}
    mu = encode_bank(vae, bank.subset(unseen), device).mu
    return cluster_quality(mu, assign(latent.clusters, mu)[0])


def drawn(index: WindowIndex, n: int, window: WindowSettings, seed: int) -> np.ndarray:
    """Return the positions of at most `n` windows, drawn at random from those that overlap the least, ascending.

    Windows that share seconds are each other's nearest, and say little of what else there is.
    """
    shifts = np.clip(len(index) // n, 1, max(1, window.seconds // window.shift_seconds))
    start = index.start_ns // (window.shift_seconds * SECOND_NS)
    apart = np.flatnonzero((start + 3 * index.channel.astype(np.int64)) % shifts == 0)
    if len(apart) <= n:
        return apart
    return np.sort(np.random.default_rng(seed).choice(apart, n, replace=False))


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
    grids = [DayGrids(store.metadata("spectrograms", day)) for day in days]
    kind = tables[-1].schema.field("median_db").type
    tables = [  # with as many parts of the day, and the bands that the fibre has in the last of the days
        t.filter(pa.array([of_day.like(grids[-1], fibre) for fibre in t["fibre"].to_pylist()], pa.bool_()))
        for t, of_day in zip(tables, grids, strict=True)
        if t.schema.field("median_db").type == kind
    ]
    levels = {name: np.concatenate([stack(t[name]) for t in tables]) for name in ("median_db", "mad_db")}
    keys = [key for t in tables for key in zip(t["fibre"].to_pylist(), t["channel"].to_pylist(), strict=True)]
    rows: dict[tuple[str, int], list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    fibre, channel = zip(*sorted(rows), strict=True)
    medians = {
        name: np.array([np.median(values[rows[key]], axis=0) for key in sorted(rows)], np.float32)
        for name, values in levels.items()
    }
    return medians | {"fibre": np.array(fibre, str), "channel": np.array(channel, np.int32)}
