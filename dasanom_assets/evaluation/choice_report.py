"""The report in which all detectors stand side by side: one HTML page that opens offline, and its figures."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dasanom_assets.comparison.figures import styled
from dasanom_assets.comparison.page import number, plot, render, templates
from dasanom_assets.evaluation.labelled import is_full
from dasanom_assets.evaluation.labelled_figures import auc_figure, named


def report(figures: dict[str, Any]) -> dict[str, bytes]:
    """Return ``html`` and ``json`` of the figures; see `choice.gather`."""
    labelled = [
        {key: s[key] for key in ("set", "means", "missing", "not_scored", "machine")} for s in figures["labelled"]
    ]
    return {
        "html": _page(figures),
        "json": (json.dumps(figures | {"labelled": labelled}, indent=1) + "\n").encode(),
    }


def _page(figures: dict[str, Any]) -> bytes:
    sets = [labelled for labelled in figures["labelled"] if labelled["rows"]]
    of_days = {}
    if figures["days"]:
        of_days = {
            "agreement": _agreement(figures),
            "disagreement": plot(disagreement_figure(figures), "disagreement"),
            "clusterings": _clusterings(figures),
        }
    return render(
        templates("dasanom_assets.evaluation"),
        "choice.html.j2",
        figures=figures,
        sets=[_labelled(labelled, i) for i, labelled in enumerate(sets)],
        machine=sets[0]["machine"] if sets else None,
        costs=list(_costs(sets)),
        **of_days,
    ).encode()


def _labelled(labelled: dict[str, Any], number_on_page: int) -> dict[str, Any]:
    """Return what the page shows of a labelled set."""
    detectors = list(dict.fromkeys(row["detector"] for row in labelled["rows"]))
    table = []
    for detector in detectors:
        groups = _rows_of(labelled, detector)
        worst = min(groups, key=lambda row: row["auc"])
        place = " ".join(part for part in (worst["snr"], worst["machine"], worst["id"]) if part)
        quality = [_mean(groups, key) for key in ("auc", "partial_auc", "recall", "f1")]
        table.append(
            [
                named(detector),
                *((number(value, 3), value) for value in quality),
                number(_mean(groups, "false_alarm_rate"), 3),
                f"{number(worst['auc'], 3)} ({place})",
            ]
        )
    return {
        "name": labelled["set"],
        "part": labelled["published_set"] and not is_full(labelled),
        "groups": len({(row["snr"], row["machine"], row["id"]) for row in labelled["rows"]}),
        "false_alarm_rate_asked": labelled["false_alarm_rate_asked"],
        "rows": table,
        "plot": plot(auc_figure(labelled, detectors), f"labelled-{number_on_page}"),
    }


def _costs(sets: list[dict[str, Any]]) -> Iterator[list[Any]]:
    """Yield what each detector costs on each set, with the networks that it needs."""
    for labelled in sets:
        for detector in dict.fromkeys(row["detector"] for row in labelled["rows"]):
            groups = _rows_of(labelled, detector)
            train = _mean(groups, "train_seconds")
            channel_seconds = sum(row["scored_channel_seconds"] for row in groups)
            pace = 1e3 * sum(row["score_seconds"] for row in groups) / max(channel_seconds, 1)
            yield [
                labelled["set"],
                named(detector),
                (number(train, 1), train),
                (number(pace, 3), pace),
                number(_mean(groups, "auc"), 3),
            ]


def _rows_of(labelled: dict[str, Any], detector: str) -> list[dict[str, Any]]:
    return [row for row in labelled["rows"] if row["detector"] == detector]


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _agreement(figures: dict[str, Any]) -> list[list[Any]]:
    return [
        [
            named(r["detector"]),
            (f"{r['flagged_share']:.3%}", r["flagged_share"]),
            number(r["events_an_hour"], 1),
            *(f"{r[f'events_{key}']:,}" for key in ("both", "only_us", "only_contractor")),
            number(r["events_positive_agreement"], 3),
            number(r["windows_kappa"], 3),
            number(r["windows_ac1"], 3),
            number(r["auc_against_contractor"], 3),
        ]
        for r in figures["agreement"]
    ]


def disagreement_figure(figures: dict[str, Any]) -> go.Figure:
    """Return rank correlation and overlap of the strangest windows as two matrices of detectors."""
    names = [named(name) for name in figures["detectors"]]
    titles = ("Rank correlation of windows", "Shared among the strangest 1 %")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.16)
    for column, key in enumerate(("rank_correlation", "top_overlap"), start=1):
        values = np.array(figures[key], float)
        figure.add_trace(
            go.Heatmap(
                z=values,
                x=names,
                y=names,
                zmin=0,
                zmax=1,
                colorscale="Blues",
                coloraxis="coloraxis",
                text=[[number(value) for value in row] for row in values],
                texttemplate="%{text}",
                textfont={"size": 14},
                hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(autorange="reversed", row=1, col=column)
    figure.update_layout(
        height=120 + 62 * len(names),
        coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": {"title": "", "thickness": 16}},
        margin={"l": 90, "r": 20, "t": 50, "b": 50},
    )
    return styled(figure, plot_bgcolor="white")


def _clusterings(figures: dict[str, Any]) -> list[list[Any]]:
    return [
        [r["method"], r["n_clusters"], f"{r['noise_share']:.1%}"]
        + [number(r[key]) for key in ("silhouette", "davies_bouldin", "calinski_harabasz")]
        + [number(r["seconds"], 2)]
        for r in figures["clusterings"]
    ]
