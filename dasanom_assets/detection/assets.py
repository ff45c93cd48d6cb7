"""Assets of the detection stage: from embeddings to events."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from dasanom_assets.detection import steps
from dasanom_assets.settings import Settings
from dasanom_assets.tables.assets import step_asset
from dasanom_assets.tables.metadata import image, inert, png, thumbnail
from dasanom_assets.tables.store import Store

GROUP = "detection"
SCORES = {
    "embeddings": "Latent mean and variance, reconstruction error and KL of every window.",
    "cluster_labels": "Nearest cluster of the reference, and GLOSH outlier score, of every window.",
    "anomaly_scores": "Score and p-value of every window by each detector and by all together.",
}
"""What the tables that are made of windows are, in the Dagster UI."""
EVENTS = {
    "anomaly_events": "Windows that belong together in time and along the fibre; the contractor's word.",
    "event_explanations": "Why each event is one: bands and seconds, nearest normal windows, its like.",
    "events_below": "The rarest of what lies below the threshold: no alarms, for the review app alone.",
}
"""What the tables of events are, in the Dagster UI."""


class LiveModelConfig(dg.Config):
    """Which reference model becomes the live one."""

    version: str | None = Field(
        default=None, description="of reference_model; empty: the one that was fitted last"
    )
    anyway: bool = Field(default=False, description="also where a check has refused it")


def build_assets(days: dg.PartitionsDefinition, look_back_days: int) -> list[dg.AssetsDefinition]:
    """Return the assets of this stage: the live model, and what it makes of each recording day.

    `look_back_days` is how far back the temporal terms of a day reach.
    """
    asset_of, tables = partial(step_asset, days=days, group=GROUP), {"python", "parquet"}
    device = {"device": lambda context: context.resources.device}
    dask = {"dask": lambda context: context.resources.dask()}
    look_back = dg.TimeWindowPartitionMapping(
        start_offset=-look_back_days, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    with_day_before = dg.TimeWindowPartitionMapping(start_offset=-1, allow_nonexistent_upstream_partitions=True)

    @dg.asset(
        deps=[
            "training_set",
            "vae_checkpoint",
            "infogan_checkpoint",
            dg.AssetDep("temporal_terms", partition_mapping=dg.AllPartitionMapping()),
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

        It names the networks it belongs to. What scores is the live model, which `live_model` promotes.
        """
        from dasanom_assets.detection.reference import figures
        from dasanom_assets.detection.reference.fitting import fit_reference
        from dasanom_assets.detection.reference.model import NAME, save_reference
        from dasanom_assets.detection.reference.promise import promise
        from dasanom_assets.models import checkpoints
        from dasanom_assets.models.device import resolve_device
        from dasanom_assets.models.training import load_vae

        vae_version = checkpoints.require_latest(store, "vae", "materialize vae_checkpoint first")
        _, trained = checkpoints.load(store, "vae", vae_version)
        _, manifest = checkpoints.load(store, "training_set", trained["training_set"])
        vae = load_vae(store, vae_version)
        infogan_version = checkpoints.latest(store, "infogan")
        reference = fit_reference(
            store, manifest, vae, vae_version, settings, resolve_device(device), infogan_version
        )
        for name, reason in reference.note["left_out"].items():
            context.log.warning(f"detector {name} is left out: {reason}")
        promised = promise(reference, settings.detection.budget)
        if promised.warning:
            context.log.warning(promised.sentence)
        version = save_reference(store, reference)
        checkpoints.set_latest(store, NAME, version)
        pictures = {"rates": figures.rates_figure(reference.rates, settings.detection.budget)}
        if reference.latent is not None:
            pictures["condensed_tree"] = figures.condensed_tree(reference.latent.clusters)
        folder = f"reports/{NAME}/version={version}"
        urls = {
            name: store.write_bytes(f"{folder}/{name}.png", png(drawn, dpi=144))
            for name, drawn in pictures.items()
        }
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoints.digest(store, NAME, version)),
            metadata={
                "version": version,
                "vae_version": vae_version,
                "dagster/uri": store.url(f"models/{NAME}/{version}/model.json"),
                "promise": promised.sentence,
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
            reference_model,
            *(
                dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping())
                for name in (*steps.INPUTS, "verdicts")
            ),
        ],
        group_name=GROUP,
        kinds={"python"},
        pool="gpu",
    )
    def model_proposal(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
        dask: dg.ResourceParam[Callable[[], Any]],
    ) -> dg.MaterializeResult:
        """The last fitted model beside the live one, on days that neither has learned from; nothing goes live."""
        from dasanom_assets.detection.proposal import propose
        from dasanom_assets.detection.reference.model import NAME, proposal_path
        from dasanom_assets.models import checkpoints
        from dasanom_assets.models.training_set import days_to_learn

        version = checkpoints.require_latest(store, NAME, "materialize reference_model first")
        days = days_to_learn(store, datetime.now(UTC).date().isoformat())
        found = propose(store, version, days, settings, device, dask(), context.log.info)
        rows = [
            dg.TableRecord({"figure": figure, "live": live, "candidate": candidate})
            for figure, live, candidate in found.rows()
        ]
        columns = [dg.TableColumn(name, "string") for name in ("figure", "live", "candidate")]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(f"sha256:{store.digest(proposal_path(version))}"),
            metadata={
                "version": version,
                "comparison": dg.MetadataValue.table(rows, dg.TableSchema(columns)),
                "rule": found.verdict,
                "days": found.days,
                "left_out": found.left_out,
                "promote": found.how,
                "back": f"dasanom promote {found.live.version}",
                "dagster/uri": store.url(proposal_path(version)),
            },
        )

    @dg.asset(deps=[reference_model, model_proposal], group_name=GROUP, kinds={"python"})
    def live_model(
        context: dg.AssetExecutionContext, config: LiveModelConfig, store: dg.ResourceParam[Store]
    ) -> dg.MaterializeResult:
        """The models that score: one reference model and the networks it was fitted with.

        Materialized after the checks of what was trained. With an earlier version in its config, it goes back.
        """
        from dasanom_assets.detection.reference.model import NAME, promote
        from dasanom_assets.models import checkpoints

        before = checkpoints.live(store, NAME)
        version = config.version or checkpoints.require_latest(store, NAME, "materialize reference_model first")
        versions = promote(store, version, anyway=config.anyway)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoints.digest(store, NAME, version)),
            metadata={
                "version": version,
                "before": before or "none",
                "back": f"dasanom promote {before}" if before else "none",
                "versions": versions,
            },
        )

    return [
        asset_of(
            steps.segment_models,
            deps=steps.INPUTS,
            kinds=tables,
            resources=dask | {"keep_days": lambda context: context.resources.settings.temporal.keep_days},
        ),
        asset_of(
            steps.temporal_terms,
            deps=[dg.AssetDep("segment_models", partition_mapping=look_back)],
            kinds=tables,
            describe={"temporal_terms": _terms},
            resources=dask,
        ),
        reference_model,
        model_proposal,
        live_model,
        asset_of(
            steps.scores,
            deps=[*steps.INPUTS, "temporal_terms", live_model],
            kinds={"pytorch", "hdbscan", "parquet"},
            describe={
                "embeddings": lambda store, day, settings: store.metadata("embeddings", day),
                "cluster_labels": _clusters,
                "anomaly_scores": _flagged,
            },
            descriptions=SCORES,
            resources=device | dask | {"progress": _windows_bar},
            pool="gpu",
        ),
        asset_of(
            steps.anomaly_events,
            deps=[
                dg.AssetDep("anomaly_scores", partition_mapping=with_day_before),
                *("fibres", "cluster_labels", "contractor_scores", live_model),
                *steps.INPUTS,
            ],
            kinds=tables,
            describe={"anomaly_events": _strongest},
            descriptions=EVENTS,
        ),
    ]


def _windows_bar(context: dg.AssetExecutionContext) -> Any:
    from tqdm import tqdm

    return tqdm(unit="window", desc=f"scores {context.partition_key}", mininterval=2).update


def _terms(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    from dasanom_assets.detection.minutes.figures import day_terms

    note: dict[str, Any] = {"reference_days": store.metadata("temporal_terms", day)["reference_days"]}
    if figure := day_terms(store, day, settings):
        path = f"reports/temporal_terms/day={day}/temporal_terms.png"
        note["figure"] = dg.MetadataValue.path(store.write_bytes(path, png(figure, dpi=144)))
        note["picture"] = dg.MetadataValue.md(image(thumbnail(figure)))
    return note


def _clusters(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    from dasanom_assets.detection.detectors.clustering import QUALITY_WINDOWS, cluster_quality
    from dasanom_assets.tables.schemas import stack

    with store.open_day("cluster_labels", day) as file:
        n = file.metadata.num_rows
    wanted = np.linspace(0, n - 1, min(n, QUALITY_WINDOWS)).astype(int)
    parts, seen = [], 0
    for labels, encoded in zip(
        store.iter_day("cluster_labels", day, ["label"]), store.iter_day("embeddings", day, ["mu"]), strict=True
    ):
        here = wanted[slice(*np.searchsorted(wanted, [seen, seen + len(labels)]))] - seen
        seen += len(labels)
        parts.append(labels.append_column("mu", encoded["mu"]).take(here))
    judged = pa.concat_tables(parts)
    quality = cluster_quality(stack(judged["mu"]), judged["label"].to_numpy())
    return store.metadata("cluster_labels", day) | {k: value for k, value in quality.items() if value is not None}


def _flagged(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    from collections import Counter

    import pyarrow.compute as pc

    windows = flagged = 0
    reasons: Counter[str] = Counter()
    for rows in store.iter_day("anomaly_scores", day, ["is_anomaly", "invalid"]):
        windows += rows.num_rows
        flagged += pc.sum(rows["is_anomaly"]).as_py() or 0
        for row in rows["invalid"].drop_null().value_counts().to_pylist():
            reasons[row["values"]] += row["counts"]
    return store.metadata("anomaly_scores", day) | {
        "flagged_windows": flagged,
        "windows_without_score": dict(reasons),
        "flagged_share": flagged / max(windows, 1),
    }


def _strongest(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    from dasanom_assets.detection.calibration.rates import in_words
    from dasanom_assets.detection.events.so_far import changes
    from dasanom_assets.detection.reference.model import load_reference

    note = store.metadata("anomaly_events", day)
    km_days = load_reference(store, note["model_version"]).rates.km_days
    events = store.read_day("anomaly_events", day)
    page = f"{settings.reports.url}/day/{day}"
    strongest = events.sort_by([("score", "descending")]).slice(0, 20).to_pylist()
    pages = [f"{page}/alarm/{e['event_id']}" for e in strongest]
    # As Markdown: cells of Dagster's tables hold no links.
    lines = [
        f"| [{e['start']:%H:%M:%S}]({at}) | {e['first_channel']}–{e['last_channel']} | {in_words(e, km_days)} "
        f"| {e['cluster']} | {inert(e['contractor_class'] or '')} |"
        for e, at in zip(strongest, pages, strict=True)
    ]
    head = ["| begins (UTC) | channels | a km and day | cluster | contractor |", "|---|---|---|---|---|"]
    counts = note["counts"].items()
    return {
        "events": events.num_rows,
        **{f"so_far_{name}": value for name, value in changes(store, day).items()},
        **{f"{kind}_at_{budget}": n for budget, numbers in counts for kind, n in numbers.items()},
        "strongest": dg.MetadataValue.md("\n".join([*head, *lines])),
        "review": dg.MetadataValue.url(page),
        **({"strongest_alarm": dg.MetadataValue.url(pages[0])} if pages else {}),
    }
