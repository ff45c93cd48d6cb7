"""Assets of the models stage: what is learned from, and the network that learned."""

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from dasanom_assets.settings import InfoGanSettings, Settings, VaeSettings
from dasanom_assets.tables.store import Store

GROUP = "models"

ONE_GPU = {"dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}}
"""By this op tag Kubernetes gives a GPU to the step that carries it, and to no other."""


class TrainingSetConfig(dg.Config):
    """Which days are learned from."""

    days: list[str] = Field(default=[], description="ISO days; empty: all that are whole and ingested")
    newest: int | None = Field(default=None, description="where days is empty: so many of the newest, at most")
    held_out: int = Field(default=0, description="where days is empty: so many at the end are left out")


class VaeConfig(dg.Config):
    """Settings of the VAE that one run may change; the rest come from `Settings.vae`."""

    max_epochs: int | None = Field(default=None, description="epochs at most")
    latent: int | None = Field(default=None, description="dimensions of the latent space")
    seed: int | None = Field(default=None, description="seed of weights, batches and noise")


class InfoGanConfig(dg.Config):
    """Settings of infoGAN that one run may change; the rest come from `Settings.infogan`."""

    max_epochs: int | None = Field(default=None, description="epochs")
    categories: int | None = Field(default=None, description="values of the categorical code")
    seed: int | None = Field(default=None, description="seed of weights, batches and noise")


def build_assets(days: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Return the assets of this stage; `days` are the partitions of the tables that they read."""

    @dg.asset(
        deps=[
            dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping())
            for name in ("spectrograms", "background", "channel_health", "common_levels")
        ],
        group_name=GROUP,
        kinds={"python"},
    )
    def training_set(
        context: dg.AssetExecutionContext,
        config: TrainingSetConfig,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        dask: dg.ResourceParam[Callable[[], Any]],
    ) -> dg.MaterializeResult:
        """Days and blocks of time to learn from, and how they split into training, validation and calibration."""
        from dasanom_assets.models import checkpoints
        from dasanom_assets.models.training_set import build_manifest, days_to_learn

        today = datetime.now(UTC).date().isoformat()
        days = config.days or days_to_learn(store, today, config.newest, config.held_out)
        manifest = build_manifest(store, days, settings, dask())
        version = checkpoints.save(store, "training_set", {}, manifest)
        checkpoints.set_latest(store, "training_set", version)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoints.digest(store, "training_set", version)),
            metadata={
                "version": version,
                "days": manifest["days"],
                "channel_seconds": manifest["channel_seconds"],
                "dagster/uri": store.url(f"models/training_set/{version}/model.json"),
            },
        )

    @dg.asset(deps=[training_set], group_name=GROUP, kinds={"pytorch"}, pool="gpu", op_tags=ONE_GPU)
    def vae_checkpoint(
        context: dg.AssetExecutionContext,
        config: VaeConfig,
        pipes: dg.PipesSubprocessClient,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """Variational autoencoder of normal windows: safetensors and JSON, versioned by digest."""
        changes = {name: value for name, value in config.model_dump().items() if value is not None}
        vae_settings = VaeSettings(**(settings.vae.model_dump() | changes))
        return _trained(context, pipes, store, "vae", vae_settings, device)

    @dg.asset(deps=[training_set], group_name=GROUP, kinds={"pytorch"}, pool="gpu", op_tags=ONE_GPU)
    def infogan_checkpoint(
        context: dg.AssetExecutionContext,
        config: InfoGanConfig,
        pipes: dg.PipesSubprocessClient,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """Windows made and judged, infoGAN with an encoder: safetensors and JSON, versioned by digest.

        Nothing is trained where `detection.detectors` does not name it.
        """
        if "infogan" not in settings.detection.detectors:
            return dg.MaterializeResult(metadata={"trained": False})
        changes = {name: value for name, value in config.model_dump().items() if value is not None}
        infogan_settings = InfoGanSettings(**(settings.infogan.model_dump() | changes))
        return _trained(context, pipes, store, "infogan", infogan_settings, device)

    return [training_set, vae_checkpoint, infogan_checkpoint]


def _trained(
    context: dg.AssetExecutionContext,
    pipes: dg.PipesSubprocessClient,
    store: Store,
    network: str,
    settings: BaseModel,
    device: str,
) -> dg.MaterializeResult:
    """Train a network in a process of its own, so that torch and CUDA stay out of the executor's.

    Raises
    ------
    dagster.Failure
        Where that process ended without a network; says why and what to do.
    """
    from dasanom_assets.models import checkpoints

    version = checkpoints.require_latest(store, "training_set", "materialize training_set first")
    command = [sys.executable, "-m", "dasanom_assets.models.process", network, "--data", store.url("")]
    command += ["--training-set", version, "--device", device, "--settings", settings.model_dump_json()]
    try:
        pipes.run(context=context, command=command)
    except Exception as error:
        if type(error).__name__ != "DagsterPipesExecutionError":  # which Dagster does not export
            raise
        raise dg.Failure(_why_ended(context.asset_key.to_user_string(), str(error))) from error
    # Not by a message: what is read while it is written may be cut in two, and a lost one would lose the network.
    made = checkpoints.outcome(store, network, version, settings.model_dump(mode="json"))
    pictures = {name: dg.MetadataValue.path(value) for name, value in made.items() if str(value).endswith(".png")}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(checkpoints.digest(store, network, made["version"])),
        metadata={
            "dagster/uri": store.url(f"models/{network}/{made['version']}/model.safetensors"),
            **made,
            **pictures,
        },
    )


def _why_ended(asset: str, error: str) -> str:
    """Return in words why a training's process ended, and what to do, from an error that ends in its status."""
    status = error.rsplit(maxsplit=1)[-1].lstrip("-")
    if "-" in error and status.isdecimal():
        name = signal.Signals(int(status)).name
        memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"{name} ended the training{memory}: materialize {asset} again, and it goes on from its last epoch"
    if status == str(os.EX_TEMPFAIL):
        return f"the training was told to stop: materialize {asset} again, and it goes on from there"
    return f"the training failed: the log above says why ({error})"
