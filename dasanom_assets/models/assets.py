"""Assets of the models stage: what is learned from, and the network that learned."""

import dagster as dg
from pydantic import Field

from dasanom_assets.settings import Settings, VaeSettings
from dasanom_assets.tables.metadata import image
from dasanom_assets.tables.store import Store

GROUP = "models"

ONE_GPU = {"dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}}
"""By this op tag Kubernetes gives a GPU to the step that carries it, and to no other."""


class TrainingSetConfig(dg.Config):
    """Which days are learned from."""

    days: list[str] = Field(default=[], description="ISO days; empty: every day that has spectrograms")


class VaeConfig(dg.Config):
    """Settings of the VAE that one run may change; the rest come from `Settings.vae`."""

    max_epochs: int | None = Field(default=None, description="epochs at most")
    latent: int | None = Field(default=None, description="dimensions of the latent space")
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
    ) -> dg.MaterializeResult:
        """Days and blocks of time to learn from, and how they split into training, validation and calibration."""
        from dasanom_assets.models import checkpoints
        from dasanom_assets.models.training_set import build_manifest

        manifest = build_manifest(store, config.days or store.days("spectrograms"), settings)
        version = checkpoints.save(store, "training_set", {}, manifest)
        checkpoints.set_live(store, "training_set", version)
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
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
    ) -> dg.MaterializeResult:
        """Variational autoencoder of normal windows: safetensors and JSON, versioned by digest."""
        from dasanom_assets.models import checkpoints, figures
        from dasanom_assets.models.training import resolve_device, save_vae, train_vae
        from dasanom_assets.models.training_set import load_bank

        changes = {name: value for name, value in config.model_dump().items() if value is not None}
        vae_settings = VaeSettings(**(settings.vae.model_dump() | changes))
        training_set_version = checkpoints.require_live(store, "training_set", "materialize training_set first")
        _, manifest = checkpoints.load(store, "training_set", training_set_version)
        train, _ = load_bank(store, manifest, "train")
        validation, _ = load_bank(store, manifest, "validation")
        context.log.info(
            f"{len(train)} windows to train on, {len(validation)} to stop by, from {manifest['days']}"
        )
        where = resolve_device(device)
        trained = train_vae(
            train,
            validation,
            vae_settings,
            where,
            on_epoch=lambda epoch: context.log.info(epoch.line()),
            progress=True,
        )
        version = save_vae(store, trained, {"training_set": training_set_version, "days": manifest["days"]})
        best = trained.history[trained.best_epoch]
        if not best["collapsed"]:
            checkpoints.set_live(store, "vae", version)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoints.digest(store, "vae", version)),
            metadata={
                "version": version,
                "dagster/uri": store.url(f"models/vae/{version}/model.safetensors"),
                "device": where,
                "epochs": len(trained.history),
                "validation_loss": best["validation_loss"],
                "active_units": best["active_units"],
                "latent": vae_settings.latent,
                "collapsed": best["collapsed"],
                "loss": dg.MetadataValue.md(image(figures.loss_curves(trained.history))),
                "reconstructions": dg.MetadataValue.md(image(figures.reconstructions(trained.model, validation))),
            },
        )

    return [training_set, vae_checkpoint]
