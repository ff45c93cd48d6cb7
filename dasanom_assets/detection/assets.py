"""Assets of the detection stage: from embeddings to events."""

import io
from collections.abc import Iterator

import dagster as dg

from dasanom_assets.recordings.landing import ingested_from, shifted
from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import day_metadata, image, thumbnail
from dasanom_assets.tables.store import Store

GROUP = "detection"


def build_assets(days: dg.PartitionsDefinition, look_back_days: int) -> list[dg.AssetsDefinition]:
    """Return the assets of this stage: the reference model, and what it makes of each recording day.

    `look_back_days` is how far back the temporal terms of a day reach.
    """

    @dg.asset(
        deps=["spectrograms", "background", "channel_health", "clipped_seconds", "common_levels"],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
    )
    def segment_models(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """A Gaussian of every minute of a channel; days older than ``keep_days`` are removed."""
        from dasanom_assets.detection.segments import drop_old_models, segments_note
        from dasanom_assets.detection.segments import segment_models as compute

        day = context.partition_key
        note = segments_note(store, day, settings)
        rows = store.write_day("segment_models", day, compute(store, day, settings), note)
        dropped = drop_old_models(store, day, settings.temporal.keep_days)
        return dg.MaterializeResult(
            metadata={**day_metadata(store, "segment_models", day, rows), "days_dropped": dropped}
        )

    look_back = dg.TimeWindowPartitionMapping(
        start_offset=-look_back_days, end_offset=0, allow_nonexistent_upstream_partitions=True
    )

    @dg.asset(
        deps=[dg.AssetDep(segment_models, partition_mapping=look_back)],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
    )
    def temporal_terms(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """How unlike a segment is to the one before, the same time of earlier days and weeks, and its neighbours.

        What raised an alarm on earlier days is not held against.
        """
        from dasanom_assets.detection.temporal import needed_days
        from dasanom_assets.detection.temporal import temporal_terms as compute
        from dasanom_assets.detection.temporal_figures import day_terms

        day = context.partition_key
        days = needed_days(store, day, settings.temporal)
        note = {"reference_days": days, "settings": settings.temporal.model_dump(mode="json")}
        rows = store.write_day("temporal_terms", day, compute(store, day, settings.temporal), note)
        pictures = {}
        if figure := day_terms(store, day, settings):
            full = io.BytesIO()
            figure.savefig(full, format="png", dpi=144)
            url = store.write_bytes(f"reports/temporal_terms/day={day}/temporal_terms.png", full.getvalue())
            pictures = {
                "figure": dg.MetadataValue.path(url),
                "picture": dg.MetadataValue.md(image(thumbnail(figure))),
            }
        return dg.MaterializeResult(
            metadata={**day_metadata(store, "temporal_terms", day, rows), "reference_days": days, **pictures}
        )

    @dg.asset(
        deps=[
            "training_set",
            "vae_checkpoint",
            "infogan_checkpoint",
            dg.AssetDep(temporal_terms, partition_mapping=dg.AllPartitionMapping()),
        ],
        group_name=GROUP,
        kinds={"python"},
        pool="gpu",
    )
    def reference_model(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """What scoring needs beside the networks: detectors, clusters, and how often the reference has events.

        It names the VAE it belongs to, and is what scoring follows: the live reference model is the live model.
        """
        from dasanom_assets.detection import figures
        from dasanom_assets.detection.fitting import fit_reference
        from dasanom_assets.detection.promise import promise
        from dasanom_assets.detection.reference import NAME, save_reference
        from dasanom_assets.models import checkpoints
        from dasanom_assets.models.training import load_vae, resolve_device

        vae_version = checkpoints.require_live(store, "vae", "materialize vae_checkpoint first")
        _, trained = checkpoints.load(store, "vae", vae_version)
        _, manifest = checkpoints.load(store, "training_set", trained["training_set"])
        vae = load_vae(store, vae_version)
        infogan_version = checkpoints.live(store, "infogan")
        reference = fit_reference(
            store, manifest, vae, vae_version, settings, resolve_device(device), infogan_version
        )
        for name, reason in reference.note["left_out"].items():
            context.log.warning(f"detector {name} is left out: {reason}")
        told = promise(reference, settings.detection.budget)
        if told.warning:
            context.log.warning(told.sentence)
        version = save_reference(store, reference)
        checkpoints.set_live(store, NAME, version)
        pictures = {"rates": figures.rates_figure(reference.rates, settings.detection.budget)}
        if reference.latent is not None:
            pictures["condensed_tree"] = figures.condensed_tree(reference.latent.clusters)
        folder = f"reports/{NAME}/version={version}"
        urls = {
            name: store.write_bytes(f"{folder}/{name}.png", figures.page(drawn))
            for name, drawn in pictures.items()
        }
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoints.digest(store, NAME, version)),
            metadata={
                "version": version,
                "vae_version": vae_version,
                "dagster/uri": store.url(f"models/{NAME}/{version}/model.json"),
                "promise": told.sentence,
                "km_days": reference.rates.km_days,
                "reference_days": reference.rates.days,
                "reference_events": len(reference.rates.strength),
                "finest_rate": reference.rates.finest,
                "n_clusters": reference.note["clusters"]["n_clusters"],
                "noise_share": reference.note["clusters"]["noise_share"],
                "clusters": reference.note["clusters"],
                **({} if reference.latent is None else {"cluster_parameters": reference.latent.clusters.chosen}),
                "detectors": reference.names,
                "fused": list(reference.fused),
                "left_out": reference.note["left_out"],
                **{name: dg.MetadataValue.md(image(thumbnail(drawn))) for name, drawn in pictures.items()},
                **{f"{name}_file": dg.MetadataValue.path(url) for name, url in urls.items()},
            },
        )

    @dg.asset(
        deps=[
            "spectrograms",
            "background",
            "channel_health",
            "clipped_seconds",
            "common_levels",
            "vae_checkpoint",
            reference_model,
        ],
        partitions_def=days,
        group_name=GROUP,
        kinds={"pytorch", "parquet"},
        pool="gpu",
    )
    def embeddings(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """Latent mean and variance, reconstruction error and KL of every window."""
        from tqdm import tqdm

        from dasanom_assets.detection.embedding import embeddings as compute
        from dasanom_assets.detection.reference import load_reference, require_fit
        from dasanom_assets.models.training import load_vae, resolve_device

        day = context.partition_key
        reference = load_reference(store)
        require_fit(reference, store.metadata("spectrograms", day), settings, day)
        vae = load_vae(store, reference.vae_version)
        note = {
            "model_version": reference.version,
            "vae_version": reference.vae_version,
            "landing_digest": ingested_from(store, day),
        }
        with tqdm(unit="window", desc=f"embeddings {day}", mininterval=2) as bar:
            tables = compute(store, day, vae, settings, resolve_device(device), bar.update)
            rows = store.write_day("embeddings", day, tables, note)
        return dg.MaterializeResult(metadata={**day_metadata(store, "embeddings", day, rows), **note})

    @dg.asset(
        deps=[embeddings, reference_model], partitions_def=days, group_name=GROUP, kinds={"hdbscan", "parquet"}
    )
    def cluster_labels(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Nearest cluster of the reference, and GLOSH outlier score, of every window."""
        import numpy as np

        from dasanom_assets.detection.clustering import cluster_quality
        from dasanom_assets.detection.reference import load_reference
        from dasanom_assets.detection.scoring import cluster_labels as compute
        from dasanom_assets.tables.schemas import stack

        day = context.partition_key
        note = store.metadata("embeddings", day)
        reference = load_reference(store, note["model_version"])
        rows = store.write_day("cluster_labels", day, compute(store, day, reference), note)
        labels = store.read_day("cluster_labels", day, ["label"])["label"].to_numpy()
        points = stack(store.read_day("embeddings", day, ["mu"])["mu"])
        some = np.linspace(0, rows - 1, min(rows, 5000)).astype(int)
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "cluster_labels", day, rows),
                **note,
                **{
                    key: value
                    for key, value in cluster_quality(points[some], labels[some]).items()
                    if value is not None
                },
            }
        )

    @dg.asset(
        deps=[
            "recordings",
            "spectrograms",
            "background",
            "channel_health",
            "clipped_seconds",
            "common_levels",
            temporal_terms,
            "infogan_checkpoint",
            embeddings,
            cluster_labels,
            reference_model,
        ],
        partitions_def=days,
        group_name=GROUP,
        kinds={"python", "parquet"},
        pool="gpu",
    )
    def anomaly_scores(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """Score and p-value of every window by each detector and by all together."""
        import pyarrow.compute as pc

        from dasanom_assets.detection.reference import load_reference
        from dasanom_assets.detection.scoring import anomaly_scores as compute
        from dasanom_assets.models.training import resolve_device

        day = context.partition_key
        note = store.metadata("cluster_labels", day)
        reference = load_reference(store, note["model_version"])
        note["budget"] = settings.detection.budget
        inputs = reference.inputs(store, store, resolve_device(device))
        rows = store.write_day("anomaly_scores", day, compute(store, day, reference, settings, inputs), note)
        told = store.read_day("anomaly_scores", day, ["is_anomaly", "invalid"])
        flagged = pc.sum(told["is_anomaly"]).as_py() or 0
        invalid = {row["values"]: row["counts"] for row in told["invalid"].drop_null().value_counts().to_pylist()}
        return dg.MaterializeResult(
            metadata={
                **day_metadata(store, "anomaly_scores", day, rows),
                **note,
                "flagged_windows": flagged,
                "windows_without_score": invalid,
                "flagged_share": flagged / max(rows, 1),
            }
        )

    with_day_before = dg.TimeWindowPartitionMapping(start_offset=-1, allow_nonexistent_upstream_partitions=True)

    seen: list[dg.AssetDep | dg.AssetsDefinition | str] = [
        dg.AssetDep(anomaly_scores, partition_mapping=with_day_before),
        *(cluster_labels, "contractor_scores", reference_model),
        *("spectrograms", "background", "channel_health", "clipped_seconds", "common_levels"),
    ]

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                "anomaly_events",
                deps=seen,
                description="Windows that belong together in time and along the fibre, with the contractor's word "
                "on them.",
                kinds={"python", "parquet"},
            ),
            dg.AssetSpec(
                "event_explanations",
                deps=seen,
                description="Why each event is one: its bands and seconds, the nearest normal windows, its like.",
                kinds={"python", "parquet"},
            ),
        ],
        partitions_def=days,
        group_name=GROUP,
        name="anomaly_events",
    )
    def anomaly_events(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.MaterializeResult]:
        from dasanom_assets.detection.events import at_midnight, end_of_day_before, find_events, taking_part
        from dasanom_assets.detection.explain import explain
        from dasanom_assets.detection.promise import expected_and_realised, in_words
        from dasanom_assets.detection.reference import load_reference, require_fit

        day = context.partition_key
        note = store.metadata("anomaly_scores", day)
        reference = load_reference(store, note["model_version"])
        require_fit(reference, store.metadata("spectrograms", day), settings, day)
        contractor = store.read_day("contractor_scores", day)
        rates, level = reference.rates, reference.level
        scores, labels = taking_part(store, day, level)
        before = end_of_day_before(store, day, note, level)
        note |= {"at_midnight": at_midnight(scores, day), "before": at_midnight(before, shifted(day, -1))}
        group = settings.spectrogram.group_channels
        events = find_events(scores, labels, contractor, rates, level, settings.window, group, before)
        events, explanations = explain(store, day, events, scores, reference, settings)
        counts = expected_and_realised(store, day, reference)
        note["counts"] = {f"{budget:g}": of for budget, of in counts.items()}
        rows = store.write_day("event_explanations", day, explanations, note)
        yield dg.MaterializeResult(
            "event_explanations", metadata=day_metadata(store, "event_explanations", day, rows)
        )
        rows = store.write_day("anomaly_events", day, events, note)
        strongest = events.sort_by([("score", "descending")]).slice(0, 20).to_pylist()
        lines = ["| event | start | channels | a km and day | cluster | contractor |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {e['event_id']} | {e['start']:%H:%M:%S} | {e['first_channel']}–{e['last_channel']} "
            f"| {in_words(e, rates.km_days)} | {e['cluster']} | {e['contractor_class'] or ''} |"
            for e in strongest
        ]
        yield dg.MaterializeResult(
            "anomaly_events",
            metadata={
                **day_metadata(store, "anomaly_events", day, rows),
                "events": rows,
                **{f"{kind}_at_{budget:g}": n for budget, of in counts.items() for kind, n in of.items()},
                "strongest": dg.MetadataValue.md("\n".join(lines)),
            },
        )

    return [
        segment_models,
        temporal_terms,
        reference_model,
        embeddings,
        cluster_labels,
        anomaly_scores,
        anomaly_events,
    ]
