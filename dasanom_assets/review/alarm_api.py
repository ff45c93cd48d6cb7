"""One alarm, down to the bytes, as the API gives it."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dasanom_assets.comparison.contractor import CLASSES
from dasanom_assets.comparison.pyramid import bounds
from dasanom_assets.models.checkpoints import CheckpointError, digest
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.recordings.places import parsed
from dasanom_assets.review import alarm as computing
from dasanom_assets.review.app import Review, review_of
from dasanom_assets.review.day import DayView
from dasanom_assets.review.day_api import view
from dasanom_assets.review.kinds import kinds_of
from dasanom_assets.review.tiles import TABLE
from dasanom_assets.review.worker import computed, root_of
from dasanom_assets.settings import Settings, SpectrogramSettings
from dasanom_assets.tables.records import run_of
from dasanom_assets.tables.schemas import detectors_in, whole_times
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 28
ALIKE, LISTED = 0.9, 12
EARLIER_DAYS = 7
PICTURES = ("spectrogram", "input", "reconstruction", "residual")


def event_of(request: Request) -> tuple[DayView, dict[str, Any], bool]:
    """Return day, event, times as whole ns, and whether it is ours; of the row of a folded one, its strongest.

    Raises
    ------
    HTTPException
        Where the day has no such event.
    """
    of_day, name = view(request), request.path_params["event"]
    for table, ours in ((of_day.events, True), (of_day.contractor_events, False), (of_day.below, True)):
        rows = table.filter(pc.equal(table["event_id"], name))
        if rows.num_rows:
            return of_day, whole_times(rows)[0], ours
    raise HTTPException(404, f"the day {of_day.day} has no alarm {name}")


def window_of(store: Store, day: str, event: dict[str, Any]) -> dict[str, int]:
    """Return the begin of the strongest window of an event of ours, ns, as ``window``."""
    begin = _explanation(store, day, event["event_id"]).get("window_start")
    told = event.get("window_start", event.get("peak_start", event["start"]))
    return {"window": told if begin is None else begin * 1000}


def place_of(review: Review, of_day: DayView, event: dict[str, Any]) -> computing.Place:
    """Return where and when an event is strongest."""
    middle = (event["first_channel"] + event["last_channel"]) // 2
    peak = window_of(review.store, of_day.day, event)["window"]
    size = SpectrogramSettings(**review.store.metadata("spectrograms", of_day.day)["settings"]).group_channels
    place = computing.Place(
        of_day.day, event["fibre"], event.get("peak_channel", middle), peak, event["start"], event["end"]
    )
    return computing.on_row(place, size)


def alarm(request: Request) -> Response:
    """Tell all that tables know of an alarm: why, who says so, its file, its model, and its like."""
    of_day, event, ours = event_of(request)
    store, settings = review_of(request).store, review_of(request).settings
    row = of_day.by_event.get(event["event_id"])
    explanation = _explanation(store, of_day.day, event["event_id"]) if ours else {}
    return JSONResponse(
        {
            "event": {name: value // 1000 if name in _TIMES else value for name, value in event.items()},
            "ours": ours,
            "row": row,
            "explanation": explanation,
            "normal": _normal(explanation),
            "detectors": _detectors(store, of_day.day, event | window_of(store, of_day.day, event))
            if ours
            else [],
            "contractor": _contractor(store, of_day.day, event),
            "files": _files(store, of_day.day, event),
            "model": _model(store, event["model_version"]) if ours else None,
            "run": _run(store, of_day.day, settings) if ours else None,
            "alike": _alike(store, of_day.day, event["event_id"]) if ours else [],
        }
    )


_TIMES = ("start", "end", "peak_start", "window_start")


def _explanation(store: Store, day: str, event: str) -> dict[str, Any]:
    if not store.has_day("event_explanations", day):
        return {}
    table = store.read_day("event_explanations", day)
    rows = table.filter(pc.equal(table["event_id"], event)).drop_columns(["profile"])
    if not rows.num_rows:
        return {}
    out = rows.drop_columns(["seconds", "normal_start", "window_start"]).to_pylist()[0]
    begin = rows["window_start"].cast(pa.int64())[0].as_py()
    out["window_start"] = None if begin is None else begin // 1000
    for name in ("seconds", "normal_start"):
        values = rows[name].combine_chunks().flatten().cast(pa.int64()).to_numpy() // 1000
        out[name] = values.tolist()
    return out


def _normal(explanation: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("fibre", "channel", "start", "distance")
    columns = [explanation.get(f"normal_{name}") or [] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _rows_at(store: Store, table: str, day: str, event: dict[str, Any], channel: int) -> pa.Table:
    """Return the rows of a channel that touch an event, of the row groups that can have some."""
    kept = []
    with store.open_day(table, day) as file:
        for group in range(file.num_row_groups):
            low, high = bounds(file.metadata, group, "channel")
            names = bounds(file.metadata, group, "fibre")
            if low is None or not low <= channel <= high or not names[0] <= event["fibre"] <= names[1]:
                continue
            rows = file.read_row_group(group)
            start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
            mine = (rows["channel"].to_numpy() == channel) & (start < event["end"]) & (end > event["start"])
            mine &= pc.equal(rows["fibre"], event["fibre"]).to_numpy(zero_copy_only=False)
            kept.append(rows.filter(pa.array(mine)))
        return pa.concat_tables(kept) if kept else file.schema_arrow.empty_table()


def _detectors(store: Store, day: str, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each detector says of the strongest window."""
    if not store.has_day("anomaly_scores", day):
        return []
    around = {"fibre": event["fibre"], "start": event["window"], "end": event["window"] + 1}
    rows = _rows_at(store, "anomaly_scores", day, around, event["peak_channel"])
    start = rows["start"].cast(pa.int64()).to_numpy()
    peak = np.flatnonzero(start == event["window"])
    if not len(peak):
        return []
    names = detectors_in(rows.schema.names)
    return [
        {
            "name": name,
            "score": rows[f"score_{name}"][peak[0]].as_py(),
            "p_value": rows[f"p_{name}"][peak[0]].as_py(),
        }
        for name in names
    ]


def _contractor(store: Store, day: str, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the greatest probability of each class that the contractor gave within an event."""
    if not store.has_day("contractor_scores", day):
        return []
    best: dict[str, float] = {}
    for channel in range(event["first_channel"], event["last_channel"] + 1):
        rows = _rows_at(store, "contractor_scores", day, event, channel)
        for name in CLASSES:
            value = pc.max(rows[f"p_{name}"]).as_py()
            if value is not None and np.isfinite(value):
                best[name] = max(best.get(name, 0.0), value)
    return [{"class": name, "probability": value} for name, value in best.items()]


def _files(store: Store, day: str, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the files that hold an event, with samples, and bytes where they are stored plainly."""
    out = []
    for row in whole_times(store.read_day("recordings", day)):
        if row["fibre"] != event["fibre"] or row["start"] >= event["end"] or row["end"] <= event["start"]:
            continue
        channels = parsed(row["channels"])
        if not ((channels >= event["first_channel"]) & (channels <= event["last_channel"])).any():
            continue
        first, last = (
            int(np.clip(round((t - row["start"]) * row["sampling_rate_hz"] / 1e9), 0, row["n_samples"]))
            for t in (event["start"], event["end"])
        )
        stride = np.dtype(row["sample_type"]).itemsize * row["n_channels"]
        plain = row["path"].endswith(".bin")
        out.append(
            {
                "path": row["path"],
                "format": row["format"],
                "sha256": row["sha256"],
                "samples": [first, last],
                "bytes": [first * stride, last * stride] if plain else None,
                "issues": row["issues"],
            }
        )
    return out


def _model(store: Store, version: str) -> dict[str, Any]:
    """Return what scored, and the days that it learned from."""
    out: dict[str, Any] = {"reference_model": version}
    try:
        out["digest"] = digest(store, "reference_model", version)
        note = store.read_json(f"models/reference_model/{version}/model.json")["description"]
        vae = out["vae"] = note["vae_version"]
        learned = store.read_json(f"models/vae/{vae}/model.json")["description"] if vae else {}
        out |= {"days": learned.get("days", []), "training_set": learned.get("training_set")}
    except (OSError, KeyError, CheckpointError):  # models may have been tidied away; the alarm stays
        out["missing"] = True
    return out


def _run(store: Store, day: str, settings: Settings) -> dict[str, str] | None:
    """Return the run of Dagster that scored a day, and its page; None where none did."""
    run, ui = run_of(store, "anomaly_scores", day), settings.notify.base_url
    return {"id": run, "url": f"{ui}/runs/{run}"} if run else None


def _alike(store: Store, day: str, event: str) -> list[dict[str, Any]]:
    """Return earlier alarms with the same bands, the most alike first."""
    columns = ["event_id", "fibre", "profile"]
    own, found = None, []
    for other in reversed(store.days("event_explanations", shifted(day, -LOOK_BACK_DAYS), day)):
        table = store.read_day("event_explanations", other, columns)
        if not table.num_rows:
            continue
        profile = np.stack(table["profile"].to_numpy(zero_copy_only=False))
        names = np.array(table["event_id"].to_pylist(), object)
        if other == day:
            mine = np.flatnonzero(names == event)
            if not len(mine) or not profile[mine[0]].any():
                return []
            own = profile[mine[0]]
        if own is None or len(own) != profile.shape[1]:
            continue
        cosine = profile @ own
        for i in np.argsort(-cosine)[: LISTED + 1]:
            if cosine[i] >= ALIKE and names[i] != event:
                found.append({"day": other, "event": names[i], "similarity": round(float(cosine[i]), 3)})
    return sorted(found, key=lambda row: -row["similarity"])[:LISTED]


# -- what is computed -------------------------------------------------------------------------------------------


def _compute(request: Request, function: Any, *more: Any, settings: bool = True) -> Any:
    review = review_of(request)
    of_day, event, _ = event_of(request)
    place = place_of(review, of_day, event)
    arguments = [review.settings] if settings else []
    try:
        return computed(function, root_of(review.store), place, *arguments, *more)
    except (LookupError, OSError, CheckpointError) as error:
        raise HTTPException(404, str(error)) from error


def picture(request: Request) -> Response:
    """Give a picture of an alarm as float32 values, time by time; the header x-picture says what they are."""
    what = request.query_params.get("what", "")
    if what not in PICTURES:
        raise HTTPException(400, f"what is one of {', '.join(PICTURES)}")
    if what == "spectrogram":
        made = _compute(request, computing.spectrogram)
        values, head = made["values"], {name: made[name] for name in ("hz", "unit")}
        head |= {"start": made["start_ns"] // 1000, "step": made["step_ns"] / 1000}
    else:
        _, event, ours = event_of(request)
        vae = (_model(review_of(request).store, event["model_version"]).get("vae") if ours else None) or ""
        if not vae:
            raise HTTPException(404, "no network scored this alarm")
        values, head = _compute(request, computing.through_network, vae)[what], {"unit": "spreads above usual"}
    head |= {"rows": values.shape[0], "columns": values.shape[1]}
    content = np.ascontiguousarray(values, "<f4").tobytes()
    return Response(content, media_type="application/octet-stream", headers={"x-picture": json.dumps(head)})


def spectrum(request: Request) -> Response:
    """Give the levels of an alarm by band beside what is usual there and then, dB."""
    return JSONResponse(_compute(request, computing.spectrum))


def sound(request: Request) -> Response:
    """Give what the peak channel recorded as WAV, sped up into hearing; the header x-sound says how."""
    try:
        speed = float(request.query_params.get("speed", "8"))
    except ValueError as error:
        raise HTTPException(400, "speed must be a number") from error
    if not 1 <= speed <= computing.FASTEST:
        raise HTTPException(400, f"speed is 1 to {computing.FASTEST}")
    content, told = _compute(request, computing.sound, speed, settings=False)
    return Response(content, media_type="audio/wav", headers={"x-sound": json.dumps(told)})


def kind(request: Request) -> Response:
    """Tell which kind of event of the last weeks an alarm is of, and name others of it; null: of none."""
    of_day, event, _ = event_of(request)
    found, name = kinds_of(review_of(request), of_day.day), event["event_id"]
    own = found.of_day(of_day.day).get(name)
    if own is None:
        return JSONResponse({"kind": None, "others": []})
    return JSONResponse({"kind": found.as_json(own), "others": found.like(name, own)})


def earlier(request: Request) -> Response:
    """List the days before on which the same minute of the same place can be looked at."""
    of_day, event, _ = event_of(request)
    store, back = review_of(request).store, []
    for days in range(1, EARLIER_DAYS + 1):
        day = shifted(of_day.day, -days)
        if store.has_day(TABLE, day) and store.has_day("anomaly_events", day):
            shift = days * 86_400_000_000
            back.append({"day": day, "start": event["start"] // 1000 - shift, "end": event["end"] // 1000 - shift})
    return JSONResponse({"days": back})
