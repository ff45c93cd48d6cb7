"""Train one network in a process of its own: from a command line, or started by Dagster through Pipes.

``python -m dasanom_assets.models.process vae`` trains on the latest training set of the data root and makes
what came of it. Pictures are drawn anew as epochs end, below ``reports/training/``. SIGINT and SIGTERM end it
with status 75, its state kept, and the same command goes on from there; after a kill, from the last epoch.
"""

import base64
import contextlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer
from dagster_pipes import PipesEnvVarParamsLoader, open_dagster_pipes
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from pydantic import BaseModel

from dasanom_assets.models import checkpoints
from dasanom_assets.models.cores import share_of_cores
from dasanom_assets.models.device import resolve_device
from dasanom_assets.models.figures import vae_figures
from dasanom_assets.models.infogan_figures import infogan_figures
from dasanom_assets.models.infogan_training import save_infogan, train_infogan
from dasanom_assets.models.training import save_vae, train_vae
from dasanom_assets.models.training_set import SPLITS
from dasanom_assets.models.training_windows import load_bank
from dasanom_assets.models.unfinished import Interrupted, Unfinished, stop_on_signals
from dasanom_assets.settings import InfoGanSettings, Settings, VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.metadata import png
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client

INTERRUPTED = os.EX_TEMPFAIL
"""Exit status of a training that was told to stop and kept its state."""

REFRESH, AT_WORK = Markup('<meta http-equiv="refresh" content="3">'), "at work"
"""What the page of a training has until its end."""

_TEMPLATES = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
    loader=PackageLoader("dasanom_assets.models"),
)

DRAWING_SHARE = 0.2
"""Share of the time of training that its pictures may take: where epochs are short, some are not drawn."""


class Trained(Protocol):
    """What a training function returns, and gives to `on_epoch` on its way."""

    @property
    def usable(self) -> bool:
        """Whether the network may be the latest one."""

    def lines(self) -> list[str]:
        """Return each epoch in one line of text."""

    def note(self) -> dict[str, Any]:
        """Return what is told of the training beside the network, JSON-serialisable."""


@dataclass(frozen=True)
class Network:
    """A kind of network.

    Attributes
    ----------
    settings : type
        Section of `Settings` that has the network's name.
    train : callable
        As `train_vae`.
    save : callable
        As `save_vae`.
    figures : callable
        From what was trained and windows that it was not trained on, its figures by name.
    """

    settings: type[BaseModel]
    train: Callable[..., Any]
    save: Callable[[Store, Any, dict[str, Any]], str]
    figures: Callable[[Any, WindowBank], dict[str, Figure]]


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
NETWORKS = {
    "vae": Network(VaeSettings, train_vae, save_vae, vae_figures),
    "infogan": Network(InfoGanSettings, train_infogan, save_infogan, infogan_figures),
}


@contextlib.contextmanager
def _cluster() -> "Iterator[Client | None]":
    """Yield a client of the cluster that the settings name; None where there is none, and threads do its work."""
    settings = Settings().dask
    if not settings.address:
        yield None
        return
    from dasanom_assets.spectrograms.cluster import open_client

    with open_client(settings) as client:
        yield client


def train_network(
    store: Store,
    name: str,
    training_set: str,
    settings: BaseModel,
    device: str,
    say: Callable[[str], object],
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a network on a stored training set, store it, and make it the latest where it is usable.

    Parameters
    ----------
    store : Store
    name : str
        One of `NETWORKS`.
    training_set : str
        Version.
    settings : BaseModel
        The network's section.
    device : str
        See `resolve_device`.
    say : callable
        Takes a line of text, one an epoch and a few before.
    stop : callable
        Asked before each step whether to stop.

    Returns
    -------
    dict
        What Dagster shows of it, with its ``version``; pictures are the URLs of PNG files. It is also in
        `checkpoints.outcome`, so that who started this process need not hear of it.

    Raises
    ------
    Interrupted
        Where `stop` says so; the state is kept, and the same call goes on from there.
    """
    network = NETWORKS[name]
    device = resolve_device(device)
    _, manifest = checkpoints.load(store, "training_set", training_set)
    with _cluster() as client:
        train, validation = (load_bank(store, manifest, name, client=client)[0] for name in SPLITS[:2])
    say(f"{len(train)} windows to train on, {len(validation)} to stop by, from {', '.join(manifest['days'])}")
    unfinished = Unfinished(
        store,
        name,
        {
            "training_set": training_set,
            "settings": settings.model_dump(mode="json"),
            "device": device,
            "code": [importlib.metadata.version("dasanom"), checkpoints.CODE[name]],
        },
    )
    if unfinished.load():
        say("going on from where this training was stopped")
    page = f"reports/training/{name}/index.html"
    say(f"pictures, new as epochs end: {store.url(page)}")

    draw_from = 0.0

    def on_epoch(so_far: Trained) -> None:
        nonlocal draw_from
        say(so_far.lines()[-1])
        if (began := time.monotonic()) >= draw_from:
            _write_page(store, page, name, so_far, network.figures(so_far, validation), finished=False)
            ended = time.monotonic()
            draw_from = ended + (ended - began) / DRAWING_SHARE

    # On a GPU, Dagster's pool and the one who starts a training by hand see to it that one has it alone.
    cores = share_of_cores(say, stop) if device == "cpu" else contextlib.nullcontext()
    try:
        with cores:
            trained = network.train(
                train, validation, settings, device, on_epoch, progress=True, unfinished=unfinished, stop=stop
            )
    except Interrupted:
        _mark_interrupted(store, page)
        raise
    version = network.save(store, trained, {"training_set": training_set, "days": manifest["days"]})
    if trained.usable:
        checkpoints.set_latest(store, name, version)
    figures = network.figures(trained, validation)
    pictures = _write_page(store, page, name, trained, figures, finished=True)
    folder = f"reports/training/{name}/version={version}"
    outcome = {
        "version": version,
        "training_set": training_set,
        "settings": settings.model_dump(mode="json"),
        "device": device,
        "pictures": store.url(page),
        **trained.note(),
        **{title: store.write_bytes(f"{folder}/{title}.png", drawn) for title, drawn in pictures.items()},
    }
    checkpoints.set_outcome(store, name, outcome)
    unfinished.discard()
    return outcome


@app.command(help=__doc__)
def main(
    network: Annotated[Literal["vae", "infogan"], typer.Argument()],
    data: Annotated[str | None, typer.Option(help="data root, by default DASANOM_DATA")] = None,
    training_set: Annotated[str, typer.Option(help="its version")] = "latest",
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:<n>, by default DASANOM_DEVICE")
    ] = None,
    settings: Annotated[str, typer.Option(help="what differs, as '{\"max_epochs\": 20}'")] = "{}",
) -> None:
    """Train a network; the exit status is 0, or `INTERRUPTED`."""
    raise typer.Exit(train_here(network, data, training_set, device, json.loads(settings)))


def train_here(
    network: str,
    data: str | None = None,
    training_set: str = "latest",
    device: str | None = None,
    changes: dict[str, Any] | None = None,
) -> int:
    """Train a network in this process and return the exit status; arguments are the options of the command."""
    defaults = Settings()
    store = Store(data or defaults.data)
    section = getattr(defaults, network).model_dump() | (changes or {})
    with stop_on_signals() as signalled, _dagster() as pipes:
        say = pipes.log.info if pipes else print
        parent = os.getppid()
        try:
            if training_set == "latest":
                training_set = checkpoints.require_latest(store, "training_set", "materialize training_set first")
            outcome = train_network(
                store,
                network,
                training_set,
                NETWORKS[network].settings(**section),
                device or defaults.device,
                say,
                # A step of Dagster that was killed takes nothing that its orphan would go on to make.
                lambda: signalled() or (pipes is not None and os.getppid() != parent),
            )
        except Interrupted as interrupted:
            say(str(interrupted))
            return INTERRUPTED
        except Exception as error:
            if pipes:
                pipes.log.error(f"{type(error).__name__}: {error}")
            raise
        if not pipes:
            print(f"{network} {outcome['version']}")
    return 0


@contextlib.contextmanager
def _dagster() -> Any:
    """Give the link to the step of Dagster that started this process; None where none did."""
    if PipesEnvVarParamsLoader().is_dagster_pipes_process():
        with open_dagster_pipes() as pipes:
            yield pipes
    else:
        yield None


def _write_page(
    store: Store, path: str, name: str, trained: Trained, figures: dict[str, Figure], *, finished: bool
) -> dict[str, bytes]:
    """Write the figures as PNG, and with the epochs' lines as one page that loads itself anew until the end.

    Returns the PNG by title.
    """
    pictures = {title: png(figure) for title, figure in figures.items()}
    folder = path.rpartition("/")[0]
    for title, content in pictures.items():
        store.write_bytes(f"{folder}/{title}.png", content)
    html = _TEMPLATES.get_template("training.html.j2").render(
        name=name,
        refresh="" if finished else REFRESH,
        state="finished" if finished else AT_WORK,
        lines=trained.lines(),
        pictures={title: base64.b64encode(content).decode() for title, content in pictures.items()},
    )
    store.write_bytes(path, html.encode())
    return pictures


def _mark_interrupted(store: Store, path: str) -> None:
    """Say on a page of a training at work that it no longer is."""
    if store.exists(path):
        html = store.read_bytes(path).decode()
        html = html.replace(REFRESH, "", 1).replace(f": {AT_WORK}</h1>", ": interrupted</h1>", 1)
        store.write_bytes(path, html.encode())


if __name__ == "__main__":
    try:
        status = app()
    except SystemExit as ended:
        status = ended.code or 0
    except Exception:
        traceback.print_exc()
        status = 1
    # A thread that pyarrow starts while the interpreter goes may abort it, and take the exit status with it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
