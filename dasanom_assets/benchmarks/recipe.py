"""How sensitive scores and rates are to each constant of the recipe: half of it, and double.

``dasanom bench recipe --out docs/recipe.json`` prints the table of ``docs/recipe.md``. The
grounds are those that the recipe was chosen on: simulated sites with seeds below 100, and, with ``--street``, the
part of the recorded street that may be looked at. Networks take no part.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dasanom_assets import chain
from dasanom_assets.benchmarks.detection import events_within
from dasanom_assets.benchmarks.detection_tables import FIGURES, interval
from dasanom_assets.benchmarks.grounds import Ground, simulated_ground, street_ground
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.options import Out, Street, words
from dasanom_assets.benchmarks.simulated import evaluate_events, evaluate_windows, read_truth
from dasanom_assets.detection.reference.fitting import fit_reference
from dasanom_assets.detection.reference.inputs import Inputs
from dasanom_assets.detection.reference.model import Reference
from dasanom_assets.detection.reference.promise import expected_and_realised
from dasanom_assets.detection.scoring import TABLES, score_day
from dasanom_assets.models.training_set import build_manifest
from dasanom_assets.models.vae import Vae
from dasanom_assets.recordings.simulation.sites import draw_site
from dasanom_assets.settings import DetectionSettings, ReferenceSettings, Settings, VaeSettings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.schemas import with_score
from dasanom_assets.tables.store import Store

CHANGES: dict[str, tuple[float, float]] = {
    "windows": (5_000, 20_000),
    "contamination": (0.005, 0.02),
    "folds": (2, 8),
    "guard_seconds": (15, 60),
    "neighbours": (2, 10),
    "density": (0.25, 1.0),
    "rank_decay": (0.8, 0.95),
    "ranked_dimensions": (10, 40),
    "sharpness": (0.65, 2.6),
    "soft_dimensions": (4, 16),
    "spread_quantile": (0.8, 0.95),
    "support_seconds": (3, 12),
    "support_channels": (0.5, 2),
    "extend_share": (0.015, 0.06),
    "half_height": (0.25, 1.0),
    "block_seconds": (150, 600),
    "confidence": (0.8, 0.95),
    "tail_peaks": (25, 100),
    "most_shape": (0.15, 0.45),
    "place_m": (7.5, 30),
    "most_folds": (4, 16),
    "rate_channel_seconds": (5_000_000, 20_000_000),
    "replicates": (100, 400),
    "least_peaks": (5, 20),
    "hourly_from_days": (7, 28),
}
"""What stands for half and double; of a share or a decay, what is left to one is halved or doubled."""

FAMILIES = ("field", "roadside", "wet")
BUDGET = 1000.0


def measure(
    ground: Ground, recipe: ReferenceSettings, settings: Settings, manifest: dict[str, Any]
) -> dict[str, Any]:
    """Fit and score a ground with a recipe; return its figures."""
    store = Store(str(ground.root))
    settings = settings.model_copy(update={"reference": recipe})
    reference = fit_reference(store, manifest, None, "", settings, "cpu")
    faint = ground.days.get("faint", ground.days.get("planted", ""))
    counts = expected(store, ground.days["ordinary"], reference, settings)
    write(store, faint, reference, settings)
    scores = with_score(store.read_day("anomaly_scores", faint))
    ranking = evaluate_windows(scores, read_truth(store, faint, "activity"))
    events = events_within(scores, reference, settings, BUDGET)
    detected = evaluate_events(events, read_truth(store, faint, "events"))
    return {name: ranking[name] for name in FIGURES} | {
        "found": detected["n_found"],
        "threats": detected["n_threats"],
        "due": counts["expected"],
        "there": counts["realised"],
    }


def expected(store: Store, of_day: str, reference: Reference, settings: Settings) -> dict[str, float]:
    """Return expected and realised events of an ordinary day at the finest budget resolved from `BUDGET` on."""
    write(store, of_day, reference, settings)
    counts = expected_and_realised(store, of_day, reference)
    resolved = (count for budget, count in counts.items() if budget >= BUDGET)
    return next(resolved, {"expected": np.nan, "realised": 0})


def write(store: Store, of_day: str, reference: Reference, settings: Settings) -> None:
    """Write `anomaly_scores` of a day; its embeddings come from no trained network."""
    frames, bands = settings.spectrogram.row_shape
    vae = Vae(settings.window.seconds * frames, bands, VaeSettings(widths=(2,), latent=1))
    inputs = Inputs([], store, store, None, "cpu")
    rows = score_day(store, of_day, vae, reference, settings, inputs, "cpu")
    store.write_days(of_day, rows, {table: {} for table in TABLES})


def prepare(ground: Ground, settings: Settings, client: Any) -> dict[str, Any]:
    """Ingest a ground and return the manifest of its training set."""
    store = Store(str(ground.root))
    for of_day in (*ground.learned, *ground.days.values()):
        chain.ingest(store, of_day, settings, client)
    return build_manifest(store, ground.learned, settings)


def summary(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return the table in Markdown."""
    lines = [f"| constant | AUC | AP | partial AUC | found at {BUDGET:g} | realised ÷ due |", "|---" * 6 + "|"]
    for name, by_ground in rows.items():
        cells = [interval([row[figure] for row in by_ground]) for figure in FIGURES]
        detected, threats = (sum(row[key] for row in by_ground) for key in ("found", "threats"))
        due, there = np.nansum([row["due"] for row in by_ground]), sum(row["there"] for row in by_ground)
        lines.append(f"| {name} | {' | '.join(cells)} | {detected} of {threats} | {there} ÷ {due:.1f} |")
    return "\n".join(lines)


def main(
    out: Out = None,
    minutes: Annotated[float, typer.Option(help="of a day")] = 5,
    channels: Annotated[int, typer.Option(help="of each site")] = 32,
    street: Street = None,
    families: Annotated[str, typer.Option(help="of sites")] = ",".join(FAMILIES),
    constants: Annotated[str, typer.Option(help="to change")] = ",".join(CHANGES),
) -> None:
    """Run the benchmark."""
    settings = Settings().model_copy(update={"detection": DetectionSettings(detectors=("neighbours", "ranked"))})
    usual = settings.reference
    recipes = {"as it is": usual}
    for name in words(constants):
        for value in CHANGES[name]:
            changed = {name: type(getattr(usual, name))(value)}
            recipes[f"`{name}` {value:g}"] = ReferenceSettings(**(usual.model_dump() | changed))
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in recipes}
    places = [*words(families), *([None] if street else [])]
    for family in places:
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dasanom-recipe-")))
            if family is None and street is not None:
                ground = street_ground(street, root, "street, recorded", 0, held_back=False, counted=True)
            else:
                ground = simulated_ground(draw_site(str(family), 0, channels), root, minutes)
            client = stack.enter_context(open_client(settings.dask))
            manifest = prepare(ground, settings, client)
            for name, recipe in recipes.items():
                rows[name].append(measure(ground, recipe, settings, manifest))
                print(f"{ground.name}, {name}: {rows[name][-1]}", file=sys.stderr, flush=True)
        write_figures(out, {"rows": rows, "grounds": [name or "street, recorded" for name in places]})
    print(summary(rows))
