"""Assets of the benchmarks stage: detectors on sets that others have labelled, and all of them side by side."""

import dagster as dg
from pydantic import Field

from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import LoggedProgress
from dasanom_assets.tables.store import Store

GROUP = "benchmarks"


class LabelledConfig(dg.Config):
    """Which labelled set is measured, and which part of it."""

    root: str = Field(description="folder of the set, on this machine")
    layout: str = Field(default="mimii", description="mimii, bjtu or das: how its folders say the labels")
    name: str = Field(default="", description="of the report's files; empty: that of the folder")
    snrs: list[str] = Field(default=[], description="folders of signal-to-noise ratios; empty: all")
    machines: list[str] = Field(default=[], description="folders of machines; empty: all")
    ids: list[str] = Field(default=[], description="folders of ids; empty: all")
    microphones: list[str] = Field(
        default=[], description="numbers from 0, or all; empty: the first of mimii, all channels of others"
    )
    rate: float | None = Field(
        default=None, description="sampling rate, Hz; none: that of the layout or first file"
    )
    pool: bool = Field(default=False, description="whether the ids of a machine are learned together")


class ChoiceConfig(dg.Config):
    """What the detectors are compared on."""

    days: list[str] = Field(default=[], description="ISO days; empty: every day that has anomaly_scores")


def build_assets() -> list[dg.AssetsDefinition]:
    """Return the assets of this stage; none has partitions."""

    @dg.asset(group_name=GROUP, kinds={"pytorch", "plotly"}, pool="gpu")
    def mimii_benchmark(
        context: dg.AssetExecutionContext,
        config: LabelledConfig,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """Detectors on labelled machine sound, or on another labelled set, beside what is published of it."""
        from pathlib import Path

        from dasanom_assets.evaluation.labelled import chosen_channels, is_full, run, table
        from dasanom_assets.evaluation.labelled_report import headline, report
        from dasanom_assets.models.device import resolve_device
        from dasanom_assets.recordings.labelled_sets import LabelledSet, layout_of

        layout = layout_of(config.layout)
        dataset = LabelledSet(
            Path(config.root),
            layout,
            config.rate,
            chosen_channels(config.microphones, layout),
            snrs=tuple(config.snrs),
            machines=tuple(config.machines),
            ids=tuple(config.ids),
        )
        with LoggedProgress(context.log.info, len(dataset.files()), "files") as progress:
            torch_device = resolve_device(device)
            figures = run(
                dataset, settings, torch_device, pool=config.pool, say=context.log.info, progress=progress.update
            )
        name = config.name or figures["set"]
        urls = {
            suffix: store.write_bytes(f"reports/mimii_benchmark/{name}.{suffix}", content)
            for suffix, content in report(figures).items()
        }
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.path(urls["html"]),
                "dagster/uri": urls["html"],
                "picture": dg.MetadataValue.path(urls["png"]),
                "result": headline(figures),
                "full_set": is_full(figures),
                "groups_not_scored": len(figures["not_scored"]),
                "files_left_out": len(figures["left_out"]),
                "missing": figures["missing"],
                "means": dg.MetadataValue.text(table(figures)),
            }
        )

    everything = dg.AllPartitionMapping()

    @dg.asset(
        deps=[
            mimii_benchmark,
            "reference_model",
            *(
                dg.AssetDep(name, partition_mapping=everything)
                for name in ("embeddings", "anomaly_scores", "contractor_scores", "contractor_events")
            ),
        ],
        group_name=GROUP,
        kinds={"python", "plotly"},
    )
    def model_choice(
        context: dg.AssetExecutionContext,
        config: ChoiceConfig,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        """Report that lays all detectors side by side: quality, cost, false alarms, and where they disagree."""
        from dasanom_assets.evaluation.choice import gather
        from dasanom_assets.evaluation.choice_report import report

        figures = gather(store, config.days or store.days("anomaly_scores"), settings, context.log.info)
        urls = {
            suffix: store.write_bytes(f"reports/model_choice/model_choice.{suffix}", content)
            for suffix, content in report(figures).items()
        }
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.path(urls["html"]),
                "dagster/uri": urls["html"],
                "days": figures["days"],
                "sets": [labelled["set"] for labelled in figures["labelled"]],
                "detectors": figures["detectors"],
            }
        )

    return [mimii_benchmark, model_choice]
