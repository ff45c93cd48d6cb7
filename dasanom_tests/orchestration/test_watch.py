"""What fails, is overdue, breaks or is rare is told once, with a link, to a real address, without a secret."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from dasanom_assets.definitions import build_defs
from dasanom_assets.detection.proposal import Proposal, Side
from dasanom_assets.detection.reference.model import proposal_path
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration import notices, watch
from dasanom_assets.orchestration.attempts import MARK
from dasanom_assets.orchestration.notices import Notice, NoticeError, Sink, sink_of
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store
from dasanom_tests.orchestration.test_run import listener

TODAY = date(2026, 1, 10)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["2026-01-09"]))
def table() -> None:
    """A table."""


@dg.asset_check(asset=table, partitions_def=table.partitions_def)
def doubtful() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="5 % are flagged")


@dg.asset(partitions_def=table.partitions_def)
def failing() -> None:
    """A step that fails."""
    raise dg.Failure("the disk is full")


def ran(instance: dg.DagsterInstance, *what, **tags: str) -> dg.DagsterRun:
    done = dg.materialize(
        what, instance=instance, partition_key="2026-01-09", raise_on_error=False, tags=tags or None
    )
    return instance.get_run_by_id(done.run_id)


def told(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> list[Notice]:
    return list(watch.of_run(instance, Store(settings.data), settings, run, TODAY))


def test_a_check_that_does_not_pass_stands_on_no_green_run_in_silence(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = ran(instance, table, doubtful)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    (notice,) = told(instance, run, Settings(data=str(tmp_path)))
    assert (notice.title, notice.text) == ("check doubtful of table 2026-01-09 does not pass", "5 % are flagged")
    assert notice.link == "http://127.0.0.1:3000/assets/table?view=checks&checkDetail=doubtful"
    assert instance.get_run_by_id(run.run_id).tags[watch.NOT_PASSED] == "table.doubtful"


def test_a_failed_run_is_told_first_and_when_it_is_given_up(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path), automation=AutomationSettings(attempts=2))
    mark = {MARK: "as it is", "dagster/partition": "2026-01-09"}
    first, second = (ran(instance, failing, **mark) for _ in range(2))
    (notice,) = told(instance, first, settings)[:1]
    assert notice.text == "failing failed: the disk is full"
    assert notice.link == f"http://127.0.0.1:3000/runs/{first.run_id}"
    again = told(instance, second, settings)
    assert again[0].identity == notice.identity
    assert "is not tried again" in again[1].title
    assert "tried 2 times" in again[1].text


def test_a_run_that_dagster_tries_again_is_told_once_and_one_launched_by_hand_by_itself(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    store, settings = Store(str(tmp_path)), Settings(data=str(tmp_path))
    first = instance.add_run(dg.DagsterRun("so_far", status=dg.DagsterRunStatus.FAILURE))
    again = instance.add_run(
        dg.DagsterRun(
            "so_far",
            status=dg.DagsterRunStatus.FAILURE,
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
            tags={"dagster/retry_number": "1"},
        )
    )
    by_hand = instance.add_run(
        dg.DagsterRun(
            "so_far",
            status=dg.DagsterRunStatus.FAILURE,
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
        )
    )
    told = [
        notice for run in (first, again, by_hand) for notice in watch.of_run(instance, store, settings, run, TODAY)
    ]
    assert len({notice.identity for notice in told[:2]}) == 1
    assert told[2].identity != told[0].identity


def test_ended_runs_are_looked_at_once_by_their_time(instance: dg.DagsterInstance) -> None:
    run = ran(instance, table)
    ((seen, changed),) = watch.ended_since(instance, 0)
    assert seen.run_id == run.run_id
    assert watch.ended_since(instance, changed + 1) == []


def test_a_proposed_model_waits_for_a_hand_until_it_is_live(tmp_path: Path) -> None:
    store, settings = Store(str(tmp_path)), Settings(data=str(tmp_path))
    version = checkpoints.save(store, "reference_model", {}, {})
    checkpoints.set_latest(store, "reference_model", version)
    assert list(watch.of_proposal(store, settings)) == []
    live, candidate = (Side(v, ["2026-01-05"], 1, 1, 1.0, 1.0, True, "", [], []) for v in ("0123", version))
    found = Proposal(live, candidate, ["2026-01-09"], {}, 0, 0, ["it is deaf"])

    def waits(automation: AutomationSettings = settings.automation, **changed: list[str]) -> list[Notice]:
        store.write_json(proposal_path(version), asdict(replace(found, **changed)))
        return list(watch.of_proposal(store, settings.model_copy(update={"automation": automation})))

    (refused,), (good,) = waits(), waits(reasons=[])
    assert refused.identity == good.identity == f"proposal:{version}"
    assert refused.text.startswith(f"it is deaf. To make it live: dasanom promote {version} --anyway")
    assert good.text.startswith(
        "it is no worse than the live model (held-out days: 1). To make it live: dasanom p"
    )
    assert good.link == "http://127.0.0.1:3000/assets/model_proposal"
    by_rule = AutomationSettings(promote="rule")
    assert waits(by_rule, reasons=[]) == []
    assert waits(by_rule) == [refused]
    checkpoints.set_live(store, {"reference_model": version})
    assert waits() == []


def written(store: Store, table: str, day: str, rows: list[dict]) -> None:
    store.write_day(table, day, pa.Table.from_pylist(rows, SCHEMAS[table]), {})


def health(store: Store, day: str, dead_from: int) -> None:
    rows = [
        {"fibre": "north", "channel": c, "state": "dead" if c >= dead_from else "ok", "dead_fraction": 0.0}
        for c in range(100)
    ]
    written(store, "channel_health", day, rows)


def test_a_fibre_is_broken_where_its_far_end_has_died_since_the_day_before(tmp_path: Path) -> None:
    store, settings = Store(str(tmp_path)), Settings(data=str(tmp_path))
    health(store, "2026-01-08", 98)
    health(store, "2026-01-09", 60)
    health(store, "2026-01-10", 60)
    (notice,) = watch.broken_fibres(store, settings, "2026-01-09")
    assert notice.title == "fibre north is dead from channel 60 on, since 2026-01-09"
    assert list(watch.broken_fibres(store, settings, "2026-01-08")) == []
    assert list(watch.broken_fibres(store, settings, "2026-01-10")) == []


def test_only_alarms_as_rare_as_is_chosen_are_told_the_rarest_first(tmp_path: Path) -> None:
    store, settings = Store(str(tmp_path)), Settings(data=str(tmp_path))
    start = datetime(2026, 1, 9, 12, tzinfo=UTC)
    rows = [
        {
            **{
                "fibre": "north",
                "event_id": name,
                "start": start,
                "end": start,
                "first_channel": 3,
                "last_channel": 5,
            },
            **{"first_m": 30.0, "last_m": 50.0, "score": 1.0, "rate_per_km_day": rate},
        }
        for name, rate in (("common", 0.5), ("rare", 0.1), ("rarest", 0.0))
    ]
    written(store, "anomaly_events", "2026-01-09", rows)
    notices = list(watch.alarms(store, settings, "2026-01-09"))
    assert [notice.identity for notice in notices] == ["alarm:2026-01-09:rarest", "alarm:2026-01-09:rare"]
    assert "channels 3–5, 30–50 m; ordinary ground does as much 0.1 times" in notices[1].text
    late = {"2026-01-08": "nothing was delivered"}
    (digest,) = watch.digest(store, settings, late, datetime(2026, 1, 10, 7, tzinfo=UTC))
    assert (
        "2026-01-09: 3 alarms, the rarest 0 a kilometre and day.\n2026-01-08: nothing was delivered" in digest.text
    )
    assert list(watch.digest(store, settings, late, datetime(2026, 1, 10, 5, tzinfo=UTC))) == []


def test_a_notice_is_sent_once_also_where_the_address_was_away(tmp_path: Path) -> None:
    posted: list[str] = []
    notice = Notice("run:1", "run", "ingest failed", "the disk is full", "http://127.0.0.1:3000/runs/1")
    file = tmp_path / "notices.jsonl"
    with pytest.raises(NoticeError, match="did not take") as raised:
        Sink(file, SecretStr("json://someone:hidden@127.0.0.1:9/hook")).tell([notice, notice])
    assert "hidden" not in str(raised.value)
    with listener(posted) as url:
        sink = Sink(file, SecretStr(url.replace("http://", "json://someone:hidden@")))
        assert sink.tell([notice]) == []  # known, and sent by now
        assert sink.tell([notice]) == []
    (message,) = map(json.loads, posted)
    assert message["title"] == "ingest failed"
    assert message["message"] == "the disk is full\nhttp://127.0.0.1:3000/runs/1"
    assert "hidden" not in file.read_text() + "".join(posted)
    assert file.stat().st_mode & 0o077 == 0


def test_what_was_sent_before_the_address_went_away_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def send(url: SecretStr, title: str, text: str) -> None:
        if len(sent) == 1:
            sent.append("")
            raise NoticeError("away")
        sent.append(title)

    monkeypatch.setattr(notices, "send", send)
    sink = Sink(tmp_path / "notices.jsonl", SecretStr("json://127.0.0.1"))
    with pytest.raises(NoticeError):
        sink.tell([Notice("run:1", "run", "one"), Notice("run:2", "run", "two")])
    sink.tell([])
    assert sent == ["one", "", "two"]


def test_a_name_in_a_message_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(notices, "send", lambda url, title, text: sent.append((title, text)))
    link, name = "http://127.0.0.1:3000/runs/1", "<https://evil.example|here> [here](https://evil.example)"
    told = [Notice(f"run:{n}", "run", f"fibre {name}", f"{name}\nit may be broken", link) for n in range(7)]
    Sink(tmp_path / "one", SecretStr("json://127.0.0.1")).tell(told[:1])
    Sink(tmp_path / "many", SecretStr("json://127.0.0.1")).tell(told)
    (title, text), (_, texts) = sent
    assert "evil.example" in title
    assert not set("<[") & set(title + text + texts)
    assert [line for line in [*text.splitlines(), *texts.splitlines()] if "://" in line.replace(link, "")] == []
    assert text.endswith(f"it may be broken\n{link}")


def test_a_notice_after_a_line_that_was_cut_short_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "notices.jsonl"
    file.write_text('{"time": "2026-01-09')
    sink, notice = Sink(file, None), Notice("run:1", "run", "one")
    assert [sink.tell([notice]) for _ in range(2)] == [[notice], []]


def test_many_notices_are_one_message(tmp_path: Path) -> None:
    posted: list[str] = []
    notices = [Notice(f"alarm:{n}", "alarm", f"alarm {n}") for n in range(60)]
    with listener(posted) as url:
        new = Sink(tmp_path / "notices.jsonl", SecretStr(url.replace("http://", "json://"))).tell(notices)
    assert len(new) == 60
    (message,) = map(json.loads, posted)
    assert message["title"] == "dasanom: 60 notices"
    assert "… and 10 more" in message["message"]


def test_a_file_of_years_keeps_the_newest_notices_and_those_that_were_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "LARGEST_BYTES", 20_000)
    monkeypatch.setattr(notices, "KEPT", 50)
    posted: list[str] = []
    file = tmp_path / "notices.jsonl"
    unsent = Notice("never", "run", "not sent for a long time")
    with pytest.raises(NoticeError):
        Sink(file, SecretStr("json://127.0.0.1:9/hook")).tell([unsent])
    Sink(file, None).tell(Notice(f"alarm:{n}", "alarm", f"alarm {n}") for n in range(400))
    sent = "".join(json.dumps({"identity": f"alarm:{n}", "sent": True}) + "\n" for n in range(400))
    file.write_text(file.read_text() + sent)
    assert file.stat().st_size > 20_000
    with listener(posted) as url:
        sink = Sink(file, SecretStr(url.replace("http://", "json://")))
        assert sink.tell([Notice("alarm:399", "alarm", "alarm 399")]) == []
    assert json.loads(posted[0])["title"] == "not sent for a long time"
    identities = {json.loads(line)["identity"] for line in file.read_text().splitlines()}
    assert identities == {"never", *(f"alarm:{n}" for n in range(350, 400))}
    assert file.stat().st_mode & 0o077 == 0


def test_the_sensor_tells_what_is_overdue_and_says_so_in_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_FIRST_DAY", "2026-01-01")
    folder = tmp_path / "landing" / "2026-01-05"
    folder.mkdir(parents=True)
    (folder / "some.bin").write_bytes(b"no recording")
    built = build_defs()
    sensor = built.resolve_sensor_def("tell")
    day_ago = time.time() - 24 * 3600
    with dg.instance_for_test() as instance:

        def tick(cursor: str | None):
            context = dg.build_sensor_context(
                instance, cursor=cursor, definitions=built, resources={"store": Store(str(tmp_path))}
            )
            return sensor.evaluate_tick(context)

        (check,) = tick(None).asset_events
        assert check.passed  # the first delivery of all has only just come
        os.utime(folder / "some.bin", (day_ago, day_ago))
        first = tick(None)
        (check,) = first.asset_events
        assert (check.check_name, check.passed) == ("expected_days", False)
        assert "nothing was delivered" in check.description
        assert "is overdue" in first.skip_message
        second = tick(first.cursor)
        assert second.asset_events == []
        assert "Told: nothing new." in second.skip_message
        lines = (Path(os.environ["DAGSTER_HOME"]) / "notices.jsonl").read_text().splitlines()
    # Two weeks, of which yesterday is not due before noon.
    assert len({json.loads(line)["identity"] for line in lines}) == len(lines) >= 13


def test_a_test_message_is_sent_by_command(tmp_path: Path) -> None:
    posted: list[str] = []
    command = [sys.executable, "-m", "dasanom_assets.cli", "notify", "--test"]
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path)}
    with listener(posted) as url:
        secret = url.replace("http://", "json://someone:hidden@")
        environment |= {"DASANOM_NOTIFY__URL": secret}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "Sent."), done.stderr
    assert "test message" in posted[0]
    environment |= {"DASANOM_NOTIFY__URL": "nonsense://someone:hidden@nowhere"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "DASANOM_NOTIFY__URL is no address that Apprise knows" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


def test_the_sink_of_a_home_is_a_file_there(tmp_path: Path) -> None:
    assert sink_of(str(tmp_path), None).tell([Notice("a", "test", "title")])
    assert json.loads((tmp_path / "notices.jsonl").read_text())["title"] == "title"
