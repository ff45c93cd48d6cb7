"""Steps of the comparison stage, each defined once: assets, benchmarks, tests and notebooks call these."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

from dasanom_assets.detection.steps import WHITENING, live_model
from dasanom_assets.recordings.steps import files_in_landing
from dasanom_assets.tables.provenance import Day, step, warning

CONTRACTOR = ("comparison.rows_per_second", "comparison.contractor_lag_rows")
ALARM = ("comparison.contractor_probability",)
"""What says when the contractor alarms."""
REPORTS = "reports/contractor_comparison"


@step("contractor_scores", settings=CONTRACTOR, inputs=files_in_landing, code="4")
def contractor_scores(day: Day, warn: Callable[[str], object] = warning) -> None:
    """Power and class probabilities of the contractor's classifier; no rows where it delivered none."""
    from dasanom_assets.comparison.contractor import contractor_scores as compute
    from dasanom_assets.comparison.contractor import without_recording

    rows, note = compute(day, day.read("recordings"), day.settings.comparison, day=day.iso)
    note["left_out"] += without_recording(day, day.note("recordings").get("refused", []))
    for reason in note["left_out"]:
        warn(f"left out: {reason}")
    day.write("contractor_scores", rows, note)


@step("contractor_events", code="2", settings=("comparison.join_seconds", *ALARM))
def contractor_events(day: Day) -> None:
    """Alarms of the contractor that belong together in time and along the fibre."""
    from dasanom_assets.comparison.contractor import contractor_events as compute

    rows = compute(partial(day.iter_day, "contractor_scores", day.iso), day.settings.comparison)
    day.write("contractor_events", rows)


@step("event_matches", "agreement", code="3")
def event_matches(day: Day) -> None:
    """Events of both sides matched by overlap, and those that only one side has; how far the sides agree."""
    from dasanom_assets.comparison.agreement import match_events
    from dasanom_assets.comparison.seconds import agreement_of_day
    from dasanom_assets.tables.schemas import empty

    ours, theirs = day.read("anomaly_events"), day.read("contractor_events")
    matches = match_events(ours, theirs)
    day.write("event_matches", matches)
    with day.open_day("contractor_scores", day.iso) as file:
        delivered = file.metadata.num_rows > 0
    recordings = day.read("recordings")
    day.write(
        "agreement",
        agreement_of_day(ours, theirs, matches, recordings, day.iso) if delivered else empty("agreement"),
    )


@step("waterfalls", "heard", code="2", settings=("window.scaling", *WHITENING))
def waterfalls(day: Day, dask: Any = None) -> None:
    """Power, the contractor's probabilities and our scores as a pyramid of maxima; seconds that were not heard.

    Blocks of channels go to the workers of `dask`, or to threads.
    """
    import pyarrow as pa

    from dasanom_assets.comparison.pyramid import waterfall_tiles
    from dasanom_assets.tables.schemas import SCHEMAS

    day.require_fresh("anomaly_scores")
    heard = list[dict[str, Any]]()
    day.write("waterfalls", waterfall_tiles(day, day.iso, day.settings, dask, heard.append))
    day.write("heard", pa.Table.from_pylist(heard, SCHEMAS["heard"]))


@step("embedding_map", code="2", settings=("comparison.map_windows", *ALARM), inputs=live_model)
def embedding_map(day: Day) -> None:
    """Windows of the day on the t-SNE map of the reference, in 2-D and 3-D, by who flagged them."""
    import pyarrow.parquet as pq

    from dasanom_assets.comparison.day import day_map, map_table
    from dasanom_assets.detection.reference.model import load_reference

    day.require_fresh("embeddings", "anomaly_scores")
    reference = load_reference(day.models, day.inputs["the live model"])
    points = day_map(day, day.iso, reference, day.settings.comparison)
    sink = io.BytesIO()
    path = map_path(day.iso)
    if points is None:
        day.remove(path)
    else:
        pq.write_table(map_table(points), sink)
        day.write_bytes(path, sink.getvalue())
    day.write_record("embedding_map", sink.getvalue())


def map_path(day: str) -> str:
    """Return where the places of a day's windows on the map lie, relative to the data root."""
    return f"reports/embedding_map/day={day}/embedding_map.parquet"


@step("contractor_comparison", code="6", settings=ALARM, inputs=live_model)
def contractor_comparison(day: Day) -> None:
    """Report of the day: one HTML file that opens offline, and an overview as PNG."""
    import pyarrow.parquet as pq

    from dasanom_assets.comparison.day import day_findings, map_of, reference_map
    from dasanom_assets.comparison.report import day_report
    from dasanom_assets.detection.reference.model import load_reference

    day.require_fresh("anomaly_events", "event_matches", "agreement", "waterfalls")
    reference = load_reference(day.models, day.inputs["the live model"])
    points = None
    placed = day.read_report("embedding_map", map_path(day.iso))
    if placed is not None and reference.latent is not None:
        points = map_of(pq.read_table(io.BytesIO(placed)), reference_map(day, reference)[1])
    files = day_report(day_findings(day, day.iso, reference, points, day.settings))
    folder = f"{REPORTS}/day={day.iso}"
    day.write_bytes(f"{folder}/overview.png", files.overview_png)
    day.write_bytes(f"{folder}/thumbnail.png", files.thumbnail_png)
    day.write_bytes(f"{folder}/report.html", files.html)
    # Last, since it says that all of the day is there.
    day.write_record("contractor_comparison", files.html)
