"""Asset checks: every table keeps its contract, and what would mislead stops the run."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.expected import in_words, overdue
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.recordings.measured import BAD_STATES, NOT_NUMBERS, TOO_LARGE
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.contract import CONTRACT_KEY
from dasanom_assets.tables.metadata import inert
from dasanom_assets.tables.schemas import KEYS, mismatch
from dasanom_assets.tables.store import Store

MOST_FLAGGED = 0.05
"""Share of a day's windows above the threshold from which the model, and not the ground, is to be doubted."""

TOLD_REASONS = 10
"""Reasons that a check lists, at most."""

KEPT_DAYS = 28
"""Days that a promise is held against, at most."""


def contract_violations(store: Store, table: str, day: str) -> list[str]:
    """Return in words how a day of a table breaks its contract; an empty list where it keeps it.

    Columns and types are looked at here. What rows break was noted as they were written: see `contract.Contract`.
    """
    with store.open_day(table, day) as file:
        schema, noted = file.schema_arrow, file.metadata.metadata.get(CONTRACT_KEY)
    if noted is None:
        return [f"{table} of {day} was not written by this project: materialize it again"]
    return [*filter(None, [mismatch(table, schema)]), *json.loads(noted)]


def flagged_windows(store: Store, day: str) -> tuple[int, int]:
    """Return how many rows `anomaly_scores` of a day has, and how many of them are flagged."""
    n = flagged = 0
    for rows in store.iter_day("anomaly_scores", day, ["is_anomaly"]):
        n, flagged = n + rows.num_rows, flagged + (pc.sum(rows["is_anomaly"]).as_py() or 0)
    return n, flagged


def no_rows_because(store: Store, day: str) -> str:
    """Say why a day of `spectrograms`, which must be there, has no rows, and what to do."""
    reasons = list(store.metadata("spectrograms", day)["left_out"])
    recordings = store.read_day("recordings", day, ["path", "issues"]).to_pylist()
    files = [f"{row['path']}: {issue}" for row in recordings for issue in row["issues"]]
    reasons += [reason for reason in files if NOT_NUMBERS in reason or TOO_LARGE in reason]
    if not recordings:
        reasons.append("no recording of the day can be read; see quarantine/ for what was refused")
    shown = "; ".join(reasons[:TOLD_REASONS]) + (
        f"; and {n} more" if (n := len(reasons) - TOLD_REASONS) > 0 else ""
    )
    return f"no rows: {shown or 'no frame of the day lies in its recordings; look at their times'}"


def learned_days(store: Store, note: Mapping[str, Any]) -> list[str]:
    """Return the days that the model learned from that scored a day, whose metadata is `note`."""
    return checkpoints.load(store, "vae", note["vae_version"])[1]["days"]


def counts_of_last_days(store: Store, day: str) -> dict[str, dict[float, dict[str, float]]]:
    """Return expected and realised events, by day and budget, of the last days that are evidence for the model.

    They are those of the `KEPT_DAYS` to `day` that the same model has scored and not learned from.

    Parameters
    ----------
    store : Store
        Must hold `anomaly_events` of the day.
    day : str
        ISO day.
    """
    note = store.metadata("anomaly_events", day)
    learned = learned_days(store, note)
    last = [other for other in store.days("anomaly_events") if shifted(day, 1 - KEPT_DAYS) <= other <= day]
    notes = {other: store.metadata("anomaly_events", other) for other in last if other not in learned}
    return {
        other: {float(budget): counts for budget, counts in other_note["counts"].items()}
        for other, other_note in notes.items()
        if other_note["model_version"] == note["model_version"]
    }


def expected_days_evaluation(late: Mapping[str, str]) -> dg.AssetCheckEvaluation:
    """Return the check `expected_days` of `raw_recordings` as the sensor that looks at it reports it."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("raw_recordings"),
        check_name="expected_days",
        passed=not late,
        metadata={},
        description=inert(in_words(late)),
    )


def _contract_check(table: str, days: dg.PartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table,
        name="contract",
        blocking=True,
        partitions_def=days,
        description="Columns, types, keys, times and ranges are those that other programs rely on.",
    )
    def contract(context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        violations = contract_violations(store, table, context.partition_key)
        return dg.AssetCheckResult(passed=not violations, description=inert("; ".join(violations) or "kept"))

    return contract


def build_checks(days: dg.PartitionsDefinition, automation: AutomationSettings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of all assets."""
    by_rule = automation.promote == "rule"

    @dg.asset_check(asset="recordings", blocking=True, partitions_def=days)
    def something_readable(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """At least one file of the day can be read."""
        day = context.partition_key
        n = store.read_day("recordings", day, ["path"]).num_rows
        reason = f"landing/{day}/ holds no readable recording; see quarantine/ for what was refused"
        return dg.AssetCheckResult(passed=n > 0, description=f"{n} files" if n else reason)

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
        rows = "; left out: ".join([f"{n} rows", *filter(None, ["; ".join(left_out[:TOLD_REASONS])])])
        return dg.AssetCheckResult(passed=n > 0, description=inert(rows if n else no_rows_because(store, day)))

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

    @dg.asset_check(asset="reference_model")
    def promise_stated(
        store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.AssetCheckResult:
        """The reference can keep the budget: all detectors are fitted, on days enough, and rates reach so far."""
        from dasanom_assets.detection.reference.model import NAME, load_reference
        from dasanom_assets.detection.reference.promise import promise

        fitted = checkpoints.require_latest(store, NAME, "materialize reference_model first")
        reference = load_reference(store, fitted)
        stated = promise(reference, settings.detection.budget)
        return dg.AssetCheckResult(
            passed=not stated.warning,
            severity=dg.AssetCheckSeverity.WARN,
            description=inert(stated.sentence),
            metadata={
                "km_days": reference.rates.km_days,
                "promised": stated.promised,
                "resolved": stated.resolved,
            },
        )

    @dg.asset_check(asset="model_proposal", blocking=by_rule)
    def better_or_equal(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """By the written rule, the candidate is no worse than the live model on the held-out days."""
        from dasanom_assets.detection.proposal import read_proposal
        from dasanom_assets.detection.reference.model import NAME

        found = read_proposal(store, checkpoints.require_latest(store, NAME, "materialize reference_model first"))
        if found is None:
            return dg.AssetCheckResult(passed=False, description="materialize model_proposal first")
        return dg.AssetCheckResult(
            passed=not found.reasons,
            severity=dg.AssetCheckSeverity.ERROR if by_rule else dg.AssetCheckSeverity.WARN,
            description=inert(found.verdict),
        )

    @dg.asset_check(asset="anomaly_scores", partitions_def=days)
    def few_are_unusual(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """The unusual is rare; where it is not, the model does not know this day."""
        windows, flagged = flagged_windows(store, context.partition_key)
        share = flagged / max(windows, 1)
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
        """P-values of ordinary windows are uniform and levels are where they were; if not, it is time to train."""
        from dasanom_assets.detection.reference.drift import drift
        from dasanom_assets.detection.reference.known import load_known_ground

        day = context.partition_key
        note = store.metadata("anomaly_scores", day)
        if day in learned_days(store, note):
            # Detectors know its very windows, which makes their p-values high.
            return dg.AssetCheckResult(passed=True, description="The model learned from this day.")
        drifted = drift(store, day, load_known_ground(store, note["model_version"]), settings)
        return dg.AssetCheckResult(
            passed=not drifted.reasons,
            severity=dg.AssetCheckSeverity.WARN,
            description=inert(drifted.sentence),
            metadata=drifted.figures,
        )

    @dg.asset_check(asset="anomaly_events", partitions_def=days)
    def promise_kept(
        context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
    ) -> dg.AssetCheckResult:
        """The last days, but for the strongest, have no more events than expected, beyond chance."""
        from dasanom_assets.detection.reference.promise import promise_holds

        passed, description = promise_holds(counts_of_last_days(store, context.partition_key))
        if not passed:
            description += ". Look at the events; if they are ordinary, run the job train with recent days"
        return dg.AssetCheckResult(
            passed=passed, severity=dg.AssetCheckSeverity.WARN, description=inert(description)
        )

    @dg.asset_check(asset="raw_recordings")
    def expected_days(
        context: dg.AssetCheckExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> dg.AssetCheckResult:
        """Every day that is due was delivered, ingested and scored; the sensor `tell` looks each minute."""
        late = overdue(store, settings, context.instance, datetime.now(UTC))
        return dg.AssetCheckResult(passed=not late, description=inert(in_words(late)))

    of_assets: Iterable[dg.AssetChecksDefinition] = (
        expected_days,
        something_readable,
        most_channels_work,
        something_to_score,
        not_collapsed,
        promise_stated,
        better_or_equal,
        few_are_unusual,
        like_the_training_days,
        promise_kept,
    )
    return [*(_contract_check(table, days) for table in KEYS), *of_assets]
