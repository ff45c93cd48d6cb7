"""A day of findings, made up: what reports and figures are tested with."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison.figures import EmbeddingMap
from dasanom_assets.comparison.report import Findings
from dasanom_assets.comparison.waterfall import SECOND_NS, Panels, Waterfall, masked, shrink
from dasanom_assets.tables.schemas import SCHEMAS, empty

DAY = "2026-03-01"
START = int(np.datetime64(DAY).astype("datetime64[ns]").astype(int))
QUALITY = {
    "n_clusters": 2,
    "noise_share": 0.125,
    "silhouette": 0.41,
    "calinski_harabasz": 812.0,
    "davies_bouldin": None,
}
COUNTS = {"10": {"expected": 0.0417, "realised": 0}, "1000": {"expected": 4.17, "realised": 3}}


def rows(table: str, columns: dict[str, Any]) -> pa.Table:
    """Build rows of a table; times are given in seconds of the day."""
    n = len(next(iter(columns.values())))
    arrays = []
    for field in SCHEMAS[table]:
        values = columns.get(field.name, [None] * n)
        if pa.types.is_timestamp(field.type):
            times = [START + int(v * SECOND_NS) for v in values]
            arrays.append(pa.array(times, pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.table(arrays, schema=SCHEMAS[table])


# Event: first second, last second, first channel, last channel; in shares of the waterfall.
OURS = [(0.30, 0.36, 0.20, 0.30), (0.70, 0.72, 0.55, 0.60)]
THEIRS = [(0.31, 0.37, 0.18, 0.28), (0.10, 0.12, 0.70, 0.75), (0.50, 0.53, 0.05, 0.08)]


def waterfall_of(fibre: str, channels: int, seconds: int, first: int, seed: int) -> Waterfall:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.8, (channels, seconds)).astype(np.float32)
    for (a, b, c, d), level in zip([*OURS, *THEIRS[1:]], (9, 5, 3, 2), strict=True):
        values[int(c * channels) : int(d * channels) + 1, int(a * seconds) : int(b * seconds)] += level
    values[:, int(0.85 * seconds) : int(0.88 * seconds)] = np.nan
    values[int(0.42 * channels)] = np.nan
    numbers = np.arange(first, first + channels, dtype=np.int32)
    return Waterfall(fibre, numbers, START + np.arange(seconds) * SECOND_NS, values)


def flags(fibre: str, boxes: list, channels: int, seconds: int, first: int) -> pa.Table:
    columns: dict[str, list] = {"fibre": [], "channel": [], "start": [], "end": []}
    for a, b, c, d in boxes:
        for channel in range(int(c * channels), int(d * channels) + 1):
            columns["fibre"].append(fibre)
            columns["channel"].append(channel + first)
            columns["start"].append(int(a * seconds))
            columns["end"].append(int(b * seconds))
    return rows("embeddings", columns).select(["fibre", "channel", "start", "end"])


def events_of(fibre: str, boxes: list, channels: int, seconds: int, first: int) -> dict[str, Any]:
    return {
        "fibre": [fibre] * len(boxes),
        "start": [int(a * seconds) for a, _, _, _ in boxes],
        "end": [int(b * seconds) for _, b, _, _ in boxes],
        "first_channel": [first + int(c * channels) for _, _, c, _ in boxes],
        "last_channel": [first + int(d * channels) for _, _, _, d in boxes],
    }


def findings(fibres: tuple[str, ...] = ("north",), channels: int = 40, seconds: int = 600) -> Findings:
    """Build a day with, on each fibre, one event of both sides, one of ours and two of the contractor."""
    rng = np.random.default_rng(7)
    panels, ours, theirs, matches, files = [], [], [], [], []
    for i, fibre in enumerate(fibres):
        first = 100 * (i + 1)
        where = channels, seconds, first
        power = waterfall_of(fibre, *where, seed=i)
        panels.append(
            Panels(
                shrink(power),
                us=shrink(masked(power, flags(fibre, OURS, *where))),
                contractor=shrink(masked(power, flags(fibre, THEIRS, *where))),
            )
        )
        us_ids = [f"{fibre}-us-{k}" for k in range(2)]
        their_ids = [f"{fibre}-co-{k}" for k in range(3)]
        own = {
            "event_id": us_ids,
            "peak_start": [0, 0],
            "score": [5.25, 3.5],
            "rate_per_km_day": [0.5, 0.001],
            "rate_low": [0.2, 0.0],
            "rate_high": [1.1, 0.01],
            "beyond_reference": [False, True],
            "cluster": [-1, 1],
            "contractor_class": ["digging", None],
            "contractor_probability": [0.91, None],
        }
        ours.append(rows("anomaly_events", events_of(fibre, OURS, *where) | own))
        own = {
            "event_id": their_ids,
            "contractor_class": ["digging", "walking", "machine"],
            "probability": [0.91, 0.62, 0.55],
        }
        theirs.append(rows("contractor_events", events_of(fibre, THEIRS, *where) | own))
        matches.append(
            rows(
                "event_matches",
                {
                    "fibre": [fibre] * 4,
                    "event_id": [*us_ids, None, None],
                    "contractor_event_id": [their_ids[0], None, *their_ids[1:]],
                    "agreement": ["both", "only_us", "only_contractor", "only_contractor"],
                },
            )
        )
        files.append(
            rows(
                "recordings",
                {
                    "fibre": [fibre],
                    "path": [f"landing/{DAY}/{fibre}_<1>.bin"],
                    "format": ["DASANOM_BUNDLE"],
                    "start": [0],
                    "end": [seconds],
                    "first_channel": [first],
                    "n_channels": [channels],
                    "channel_spacing_m": [10.0],
                    "sha256": ["ab" * 32],
                },
            )
        )
    n, m = 400, 300
    centres = rng.normal(0, 20, (4, 3))
    reference = centres[rng.integers(0, 4, n)] + rng.normal(0, 3, (n, 3))
    placed = centres[rng.integers(0, 4, m)] + rng.normal(0, 3, (m, 3))
    who = rng.choice(4, m, p=[0.9, 0.03, 0.03, 0.04]).astype(np.int8)
    points = EmbeddingMap(
        {2: reference[:, :2], 3: reference},
        {2: placed[:, :2], 3: placed},
        rng.choice(fibres, m),
        rng.integers(100, 100 + channels, m),
        START + rng.integers(0, seconds, m) * SECOND_NS,
        who,
    )
    scores = rng.normal(0, 1, 20_000).astype(np.float32)
    return Findings(
        day=DAY,
        hours=seconds / 3600,
        recordings=pa.concat_tables(files),
        events=pa.concat_tables(ours),
        contractor_events=pa.concat_tables(theirs),
        matches=pa.concat_tables(matches),
        panels=panels,
        n_windows=len(scores),
        n_flagged=int((scores >= 3).sum()),
        scores=scores,
        flagged=scores >= 3,
        threshold=3.0,
        budget=1.0,
        promise="43 km·days of reference on 7 days resolve 0.0233 a km and day.",
        counts=COUNTS,
        km_days=43.0,
        labels=rng.choice([-1, 0, 1], len(scores), p=[0.125, 0.6, 0.275]).astype(np.int32),
        outlier_scores=rng.uniform(size=len(scores)).astype(np.float32),
        quality=QUALITY,
        points=points,
        agreement={
            **{"ours": 4, "theirs": 6, "ours_matched": 2, "theirs_matched": 2, "ours_by_chance": 0.4},
            **{"kappa": 0.287, "kappa_low": 0.12, "kappa_high": 0.41, "ac1": 0.934, "ac1_low": None},
            "ac1_high": None,
        },
        unknown=(),
        model_version="ref-7f3a",
        vae_version="vae-19c2",
    )


def one_sided(day: Findings) -> Findings:
    """Take the contractor out of a day."""
    return replace(
        day,
        contractor_events=None,
        matches=empty("event_matches"),
        panels=[replace(panels, contractor=None) for panels in day.panels],
        agreement=None,
    )
