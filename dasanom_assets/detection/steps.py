"""Steps of the detection stage, each defined once: assets, benchmarks, tests and notebooks call these."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dasanom_assets.models import checkpoints
from dasanom_assets.tables.provenance import Day, step
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    pass

WHITENING = tuple(
    f"background.{name}" for name in ("common_channels", "own_spread", "scale_floor_db", "clip_low", "clip_high")
)
"""Settings that levels are whitened by."""
SEGMENTS = tuple(
    f"temporal.{name}"
    for name in (
        *("segment_seconds", "shift_seconds", "min_share", "frames_a_second", "dimensions"),
        *("neighbour_gap", "neighbours"),
    )
)
TERMS = (
    *("temporal.segment_seconds", "temporal.shift_seconds", "temporal.days", "temporal.weeks"),
    *("temporal.least_days", "temporal.slack_segments", "temporal.time_zone", "temporal.holidays"),
)
INPUTS = ("spectrograms", "background", "channel_health", "clipped_seconds", "common_levels")
"""What must be as it would be now before a day is scored."""


def live_model(store: Store, models: Store, day: str) -> dict[str, str | None]:
    """Return the version of the model that scores."""
    return {"the live model": checkpoints.live(models, "reference_model")}


@step("segment_models", settings=(*WHITENING, *SEGMENTS), code="2", keeps="temporal.keep_days")
def segment_models(day: Day, keep_days: int | None = None, dask: Any = None) -> None:
    """One Gaussian for each minute of each channel, and how unlike it is to the channels around.

    Days that lie more than `keep_days` back are dropped; none by default.
    """
    from dasanom_assets.detection.minutes.segments import drop_old_models, segments_note
    from dasanom_assets.detection.minutes.segments import segment_models as compute

    note = segments_note(day, day.iso, day.settings)
    day.write("segment_models", compute(day, day.iso, day.settings, dask), note)
    if keep_days is not None:
        drop_old_models(day, day.iso, keep_days)


@step("temporal_terms", settings=TERMS, code="2", feedback=("anomaly_events", "verdicts"))
def temporal_terms(day: Day, dask: Any = None) -> None:
    """How unlike a segment is to the one before, the same time of earlier days and weeks, and its neighbours.

    What raised an alarm on earlier days is not held against.
    """
    from dasanom_assets.detection.minutes.terms import needed_days
    from dasanom_assets.detection.minutes.terms import temporal_terms as compute

    settings = day.settings.temporal
    note = {"reference_days": needed_days(day, day.iso, settings)}
    day.write("temporal_terms", compute(day, day.iso, settings, dask), note)


@step(
    *("embeddings", "cluster_labels", "anomaly_scores"),
    settings=("window", "background", "reference", "detection.budget"),
    inputs=live_model,
    code="3",
)
def scores(day: Day, device: str, dask: Any = None, progress: Callable[[int], Any] | None = None) -> None:
    """What the VAE makes of every window, its nearest cluster, and its score by each detector and by all together.

    One pass over the whitened levels; blocks of channels go to the workers of `dask`, or to threads.
    """
    from dasanom_assets.detection.scoring import score_day
    from dasanom_assets.models.device import resolve_device
    from dasanom_assets.models.training import load_vae

    day.require_fresh(*INPUTS)
    reference, device = _reference(day), resolve_device(device)
    vae = load_vae(day.models, reference.vae_version)
    inputs = reference.inputs(day, day.models, device)
    for table in inputs.tables:
        day.footer(table, day.iso)  # noted here: workers read it, too, and note nothing
    rows = score_day(day, day.iso, vae, reference, day.settings, inputs, device, dask, progress)
    note = _versions(reference)
    of_scores = {"anomaly_scores": note | {"budget": day.settings.detection.budget}}
    day.write_days(day.iso, rows, dict.fromkeys(scores.tables, note) | of_scores)


@step(
    *("anomaly_events", "event_explanations", "events_below"),
    settings=("window", *WHITENING),
    inputs=live_model,
    code="5",
)
def anomaly_events(day: Day) -> None:
    """Windows that belong together in time and along the fibre, why each event is one, and what nearly is."""
    import pyarrow as pa

    from dasanom_assets.detection.events.outlines import ContractorsView, find_events
    from dasanom_assets.detection.events.unusual import end_of_day_before, taking_part, unusual
    from dasanom_assets.detection.explain import explain
    from dasanom_assets.detection.reference.promise import expected_and_realised
    from dasanom_assets.recordings.fibres import places_of, with_metres
    from dasanom_assets.tables.schemas import empty

    day.require_fresh("anomaly_scores", "cluster_labels")
    reference = _reference(day)
    note = day.note("anomaly_scores")
    contractor = ContractorsView(day, day.iso)
    rates, least_score = reference.rates, reference.least_score
    before = end_of_day_before(day, day.iso, note, least_score)
    group = reference.settings["spectrogram"]["group_channels"]
    flagged = [unusual(empty("anomaly_scores"), None, least_score)]

    def windows() -> Iterator[pa.Table]:
        for rows in taking_part(day, day.iso, least_score):
            flagged.append(rows.filter(rows["is_anomaly"]))
            yield rows

    events, below = find_events(windows(), contractor, rates, least_score, day.settings.window, group, before)
    strange, places = pa.concat_tables(flagged), places_of(day, [day.iso])
    events, explanations = explain(day, day.iso, events, strange, reference, day.settings)
    below, why = explain(day, day.iso, below, strange, reference, day.settings)
    events, below = with_metres(events, places), with_metres(below, places)
    for column in ("band_hz", "window_start"):
        below = below.append_column(column, why[column])
    counts = expected_and_realised(day, day.iso, reference)
    note |= {"counts": {f"{budget:g}": numbers for budget, numbers in counts.items()}}
    day.write("events_below", below, note)
    day.write("event_explanations", explanations, note)
    day.write("anomaly_events", events, note)


def _reference(day: Day) -> Any:
    """Return the live model as it was when the step began."""
    from dasanom_assets.detection.reference.model import load_reference

    return load_reference(day.models, day.inputs["the live model"])


def _versions(reference: Any) -> dict[str, str]:
    return {"model_version": reference.version, "vae_version": reference.vae_version}
