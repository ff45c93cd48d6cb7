"""How well detectors find what others have labelled: machine sound, events of a phi-OTDR, any labelled DAS files.

``python -m dasanom_assets.benchmarks.labelled <root> --out <folder>`` trains and scores each machine and id with
each detector and writes a report, a picture and all figures as JSON. A part of a data set is enough: what is
missing is said. Clips are read one at a time, and one group of them is in memory as levels.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score
from tqdm import tqdm

from dasanom_assets.benchmarks.clips import Scale, TooFewError, read_levels, score_group
from dasanom_assets.benchmarks.machine import this_machine
from dasanom_assets.benchmarks.published import MIMII_CLIPS, dcase_baseline, mimii_baseline, snr_db
from dasanom_assets.detection.detectors.base import detector_classes
from dasanom_assets.models.device import resolve_device
from dasanom_assets.recordings.labelled_sets import LAYOUTS, NORMAL, Group, LabelledFile, LabelledSet
from dasanom_assets.settings import Settings

COMPARED = ("plain", "mahalanobis", "temporal", "infogan", "kmeans", "dbscan", "isolation_forest")
"""Detectors that are measured beside those of the settings."""
CLIP_SCORE = "mean"
"""Over a clip's windows and microphones, what ranks it; the other one is measured too."""
MAX_FPR = 0.1
FALSE_ALARM_RATE = 0.1
"""Share of normal clips that a threshold may call abnormal."""
MEASURES = ("auc", "partial_auc", "accuracy", "precision", "recall", "f1", "false_alarm_rate")


def threshold_of(scores: np.ndarray, rate: float = FALSE_ALARM_RATE) -> float:
    """Return the score above which a clip is called abnormal, from normal clips alone.

    The split-conformal quantile: a new normal clip lies above with a probability of at most `rate`, as long as
    there are ``1 / rate − 1`` clips; with fewer it is the largest score.

    Parameters
    ----------
    scores : numpy.ndarray
        Float, shape (n,): clips that nothing was trained on.
    rate : float
    """
    at = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    return float(np.sort(scores)[min(at, len(scores)) - 1])


def figures_of(abnormal: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, Any]:
    """Say how well a score tells clips apart.

    Parameters
    ----------
    abnormal : numpy.ndarray
        bool, shape (n_clips,).
    scores : numpy.ndarray
        Float, shape (n_clips,).
    threshold : float
        Clips above are called abnormal.

    Returns
    -------
    dict
        ``auc``; ``partial_auc`` up to a false alarm rate of `MAX_FPR`, standardised after McClish (0.5 is chance);
        ``accuracy``, ``precision``, ``recall``, ``f1``, ``false_alarm_rate``, and ``confusion``: ``true_normal``,
        ``false_alarm``, ``missed``, ``found``. Precision is None where nothing is called abnormal.
    """
    called = scores > threshold
    (true_normal, false_alarm), (missed, found) = confusion_matrix(abnormal, called, labels=[False, True]).tolist()
    precision, recall, f1, _ = precision_recall_fscore_support(abnormal, called, average="binary", zero_division=0)
    return {
        "auc": float(roc_auc_score(abnormal, scores)),
        "partial_auc": float(roc_auc_score(abnormal, scores, max_fpr=MAX_FPR)),
        "accuracy": (true_normal + found) / len(abnormal),
        "precision": float(precision) if called.any() else None,
        "recall": float(recall),
        "f1": float(f1),
        "false_alarm_rate": false_alarm / (true_normal + false_alarm),
        "confusion": {"true_normal": true_normal, "false_alarm": false_alarm, "missed": missed, "found": found},
    }


def run(
    dataset: LabelledSet,
    settings: Settings,
    device: str,
    compared: Iterable[str] = COMPARED,
    pool: bool = False,
    say: Callable[[str], Any] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, Any]:
    """Train and score every group of a set.

    Parameters
    ----------
    dataset : LabelledSet
    settings : Settings
        The detectors of `detection.detectors` are measured; those of `Scale.fused` are fused.
    device : str
        Torch device.
    compared : iterable of str
        Further detectors to measure.
    pool : bool
        Whether the ids of a machine are one group.
    say : callable, optional
        Takes lines of text as work goes on.
    progress : callable, optional
        Called with the files finished since its last call.

    Returns
    -------
    dict
        JSON-able: ``rows``, one a group and detector, ``means`` of them, ``missing``, ``left_out`` and
        ``not_scored`` with reasons, and what was done how.
    """
    say = say or (lambda line: None)
    files = dataset.files()
    root, dataset = dataset.root, dataset.with_rate(sorted(files, key=lambda f: not dataset.is_normal(f.label)))
    scale = Scale.of(dataset.layout, settings)
    left_out: list[dict[str, str]] = []
    rows: list[dict[str, Any]] = []
    not_scored: list[dict[str, str]] = []

    def leave_out(path: Path, reason: str) -> None:
        left_out.append({"path": str(path.relative_to(root)), "reason": reason})
        say(f"left out: {path.relative_to(root)}: {reason}")

    def group_of(file: LabelledFile) -> Group:
        return file.group._replace(id="all") if pool else file.group

    for group, some in groupby(sorted(files, key=group_of), key=group_of):
        members = sorted(some, key=lambda f: (not dataset.is_normal(f.label), f.path))
        say(f"{group}: {len(members)} files")
        levels, clips = read_levels(dataset.clips(_counted(members, progress), leave_out), scale, leave_out)
        abnormal = np.array([not dataset.is_normal(clip.label) for clip in clips], bool)
        try:
            found = score_group(levels, abnormal, scale, settings, device, compared, say)
        except TooFewError as error:
            not_scored.append({"group": str(group), "reason": str(error)})
            say(f"{group} is not scored: {error}")
            continue
        labels = np.array([clip.label for clip in clips])
        seconds = sum(x.shape[0] * x.shape[1] for i, x in enumerate(levels) if i in {*found.parts.evaluation})
        own = {"snr": group.snr, "machine": group.machine, "id": group.id}
        for name, scores in found.scores.items():
            row = own | {"detector": name} | _row(scores, abnormal, labels, found.parts)
            row |= {f"{step}_seconds": taken for step, taken in found.seconds[name].items()}
            row |= {"scored_channel_seconds": seconds, "windows_learned": found.windows}
            rows.append(row | _baselines(dataset, group.machine, group.id, group.snr))
    return {
        "set": root.name,
        "layout": dataset.layout,
        "sampling_rate_hz": dataset.rate,
        "channels": "all" if dataset.channels is None else list(dataset.channels),
        "detectors": list(settings.detection.detectors),
        "fused": list(detector_classes(scale.fused)),
        "compared": [name for name in compared if name not in settings.detection.detectors],
        "clip_score": CLIP_SCORE,
        "max_fpr": MAX_FPR,
        "false_alarm_rate_asked": FALSE_ALARM_RATE,
        "spectrogram": scale.spectrogram.model_dump(),
        "window": scale.window.model_dump(),
        "rows": rows,
        "means": means(rows),
        "published_set": (published := any(file.group.machine in MIMII_CLIPS for file in files)),
        "missing": missing(files) if published else [],
        "left_out": left_out,
        "not_scored": not_scored,
        "device": device,
        "machine": this_machine(),
    }


def _counted(files: Iterable[LabelledFile], progress: Callable[[int], Any] | None) -> Iterable[LabelledFile]:
    for file in files:
        yield file
        if progress:
            progress(1)


def _row(scores: dict[str, np.ndarray], abnormal: np.ndarray, labels: np.ndarray, parts: Any) -> dict[str, Any]:
    value = scores[CLIP_SCORE]
    known = parts.evaluation[np.isfinite(value[parts.evaluation])]
    limits = value[parts.calibration]
    row: dict[str, Any] = {
        "n_train": len(parts.train),
        "n_validation": len(parts.validation),
        "n_calibration": len(parts.calibration),
        "n_normal": int((~abnormal[known]).sum()),
        "n_abnormal": int(abnormal[known].sum()),
    }
    row |= figures_of(abnormal[known], value[known], threshold_of(limits[np.isfinite(limits)]))
    kinds = np.unique(labels[known][abnormal[known]])
    row["auc_by_label"] = {
        str(kind): float(roc_auc_score(abnormal[some], value[some]))
        for kind in kinds
        for some in [known[~abnormal[known] | (labels[known] == kind)]]
    }
    row["auc_by_clip_score"] = {
        name: float(roc_auc_score(abnormal[known], v[known])) for name, v in scores.items()
    }
    return row


def _baselines(dataset: LabelledSet, machine: str, name: str, snr: str) -> dict[str, Any]:
    if dataset.layout != "mimii":
        return {"published_auc": None, "dcase_auc": None, "dcase_partial_auc": None}
    dcase = dcase_baseline(machine)
    return {
        "published_auc": mimii_baseline(machine, name, snr),
        "dcase_auc": dcase[0],
        "dcase_partial_auc": dcase[1],
    }


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over ids, by ratio, machine and detector, and over machines, by ratio and detector.

    Those over machines are means of the means of machines, and have ``"all"`` as their machine.
    """
    out: list[dict[str, Any]] = []
    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    for snr in sorted({row["snr"] for row in rows}):
        for detector in detectors:
            mine = [row for row in rows if row["snr"] == snr and row["detector"] == detector]
            by_machine = [
                {"snr": snr, "machine": machine, "detector": detector, "groups": len(ids)}
                | {
                    name: _mean([row[name] for row in ids])
                    for name in (*MEASURES, "train_seconds", "score_seconds")
                }
                | {"published_auc": mimii_baseline(machine, "", snr)}
                | dict(zip(("dcase_auc", "dcase_partial_auc"), dcase_baseline(machine), strict=True))
                for machine in sorted({row["machine"] for row in mine})
                for ids in [[row for row in mine if row["machine"] == machine]]
            ]
            out += by_machine
            if len(by_machine) > 1:
                everything = {"snr": snr, "machine": "all", "detector": detector}
                everything |= {"groups": sum(row["groups"] for row in by_machine)}
                names = (*MEASURES, "train_seconds", "score_seconds")
                published = [row["published_auc"] for row in by_machine]
                out.append(
                    everything
                    | {name: _mean([row[name] for row in by_machine]) for name in names}
                    | {
                        "published_auc": None if None in published else round(float(np.mean(published)), 3),
                        "dcase_auc": None,
                        "dcase_partial_auc": None,
                    }
                )
    return out


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def missing(files: list[LabelledFile]) -> list[str]:
    """Say what of the published MIMII set is not there, in lines of text; counts are of the published set."""
    have: dict[tuple[float | None, str, str, str], int] = {}
    for file in files:
        key = (snr_db(file.group.snr), file.group.machine, file.group.id, file.label)
        have[key] = have.get(key, 0) + 1
    out = []
    for ratio in (6, 0, -6):
        if not any(key[0] == ratio for key in have):
            out.append(f"{ratio} dB: not there")
            continue
        for machine, ids in MIMII_CLIPS.items():
            if not any(key[:2] == (ratio, machine) for key in have):
                out.append(f"{ratio} dB {machine}: not there")
                continue
            for name, counts in ids.items():
                for label, wanted in zip(("normal", "abnormal"), counts, strict=True):
                    if (n := have.get((ratio, machine, name, label), 0)) < wanted:
                        out.append(f"{ratio} dB {machine} {name} {label}: {n} of {wanted} clips")
    return out


def table(figures: dict[str, Any], rows: str = "means") -> str:
    """Return the means, or the rows, as a Markdown table."""
    names = ["snr", "machine", *(["id"] if rows == "rows" else ["groups"]), "detector"]
    shown = ["auc", "published_auc", "partial_auc", "accuracy", "precision", "recall", "f1", "false_alarm_rate"]
    lines = [f"| {' | '.join((*names, *shown)).replace('_', ' ')} |", "|---" * (len(names) + len(shown)) + "|"]
    for row in figures[rows]:
        cells = [str(row[name]) for name in names] + ["–" if row[n] is None else f"{row[n]:.3f}" for n in shown]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def is_full(figures: dict[str, Any]) -> bool:
    """Whether the figures are those of the whole published MIMII set."""
    return figures["published_set"] and not figures["missing"] and not figures["not_scored"]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dasanom_assets.benchmarks.labelled", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="mimii")
    parser.add_argument("--out", type=Path, help="folder for report, picture and JSON (default: only the table)")
    parser.add_argument("--name", help="of the files in it (default: that of the root)")
    parser.add_argument(
        "--microphones",
        nargs="+",
        default=None,
        help="'all', or numbers from 0, of microphones or channels (default: 0 of mimii, all of others)",
    )
    parser.add_argument(
        "--rate", type=float, help="sampling rate, Hz, that files must have (bjtu: is taken to be)"
    )
    parser.add_argument(
        "--normal", nargs="+", default=NORMAL, help="labels that are learned (default: %(default)s)"
    )
    for name in ("snrs", "machines", "ids"):
        parser.add_argument(f"--{name}", nargs="+", default=(), help="only these folders (mimii)")
    parser.add_argument("--pool", action="store_true", help="learn the ids of a machine together")
    options = parser.parse_args(arguments)
    settings = Settings()
    dataset = LabelledSet(
        options.root,
        options.layout,
        options.rate,
        chosen_channels(options.microphones, options.layout),
        *(tuple(getattr(options, name)) for name in ("normal", "snrs", "machines", "ids")),
    )
    try:
        total = len(dataset.files())
        with tqdm(total=total, unit="file", mininterval=2) as bar:
            figures = run(
                dataset,
                settings,
                resolve_device(settings.device),
                pool=options.pool,
                say=lambda line: bar.write(line, file=sys.stderr),
                progress=bar.update,
            )
    except (FileNotFoundError, ValueError) as error:
        print(f"labelled: {error}", file=sys.stderr)
        return 1
    for row in figures["not_scored"]:
        print(f"not scored: {row['group']}: {row['reason']}")
    for line in figures["missing"]:
        print(f"missing: {line}")
    print(table(figures, "rows"), table(figures), sep="\n\n")
    if options.out:
        from dasanom_assets.benchmarks.labelled_report import report

        options.out.mkdir(parents=True, exist_ok=True)
        name = options.name or figures["set"]
        for suffix, content in report(figures).items():
            (options.out / f"{name}.{suffix}").write_bytes(content)
    return 0


def chosen_channels(names: Iterable[str] | None, layout: str) -> tuple[int, ...] | None:
    """Return the channels that words name; None stands for all of them.

    Raises
    ------
    ValueError
        Where a word is neither ``all`` nor a number.
    """
    if names is None or not (words := list(names)):
        return (0,) if layout == "mimii" else None
    return None if words == ["all"] else tuple(int(word) for word in words)


if __name__ == "__main__":
    sys.exit(main())
