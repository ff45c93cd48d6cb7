"""Asset checks: every table keeps its contract, and what would mislead stops the run."""

from collections.abc import Iterable

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.models import checkpoints
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.engine import day_seconds
from dasanom_assets.spectrograms.whitening import BAD_STATES
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import KEYS, mismatch
from dasanom_assets.tables.store import Store

NUMBERS: dict[str, dict[str, tuple[float, float | None]]] = {
    "channel_health": {"clipped_fraction": (0, 1), "dead_fraction": (0, 1)},
    "contractor_scores": {"p_noise": (0, 1)},
    "cluster_labels": {"probability": (0, 1), "label": (-1, None)},
    "anomaly_scores": {"p_value": (0, 1), "score": (0, None)},
    "anomaly_events": {"n_windows": (1, None), "p_value": (0, 1)},
    "embeddings": {"kl": (0, None)},
}
"""Columns whose values must be finite numbers between these limits; nulls are allowed, NaN is not."""

MOST_FLAGGED = 0.05
"""Share of a day's windows above the threshold from which the model, and not the ground, is to be doubted."""


def contract_violations(store: Store, table: str, day: str) -> list[str]:
    """Return in words how a day of a table breaks its contract; an empty list where it keeps it.

    Looked at are columns and types, repeated keys, intervals (``start`` before ``end``, some of it within the
    day), and the ranges of `NUMBERS`.
    """
    with store.open_day(table, day) as file:
        schema = file.schema_arrow
    found = [wrong] if (wrong := mismatch(table, schema)) else []
    limits = NUMBERS.get(table, {})
    wanted = [*KEYS[table], *limits.keys(), *(c for c in ("start", "end") if c in schema.names)]
    rows = store.read_day(table, day, list(dict.fromkeys(wanted)))
    keys = list(KEYS[table])
    if repeated := rows.num_rows - rows.group_by(keys).aggregate([]).num_rows:
        found.append(f"{repeated} rows repeat the key {', '.join(keys)}")
    if "start" in rows.column_names:
        first, last = (second * SECOND_NS for second in day_seconds(day))
        start, end = (rows[c].cast(pa.int64()) for c in ("start", "end"))
        outside = pc.or_(pc.greater_equal(start, last), pc.less_equal(end, first))
        wrong_rows = pc.or_(pc.greater_equal(start, end), outside)
        if n := pc.sum(wrong_rows).as_py():
            found.append(f"{n} rows do not lie within {day}")
    for column, (low, high) in limits.items():
        values = rows[column].drop_null().to_numpy()
        ok = (values >= low) & (values <= (float("inf") if high is None else high))
        if n := int((~ok).sum()):
            found.append(f"{n} values of {column} are not between {low} and {'∞' if high is None else high}")
    return found


def _contract_check(table: str, days: dg.PartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table,
        name="contract",
        blocking=True,
        partitions_def=days,
        description="Columns, types, keys, times and ranges are those that other programs rely on.",
    )
    def contract(context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        found = contract_violations(store, table, context.partition_key)
        return dg.AssetCheckResult(passed=not found, description="; ".join(found) or "kept")

    return contract


def build_checks(days: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Return the checks of all assets."""

    @dg.asset_check(asset="recordings", blocking=True, partitions_def=days)
    def something_readable(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """At least one file of the day can be read."""
        day = context.partition_key
        n = store.read_day("recordings", day, ["path"]).num_rows
        why = f"landing/{day}/ holds no readable recording; see quarantine/ for what was refused"
        return dg.AssetCheckResult(passed=n > 0, description=f"{n} files" if n else why)

    @dg.asset_check(asset="channel_health", partitions_def=days)
    def most_channels_work(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """At most a tenth of the channels is dead or saturated."""
        states = store.read_day("channel_health", context.partition_key, ["state"])["state"].to_pylist()
        bad = sum(state in BAD_STATES for state in states)
        return dg.AssetCheckResult(
            passed=bad <= 0.1 * len(states),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"bad": bad, "channels": len(states)},
        )

    @dg.asset_check(asset="spectrograms", blocking=True, partitions_def=days)
    def something_to_score(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """The day has rows."""
        day = context.partition_key
        with store.open_day("spectrograms", day) as file:
            n = file.metadata.num_rows
        left_out = store.metadata("spectrograms", day)["left_out"]
        return dg.AssetCheckResult(passed=n > 0, description=f"{n} rows" if n else f"no rows: {left_out}")

    @dg.asset_check(asset="vae_checkpoint", blocking=True)
    def not_collapsed(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """At least a quarter of the latent dimensions is used; a collapsed network is never made live."""
        event = context.instance.get_latest_materialization_event(dg.AssetKey("vae_checkpoint"))
        if event is None or event.asset_materialization is None:
            return dg.AssetCheckResult(passed=False, description="vae_checkpoint has not been materialized")
        version = str(event.asset_materialization.metadata["version"].value)
        _, description = checkpoints.load(store, "vae", version)
        return dg.AssetCheckResult(
            passed=not description["collapsed"],
            description=f"{description['active_units']} active units in {version}",
            metadata={"active_units": description["active_units"]},
        )

    @dg.asset_check(asset="reference_model", blocking=True)
    def calibrated(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """Enough quiet windows stand behind the thresholds."""
        version = checkpoints.require_live(store, "reference_model", "materialize reference_model first")
        note = checkpoints.load(store, "reference_model", version)[1]["note"]
        windows = round(note["calibration_windows"] * (1 - note["taken_for_events"]))
        return dg.AssetCheckResult(
            passed=windows >= 1000,
            description=f"{windows} windows; for p-values of 0.001 there must be 1000",
            metadata={"windows": windows, "taken_for_events": note["taken_for_events"]},
        )

    @dg.asset_check(asset="anomaly_scores", partitions_def=days)
    def few_are_unusual(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """The unusual is rare; where it is not, the model does not know this day."""
        flagged = store.read_day("anomaly_scores", context.partition_key, ["is_anomaly"])["is_anomaly"]
        share = (pc.mean(flagged.cast(pa.float64())).as_py() or 0.0) if len(flagged) else 0.0
        return dg.AssetCheckResult(
            passed=share <= MOST_FLAGGED,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{share:.2%} of the windows are flagged"
            + ("" if share <= MOST_FLAGGED else ": consider running the job train with recent days"),
            metadata={"flagged_share": share},
        )

    @dg.asset_check(asset="anomaly_scores", partitions_def=days)
    def like_the_training_days(
        context: dg.AssetCheckExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> dg.AssetCheckResult:
        """P-values of quiet windows are uniform and levels are where they were; if not, it is time to train."""
        from dasanom_assets.detection.drift import drift
        from dasanom_assets.detection.reference import load_reference

        day = context.partition_key
        reference = load_reference(store, store.metadata("anomaly_scores", day)["model_version"])
        found = drift(store, day, reference, settings)
        return dg.AssetCheckResult(
            passed=not found.reasons,
            severity=dg.AssetCheckSeverity.WARN,
            description=found.sentence,
            metadata=found.figures,
        )

    own: Iterable[dg.AssetChecksDefinition] = (
        something_readable,
        most_channels_work,
        something_to_score,
        not_collapsed,
        calibrated,
        few_are_unusual,
        like_the_training_days,
    )
    return [*(_contract_check(table, days) for table in KEYS), *own]
