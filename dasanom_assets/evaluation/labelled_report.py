"""The report of a labelled set: one HTML page that opens offline, a picture, and the figures as JSON."""

import json
from typing import Any

from markupsafe import Markup

from dasanom_assets.comparison.page import number, plot, render, templates
from dasanom_assets.evaluation.groups import BASELINE, FUSED
from dasanom_assets.evaluation.labelled import is_full
from dasanom_assets.evaluation.labelled_figures import auc_figure, named, picture

LISTED = 200
"""Files left out that are listed, at most; the JSON has all."""
CONFUSION = ("found", "missed", "false_alarm", "true_normal")


def report(figures: dict[str, Any]) -> dict[str, bytes]:
    """Return ``html``, ``png`` and ``json`` of a set's figures; see `labelled.run`."""
    return {
        "html": _page(figures),
        "png": picture(figures),
        "json": (json.dumps(figures, indent=1) + "\n").encode(),
    }


def headline(figures: dict[str, Any]) -> str:
    """Say in a sentence how good the fused score is, and beside what."""
    every = [row for row in figures["means"] if row["machine"] == "all" or not _has_all(figures, row["snr"])]
    words = []
    for row in (row for row in every if row["detector"] == FUSED):
        baseline = next(r for r in every if r["detector"] == BASELINE and _same(r, row))
        place = f"{row['snr']} {'' if row['machine'] == 'all' else row['machine']}".strip()
        words.append(
            f"{place}: mean AUC {number(row['auc'], 3)} fused, {number(baseline['auc'], 3)} dense autoencoder of "
            f"this run, {number(row['published_auc'], 3)} published"
        )
    return "; ".join(words) or "nothing could be scored"


def _has_all(figures: dict[str, Any], snr: str) -> bool:
    return any(row["machine"] == "all" and row["snr"] == snr for row in figures["means"])


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return (row["snr"], row["machine"]) == (other["snr"], other["machine"])


def _page(figures: dict[str, Any]) -> bytes:
    detectors = list(dict.fromkeys(row["detector"] for row in figures["rows"]))
    return render(
        templates("dasanom_assets.evaluation"),
        "labelled.html.j2",
        figures=figures,
        full=is_full(figures),
        headline=headline(figures),
        groups=len({(row["snr"], row["machine"], row["id"]) for row in figures["rows"]}),
        channels=figures["channels"] if figures["channels"] == "all" else ", ".join(map(str, figures["channels"])),
        fused=", ".join(map(named, figures["fused"])),
        ranking=plot(auc_figure(figures, detectors), "ranking") if detectors else "",
        means=_means(figures),
        confusions=[_confusion(figures, detector) for detector in detectors],
        rows=_rows(figures),
        not_scored=[[row["group"], row["reason"]] for row in figures["not_scored"]],
        left_out=[
            [Markup("<code>{}</code>").format(row["path"]), row["reason"]] for row in figures["left_out"][:LISTED]
        ],
    ).encode()


def _means(figures: dict[str, Any]) -> list[list[Any]]:
    quality = ("auc", "published_auc", "partial_auc", "dcase_auc", "dcase_partial_auc")
    at_threshold = ("accuracy", "precision", "recall", "f1", "false_alarm_rate")
    return [
        [r["snr"], r["machine"], r["groups"], named(r["detector"])]
        + [number(r[key], 3) for key in (*quality, *at_threshold)]
        + [number(r[key], 1) for key in ("train_seconds", "score_seconds")]
        for r in figures["means"]
    ]


def _confusion(figures: dict[str, Any], detector: str) -> list[str]:
    """Return the row of a detector: its counts, summed over groups, and the rates that they give."""
    counts = [r["confusion"] for r in figures["rows"] if r["detector"] == detector]
    total = {key: sum(count[key] for count in counts) for key in CONFUSION}
    recall = total["found"] / (total["missed"] + total["found"])
    false_alarm_rate = total["false_alarm"] / (total["true_normal"] + total["false_alarm"])
    return [
        named(detector),
        *(f"{total[key]:,}" for key in CONFUSION),
        number(recall, 3),
        number(false_alarm_rate, 3),
    ]


def _rows(figures: dict[str, Any]) -> list[list[Any]]:
    quality = ("auc", "published_auc", "partial_auc", "accuracy", "precision", "recall", "f1")
    return [
        [r["snr"], r["machine"], r["id"], named(r["detector"]), r["n_normal"], r["n_abnormal"], r["n_train"]]
        + [number(r[key], 3) for key in quality]
        + [" / ".join(str(r["confusion"][key]) for key in CONFUSION)]
        for r in figures["rows"]
    ]
