"""The season's verdict repeats what runs made, in its order, and with the files and models of the moment."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from dasanom_assets.benchmarks.season_at_work import Placed
from dasanom_assets.benchmarks.season_verdict import makings
from dasanom_assets.tables.store import Store

FIRST, SECOND = "2028-02-08", "2028-02-09"


def tell(instance: dg.DagsterInstance, table: str, day: str | None, made: str, content: str) -> None:
    """Let a run say that it made a table, or that it did not."""
    days = dg.StaticPartitionsDefinition([FIRST, SECOND]) if day else None

    @dg.asset(name=table, partitions_def=days)
    def asset() -> dg.MaterializeResult:
        more = {"made": made} if day else {"version": content}
        return dg.MaterializeResult(data_version=dg.DataVersion(content), metadata=more)

    assert dg.materialize([asset], partition_key=day, instance=instance).success


def test_what_runs_made_is_told_in_the_order_of_time() -> None:
    with dg.instance_for_test() as instance:
        tell(instance, "background", FIRST, "recordings of it is not there", "a")
        tell(instance, "live_model", None, "", "version-1")
        tell(instance, "background", SECOND, "recordings of it is not there", "b")
        tell(instance, "anomaly_events", FIRST, "asked for", "c")
        tell(instance, "background", SECOND, "not again: it is as it would be now", "b")
        # Made by a run that was killed before it said so.
        tell(instance, "background", FIRST, "not again: it is as it would be now", "other")
        found = makings(instance)
    assert [(making.table, making.name) for making in found] == [
        ("background", FIRST),
        ("live_model", "version-1"),
        ("background", SECOND),
        ("anomaly_events", FIRST),
        ("background", FIRST),
    ]
    assert [making.moment for making in found] == sorted(making.moment for making in found)


def test_tables_that_one_step_makes_are_one_making_of_each_run() -> None:
    with dg.instance_for_test() as instance:

        @dg.multi_asset(
            specs=[dg.AssetSpec(name) for name in ("embeddings", "cluster_labels", "anomaly_scores")],
            partitions_def=dg.StaticPartitionsDefinition([FIRST]),
        )
        def scores() -> Iterator[dg.MaterializeResult]:
            for name in ("embeddings", "cluster_labels", "anomaly_scores"):
                version = dg.DataVersion("a")
                yield dg.MaterializeResult(name, data_version=version, metadata={"made": "asked for"})

        for _ in range(2):
            assert dg.materialize([scores], partition_key=FIRST, instance=instance).success
        assert len(makings(instance)) == 2


def test_a_delivery_is_repeated_as_it_was_whatever_became_of_its_source(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"as it was")
    store = Store(str(tmp_path / "clean"))
    Placed(1_800_000_000.0, 1_799_999_700.0, "landing/2028-02-08/a.bin", kept).place(store)
    placed = tmp_path / "clean/landing/2028-02-08/a.bin"
    assert placed.read_bytes() == b"as it was"
    assert placed.stat().st_mtime == 1_799_999_700.0
