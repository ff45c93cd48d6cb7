"""What each column of each table means, with its unit: for Parquet files, Dagster's pages and the docs."""

import pyarrow as pa

COMMON = {
    "fibre": "name of the fibre",
    "channel": "absolute number of the channel on the fibre",
    "start": "begin of the interval, UTC, included",
    "end": "end of the interval, UTC, not included",
    "first_channel": "lowest channel",
    "last_channel": "highest channel, included",
    "event_id": "digest of fibre, start and channels of an event of ours",
    "model_version": "version of the reference model that scored",
    "clipped_fraction": "share of samples at the limits of their type, 0 to 1",
    "contractor_class": "the contractor's most probable threat; null where it says nothing",
}
"""Of columns that mean the same in every table that has them."""

COLUMNS: dict[str, dict[str, str]] = {
    "recordings": {
        "path": "of the file, relative to the data root",
        "format": "of the file, as DASCore names it, and its version",
        "sampling_rate_hz": "samples a second, Hz",
        "n_samples": "samples of each channel",
        "n_channels": "number of channels",
        "channel_spacing_m": "distance of neighbouring channels, m; null where the file does not say it",
        "units": "of the samples; null where the file does not say it",
        "sha256": "digest of the file's content",
        "issues": "what was assumed, or is odd, in words",
        "channels": "numbers of the channels in the order of the file: first..last, with :step where it is not 1",
        "sample_type": "of the samples in the file, as NumPy names it",
        "fibre_from": "what decided whose signal the file is, in words",
    },
    "fibres": {
        "distance_m": "of the channel along the fibre, m; null where no file says it",
        "spacing_m": "from one channel to the next, m; null where no file says it",
        "valid_from": "time from which the channel lies there, UTC",
    },
    "channel_health": {
        "seconds": "of signal on the day, s",
        "rms": "root mean square of the samples, in SI units where the unit is known",
        "dead_fraction": "share of seconds without any variation, 0 to 1",
        "state": "ok, dead, saturated or noisy",
    },
    "clipped_seconds": {"reason": "clipped, or stuck where floats do not change"},
    "contractor_scores": {
        "power": "as the contractor delivered it, in its unit",
        "p_digging": "the contractor's probability of digging, 0 to 1",
        "p_walking": "the contractor's probability of walking, 0 to 1",
        "p_cutting": "the contractor's probability of cutting, 0 to 1",
        "p_machine": "the contractor's probability of a machine, 0 to 1",
        "p_noise": "the contractor's probability of noise, 0 to 1",
    },
    "spectrograms": {"power_db": "levels of the second, frames × bands, dB; NaN where a frame is missing"},
    "level_histograms": {
        "hour_class": "part of the UTC day, from 0; after them those of a second set of bands",
        "first_code": "level of the first bin, in steps of the spectrograms' dB grid",
        "counts": "frames at each level, bands × levels",
    },
    "background": {
        "median_db": "usual level of each band, sets of bands × parts of the day × bands, dB",
        "mad_db": "its median absolute deviation, sets of bands × parts of the day × bands, dB",
    },
    "common_levels": {
        "level": "what the channels share, bands, in spreads above what is usual",
        "start": "begin of the second, UTC, included",
    },
    "embeddings": {
        "mu": "mean of the window in the latent space",
        "logvar": "logarithm of its variance there",
        "reconstruction_error": "negative log-likelihood of the window, nats",
        "kl": "divergence from the prior, nats",
    },
    "cluster_labels": {
        "label": "nearest cluster of the reference; −1: noise",
        "probability": "strength of membership, 0 to 1",
        "outlier_score": "GLOSH: 0 inside a cluster, towards 1 far outside; a distance where there is no cluster",
    },
    "segment_models": {
        "means": "of the segment's features",
        "variances": "of the segment's features",
        "n_frames": "frames that the model was fitted on",
        "to_neighbours": "median divergence from channels beyond the nearest, nats; null where there are none",
    },
    "temporal_terms": {
        "previous": "divergence from the segment before, nats; NaN where there is none",
        "daily": "least divergence from the same time of the last days, nats; NaN where there is none",
        "weekly": "the same of days of the same type over weeks, nats; NaN where there is none",
        "neighbours": "divergence from channels around, less what is usual at that hour, nats; NaN where unknown",
    },
    "anomaly_scores": {
        "score": "of the fused detectors and a window's surroundings, standard deviations above what is usual",
        "p_value": "share of reference windows that score as high, this one among them; at least 1 / (n + 1)",
        "is_anomaly": "whether reference ground has such an event, there and then, no more often than the budget",
        "invalid": "why there is no score: silent, clipped, stuck, incomplete, other bands, dead or saturated",
    },
    "anomaly_events": {
        "first_m": "least distance of its channels along the fibre, m; null where no file says it",
        "last_m": "greatest distance of its channels along the fibre, m; null where no file says it",
        "peak_start": "begin of the loudest second of the strongest window, within the event, UTC",
        "peak_channel": "channel of the strongest window",
        "score": "of the strongest window, standard deviations above what is usual",
        "rate_per_km_day": "how often the reference has an event as strong, a kilometre and day",
        "rate_low": "lower end of its interval, a kilometre and day",
        "rate_high": "upper end of its interval, a kilometre and day",
        "beyond_reference": "whether nothing in the reference is as strong; the rate is then that of a tail",
        "n_windows": "unusual windows that it is made of",
        "cluster": "most frequent cluster of its windows; −1: noise",
        "contractor_probability": "of that class, at most, 0 to 1; null where it says nothing",
    },
    "event_explanations": {
        "band_hz": "centres of the bands that weigh most, Hz",
        "band_weight": "their shares, 0 to 1",
        "seconds": "that weigh most, UTC",
        "second_weight": "their shares, 0 to 1",
        "normal_fibre": "fibres of the nearest reference windows",
        "normal_channel": "channels of the nearest reference windows",
        "normal_start": "begins of the nearest reference windows, UTC",
        "normal_distance": "distances of the nearest reference windows, in the detector's units",
        "resembles": "earlier event of the day with the same bands, by event_id; null where there is none",
        "similarity": "of the bands of both, 0 to 1; null where there is none",
        "window_start": "begin of the strongest window, UTC",
        "profile": "mean whitened level of each band in the strongest window, where positive",
    },
    "contractor_events": {
        "event_id": "digest of fibre, start and channels of an event of the contractor",
        "probability": "of its class, at most, 0 to 1",
    },
    "event_matches": {
        "event_id": "of our event; null where only the contractor has one",
        "contractor_event_id": "of the contractor's event; null where only we have one",
        "agreement": "both, only_us or only_contractor",
    },
    "agreement": {
        "start": "begin of what was recorded on the day, UTC",
        "end": "end of what was recorded on the day, UTC",
        "ours": "events of ours",
        "theirs": "events of the contractor",
        "ours_matched": "events of ours that the contractor has, too",
        "theirs_matched": "events of the contractor that we have, too",
        "ours_by_chance": "events of ours that would match if the contractor's times meant nothing",
        "theirs_by_chance": "events of the contractor that would match if our times meant nothing",
        "both_s": "channel-seconds that events of both sides cover",
        "only_us_s": "channel-seconds that events of ours alone cover",
        "only_contractor_s": "channel-seconds that events of the contractor alone cover",
        "neither_s": "recorded channel-seconds that no event covers",
        **{
            f"{name}{end}": f"{which}{words} of channel-seconds{why}"
            for name, words, why in (
                ("kappa", "Cohen's κ", "; null where not defined"),
                ("ac1", "Gwet's AC1", "; null where not defined"),
                ("positive_agreement", "positive agreement", ", 0 to 1; null where no event covers any"),
            )
            for end, which in (
                ("", ""),
                ("_low", "lower end of the 95 % interval of "),
                ("_high", "upper end of the 95 % interval of "),
            )
        },
    },
    "heard": {
        "recorded_s": "seconds that were recorded on the day",
        "usable_s": "seconds that could be scored",
        "silent_s": "seconds without any variation",
        "clipped_s": "seconds with samples at the limits of their type",
        "stuck_s": "seconds in which floats do not change",
        "incomplete_s": "seconds of which a frame is missing",
        "dead_s": "seconds of a channel that is dead on the day",
        "saturated_s": "seconds of a channel that is saturated on the day",
        "heard_from": "begin of the first second in which the ground was heard, UTC; null where there is none",
        "heard_until": "end of the last second in which the ground was heard, UTC; null where there is none",
    },
    "verdicts": {
        "entry_id": "name of the entry, as its writer chose it",
        "made": "when it was entered, UTC",
        "who": "who entered it",
        "verdict": "true, false, planned, unknown, or undo",
        "kind": "what it was, in the analyst's words; null where none is given",
        "note": "in words",
        "event_id": "of the event as it was then",
        "undoes": "entry that this one takes back; else null",
    },
    "waterfalls": {
        "layer": "power, contractor or ours",
        "zoom": "a cell covers 1, 4, 16 or 64 s at zoom 0 to 3, and shows the loudest of them",
        "channel_step": "channels that a row of cells stands for",
        "cells": "channels × times, one byte each: 0 nothing; power and ours −2 + (byte − 1) / 8 spreads above "
        "usual; contractor (byte − 1) / 254",
    },
}
"""Of the others, by table."""
COLUMNS["contractor_scorecard"] = {
    **{
        name: words
        for name, words in COLUMNS["agreement"].items()
        if name not in ("start", "end", "both_s", "only_us_s", "only_contractor_s", "neither_s")
    },
    "month": "as 2026-01, UTC",
    "days": "that were recorded",
    "days_delivered": "of them, for which the contractor delivered scores; events and agreement are of these",
    "km_days": "that were recorded on these days; 0 where no file says where channels lie",
    "recorded_h": "channel-hours that were recorded",
    "not_recorded_h": "channel-hours of recorded days without a recording",
    "not_delivered_h": "recorded channel-hours for which the contractor delivered no scores",
    "ours_a_km_day": "events of ours a kilometre and day; null where the length is not known",
    "theirs_a_km_day": "events of the contractor a kilometre and day; null where the length is not known",
    **{
        f"{side}_precision{end}": f"{which}share of {whose} alarms that were something; null where not known"
        for side, whose in (("ours", "our"), ("theirs", "the contractor's"))
        for end, which in (
            ("", ""),
            ("_low", "lower end of the 95 % interval of the "),
            ("_high", "upper end of the 95 % interval of the "),
        )
    },
    "ours_judged": "drawn alarms of ours that were judged",
    "theirs_judged": "drawn alarms of the contractor that were judged",
    "kinds": "the contractor's classes, the most frequent first",
    "kind_alarms": "events of each of these classes",
}
COLUMNS["events_so_far"] = COLUMNS["anomaly_events"] | {
    "event_id": "of the event as it was first seen; it stays while the event grows",
    "first_seen": "when the event was first in the table, UTC",
}

COLUMNS["events_below"] = COLUMNS["anomaly_events"] | {
    name: COLUMNS["event_explanations"][name] for name in ("band_hz", "window_start")
}


def description(table: str, column: str) -> str:
    """Return what a column means.

    >>> description("anomaly_scores", "p_neighbours")
    'share of reference windows that the detector neighbours scores as high'

    Raises
    ------
    KeyError
        Where a table has no such column.
    """
    own = COLUMNS[table]
    if column in own or column in COMMON:
        return own.get(column) or COMMON[column]
    if table == "anomaly_scores" and column.startswith("score_"):
        return f"of the detector {column.removeprefix('score_')}, in its own unit: larger is more unusual"
    if table == "anomaly_scores" and column.startswith("p_"):
        return f"share of reference windows that the detector {column.removeprefix('p_')} scores as high"
    raise KeyError(f"{table}.{column}")


def described(table: str, schema: pa.Schema) -> pa.Schema:
    """Return a schema whose fields say what they mean, under ``description``."""
    fields = [field.with_metadata({"description": description(table, field.name)}) for field in schema]
    return pa.schema(fields, schema.metadata)
