"""What somebody should know of, as notices: failed runs and checks, days that are overdue, fibres, rare alarms."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from dagster import (
    AssetCheckEvaluation,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
)
from dagster._core.storage.tags import RETRY_NUMBER_TAG

from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.attempts import MARK, attempts
from dasanom_assets.orchestration.expected import in_words
from dasanom_assets.orchestration.news import failures
from dasanom_assets.orchestration.notices import Notice
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]
RUNS_A_TICK = 100
"""Runs that one tick looks at, at most: the rest follow with the next."""
NOT_PASSED = "dasanom/not_passed"
"""Tag of a run: checks that did not pass, which a green run would hide."""
LEAST_DEAD = 8
"""Channels at the end of a fibre from which it is taken for broken."""
ALARMS_A_DAY = 20
"""Alarms of a day that are told one by one, at most."""


def ended_since(instance: DagsterInstance, since: float) -> list[tuple[DagsterRun, float]]:
    """Return the runs that ended after a time, s since 1970, the oldest first, and when they were changed."""
    after = datetime.fromtimestamp(since, UTC)
    records = instance.get_run_records(
        RunsFilter(statuses=ENDED, updated_after=after),
        limit=RUNS_A_TICK,
        order_by="update_timestamp",
        ascending=True,
    )
    return [(record.dagster_run, record.update_timestamp.timestamp()) for record in records]


def of_run(
    instance: DagsterInstance, store: Store, settings: Settings, run: DagsterRun, today: date
) -> Iterator[Notice]:
    """Yield what is to be told of a run that has ended, and tag it with the checks that did not pass.

    Parameters
    ----------
    instance : DagsterInstance
    store : Store
    settings : Settings
    run : DagsterRun
    today : date
        UTC day: of days long before, rare alarms and broken fibres are no news.
    """
    base, day = settings.notify.base_url, run.tags.get("dagster/partition", "")
    name, link = f"{run.job_name} {day}".strip(), f"{base}/runs/{run.run_id}"
    if run.status == DagsterRunStatus.FAILURE:
        mark = run.tags.get(MARK, "")
        what, text = (
            # That Dagster tries again by itself is no other failure; what somebody launches again is.
            f"run:{name}:{mark or (run.root_run_id if RETRY_NUMBER_TAG in run.tags else None) or run.run_id}",
            "; ".join(failures(instance, run.run_id)) or "its process was killed",
        )
        yield Notice(what, "run", f"{name} failed", text, link)
        if mark:
            tried = attempts(instance, run.job_name, day, mark)
            if tried.given_up(settings.automation):
                words = tried.wait(settings.automation, datetime.now(UTC).timestamp())
                yield Notice(f"{what}:given-up", "run", f"{name} is not tried again", words, link)
    checks = [check for check in _checks(instance, run.run_id) if not check.passed]
    for check in checks:
        asset = check.asset_key.to_user_string()
        if asset == "model_proposal":  # `of_proposal` tells of it
            continue
        of = check.partition or run.run_id
        title = f"check {check.check_name} of {asset} {check.partition or ''}".strip() + " does not pass"
        where = f"{base}/assets/{quote(asset)}?view=checks&checkDetail={quote(check.check_name)}"
        yield Notice(f"check:{asset}:{check.check_name}:{of}", "check", title, check.description or "", where)
    if checks and NOT_PASSED not in run.tags:
        names = sorted({f"{check.asset_key.to_user_string()}.{check.check_name}" for check in checks})
        instance.add_run_tags(run.run_id, {NOT_PASSED: ", ".join(names)})
    if day >= (today - timedelta(days=settings.automation.expected_days)).isoformat():
        if run.job_name == "rescore" and run.status == DagsterRunStatus.SUCCESS:
            yield from alarms(store, settings, day)
        if run.job_name == "ingest" and store.has_day("channel_health", day):
            yield from broken_fibres(store, settings, day)


def alarms(store: Store, settings: Settings, day: str) -> Iterator[Notice]:
    """Yield the alarms of a day that are as rare as `notify.alarm_rate` says, the rarest first."""
    if not store.has_day("anomaly_events", day):
        return
    events = [
        event
        for event in store.read_day("anomaly_events", day).to_pylist()
        if event["rate_per_km_day"] <= settings.notify.alarm_rate
    ]
    events.sort(key=lambda event: (event["rate_per_km_day"], -event["score"]))
    page = f"{settings.reports.url}/day/{day}"
    for event in events[:ALARMS_A_DAY]:
        where = f"channels {event['first_channel']}–{event['last_channel']}"
        if event["first_m"] is not None:
            where += f", {event['first_m']:.0f}–{event['last_m']:.0f} m"
        yield Notice(
            f"alarm:{day}:{event['event_id']}",
            "alarm",
            f"alarm on {event['fibre']} at {event['start']:%Y-%m-%d %H:%M:%S} UTC",
            f"{where}; ordinary ground does as much {event['rate_per_km_day']:.3g} times a kilometre and day; "
            f"event {event['event_id']}",
            f"{page}/alarm/{event['event_id']}",
        )
    if len(events) > ALARMS_A_DAY:
        yield Notice(f"alarms:{day}", "alarm", f"{len(events) - ALARMS_A_DAY} more rare alarms on {day}", "", page)


def broken_fibres(store: Store, settings: Settings, day: str) -> Iterator[Notice]:
    """Yield the fibres of a day whose far end is dead, where it was not the day before."""
    before = _dead_ends(store, shifted(day, -1))
    for fibre, (first, count) in _dead_ends(store, day).items():
        if count >= LEAST_DEAD and count > 2 * before.get(fibre, (0, 0))[1]:
            yield Notice(
                f"fibre:{fibre}:{day}",
                "fibre",
                f"fibre {fibre} is dead from channel {first} on, since {day}",
                f"{count} channels at its end tell nothing: it may be broken there, or be read otherwise",
                f"{settings.notify.base_url}/assets/channel_health?view=partitions&partition={day}",
            )


def of_overdue(settings: Settings, overdue: Mapping[str, str]) -> Iterator[Notice]:
    """Yield what `expected.overdue` found, a notice a day and stage."""
    for day, why in overdue.items():
        yield Notice(
            f"expected:{day}:{why.split(':')[0]}",
            "expected",
            f"{day} is overdue",
            why,
            f"{settings.notify.base_url}/assets/raw_recordings?view=checks&checkDetail=expected_days",
        )


def of_proposal(store: Store, settings: Settings) -> Iterator[Notice]:
    """Yield that a proposed model waits for a hand, and what is said of it."""
    from dasanom_assets.detection.proposal import read_proposal

    version = checkpoints.latest(store, "reference_model")
    if version is None or version == checkpoints.live(store, "reference_model"):
        return
    found = read_proposal(store, version)
    if found is None or (settings.automation.promote == "rule" and not found.reasons):
        return
    yield Notice(
        f"proposal:{version}",
        "proposal",
        f"model {version} waits for a hand",
        f"{found.verdict}. To make it live: {found.how}",
        f"{settings.notify.base_url}/assets/model_proposal",
    )


def digest(store: Store, settings: Settings, overdue: Mapping[str, str], now: datetime) -> Iterator[Notice]:
    """Yield the digest of the morning, once its hour has come: last scores and alarms, what is overdue."""
    if now.astimezone(UTC).hour < settings.notify.digest_hour:
        return
    today = now.astimezone(UTC).date().isoformat()
    lines = []
    for day in store.days("anomaly_events", shifted(today, -7), today)[-3:]:
        events = store.read_day("anomaly_events", day, ["rate_per_km_day"])["rate_per_km_day"].to_pylist()
        rarest = f", the rarest {min(events):.3g} a kilometre and day" if events else ""
        lines.append(f"{day}: {len(events)} alarms{rarest}.")
    lines.append(in_words(overdue))
    yield Notice(f"digest:{today}", "digest", f"dasanom on {today}", "\n".join(lines), settings.notify.base_url)


def _checks(instance: DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    entries = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    return [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]


def _dead_ends(store: Store, day: str) -> dict[str, tuple[int, int]]:
    """Return the first channel and the number of those at the end of each fibre that are dead without a gap."""
    if not store.has_day("channel_health", day):
        return {}
    rows: dict[str, list[Any]] = {}
    for row in store.read_day("channel_health", day, ["fibre", "channel", "state"]).to_pylist():
        rows.setdefault(row["fibre"], []).append((row["channel"], row["state"]))
    ends = {}
    for fibre, channels in rows.items():
        channels.sort()
        dead = 0
        while dead < len(channels) and channels[-1 - dead][1] == "dead":
            dead += 1
        ends[fibre] = (channels[-dead][0] if dead else channels[-1][0], dead)
    return ends
