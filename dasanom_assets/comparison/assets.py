"""Assets of the comparison stage: the contractor's side, and both sides laid beside each other."""

import io

import dagster as dg

from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import day_metadata, image
from dasanom_assets.tables.store import Store

GROUP = "comparison"
REPORTS = "reports/contractor_comparison"
MADE_FROM = "made_from.json"
"""In the folder of a day's report: the model, the recordings and the end of the day before that it is of."""


def build_assets(days: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Return the assets of this stage, one partition a recording day."""

    @dg.asset(deps=["recordings"], partitions_def=days, group_name=GROUP, kinds={"python", "parquet"})
    def contractor_scores(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Power and class probabilities of the contractor's classifier; no rows where it delivered none."""
        from dasanom_assets.comparison.contractor import contractor_scores as compute

        day = context.partition_key
        table, notes = compute(store, store.read_day("recordings", day), settings.comparison, day=day)
        rows = store.write_day("contractor_scores", day, table, notes)
        for reason in notes["left_out"]:
            context.log.warning(f"left out: {reason}")
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "contractor_scores", day, rows),
                "files": len(notes["files"]),
                "left_out": notes["left_out"],
                "rows_sum_to_one": str(notes["rows_sum_to_one"]),
            }
        )

    @dg.asset(deps=[contractor_scores], partitions_def=days, group_name=GROUP, kinds={"python", "parquet"})
    def contractor_events(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Alarms of the contractor that belong together in time and along the fibre."""
        from dasanom_assets.comparison.contractor import contractor_events as compute

        day = context.partition_key
        table = compute(store.read_day("contractor_scores", day), settings.comparison)
        rows = store.write_day("contractor_events", day, table)
        return dg.MaterializeResult(
            metadata={**day_metadata(store, "contractor_events", day, rows), "events": rows}
        )

    @dg.asset(
        deps=["anomaly_events", contractor_events],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
    )
    def event_matches(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Events of both sides matched one to one, and those that only one side has."""
        from dasanom_assets.comparison.agreement import match_events

        day = context.partition_key
        table = match_events(store.read_day("anomaly_events", day), store.read_day("contractor_events", day))
        rows = store.write_day("event_matches", day, table)
        counts = {v["values"]: v["counts"] for v in table["agreement"].value_counts().to_pylist()}
        names = ("both", "only_us", "only_contractor")
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "event_matches", day, rows),
                **{name: counts.get(name, 0) for name in names},
            }
        )

    @dg.asset(
        deps=["embeddings", "anomaly_scores", contractor_scores, "reference_model"],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "plotly"},
    )
    def embedding_map(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Windows of the day on the t-SNE map of the reference, in 2-D and 3-D, by who flagged them."""
        import pyarrow.parquet as pq

        from dasanom_assets.comparison.day import day_map, map_table
        from dasanom_assets.comparison.pictures import map_thumbnail
        from dasanom_assets.detection.reference import load_reference

        day = context.partition_key
        reference = load_reference(store, store.metadata("anomaly_scores", day)["model_version"])
        points = day_map(store, day, reference, settings.comparison)
        if points is None:
            return dg.MaterializeResult(metadata={"windows": 0})
        sink = io.BytesIO()
        pq.write_table(map_table(points), sink)
        url = store.write_bytes(f"reports/embedding_map/day={day}/embedding_map.parquet", sink.getvalue())
        return dg.MaterializeResult(
            metadata={
                "dagster/uri": url,
                "windows": len(points.who),
                "map": dg.MetadataValue.md(image(map_thumbnail(points))),
            }
        )

    @dg.asset(
        deps=["recordings", "anomaly_scores", "cluster_labels", event_matches, embedding_map, "reference_model"],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "plotly"},
    )
    def contractor_comparison(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """Report of the day: one HTML file that opens offline, and an overview as PNG."""
        import pyarrow.parquet as pq

        from dasanom_assets.comparison.day import day_findings, map_of, reference_map
        from dasanom_assets.comparison.report import day_report
        from dasanom_assets.detection.reference import load_reference

        day = context.partition_key
        reference = load_reference(store, store.metadata("anomaly_scores", day)["model_version"])
        placed = f"reports/embedding_map/day={day}/embedding_map.parquet"
        points = None
        windows = store.read_day("anomaly_scores", day, ["start"]).num_rows
        if reference.latent is not None and windows and store.exists(placed):
            table = pq.read_table(io.BytesIO(store.read_bytes(placed)))
            points = map_of(table, reference_map(store, reference)[1])
        findings = day_findings(store, day, reference, points, settings)
        files = day_report(findings)
        folder = f"{REPORTS}/day={day}"
        overview = store.write_bytes(f"{folder}/overview.png", files.overview_png)
        report = store.write_bytes(f"{folder}/report.html", files.html)
        # Last, since it says that all of the day is there.
        store.write_json(f"{folder}/{MADE_FROM}", store.metadata("anomaly_events", day))
        agreement = findings.event_agreement or {}
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.path(report),
                "dagster/uri": report,
                "overview": dg.MetadataValue.path(overview),
                "model_version": reference.version,
                "vae_version": reference.vae_version,
                "contractor_side": findings.contractor_events is not None,
                **{key: value for key, value in agreement.items() if value is not None},
                "picture": dg.MetadataValue.md(image(files.thumbnail_png)),
            }
        )

    return [contractor_scores, contractor_events, event_matches, embedding_map, contractor_comparison]
