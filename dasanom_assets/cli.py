"""The one command, `dasanom`: each of its parts is a function of a stage, called with what was typed."""

import os
import threading
import uuid
import warnings
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

PROJECT = Path(__file__).resolve().parents[1]
BENCHMARKS = (
    *("detection", "recipe", "temporal", "clustering", "ingest", "training"),
    *("machines", "labelled", "mnist", "simulated", "cost", "memory", "chain", "opening", "mutations"),
    *("kills", "season", "outages", "morning"),
)


class Benchmarks(TyperGroup):
    """The benchmarks, each imported where it is asked for: they are in a checkout only, and some import torch."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: D102
        return list(BENCHMARKS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: D102
        if cmd_name not in BENCHMARKS:
            return None
        if find_spec("dasanom_assets.benchmarks") is None:
            ctx.fail("Benchmarks come with a checkout of the repository, which this is not.")
        module = import_module(f"dasanom_assets.benchmarks.{cmd_name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, help=module.__doc__)(module.main)
        return typer.main.get_command(single)


Days = Annotated[list[str] | None, typer.Argument(help="ISO days, as 2026-01-05", metavar="[DAY]...")]
app = typer.Typer(
    help="Find what is unusual in distributed acoustic sensing recordings.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(
    typer.Typer(cls=Benchmarks, help="Run a benchmark: dasanom bench detection --help.", no_args_is_help=True),
    name="bench",
)
console = Console(highlight=False, markup=False)  # brackets in names are no markup


def set_home() -> Path:
    """Set DAGSTER_HOME where it is not, to a folder of its own, and link the project's dagster.yaml into it."""
    project = PROJECT if (PROJECT / "dagster.yaml").exists() else Path.cwd()
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(project / ".dagster")))
    home.mkdir(parents=True, exist_ok=True)
    link = home / "dagster.yaml"
    if link.is_symlink() and not link.exists():  # the project was moved
        link.unlink()
    if home.resolve() != project and not link.exists() and (project / "dagster.yaml").exists():
        link.symlink_to(project / "dagster.yaml")
    return home


@app.command()
def run(
    port: Annotated[int, typer.Option(help="of the UI on 127.0.0.1")] = 3000,
    exit_: Annotated[bool, typer.Option("--exit", help="stop the UI once everything is materialized")] = False,
) -> None:
    """Materialize what is missing, and serve the UI."""
    from dasanom_assets.orchestration import run as chain

    set_home()
    raise typer.Exit(chain.run(port, keep=not exit_))


@app.command()
def web(
    port: Annotated[int, typer.Option(help="on 127.0.0.1")] = 3000,
    workspace: Annotated[Path, typer.Option(help="which says where the code location is")] = PROJECT
    / "workspace.yaml",
    read_only: Annotated[bool, typer.Option("--read-only", help="for analysts: nothing can be changed")] = False,
) -> None:
    """Serve the UI alone, where the daemon and the code location are services of their own."""
    from dasanom_assets.orchestration.webserver import serve
    from dasanom_assets.settings import Settings

    set_home()
    serve(port, workspace, Settings().web.hosts, read_only=read_only)


@app.command()
def simulate(
    data: Annotated[str | None, typer.Option(help="data root, a local folder; by default DASANOM_DATA")] = None,
    first_day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="ISO day")] = datetime(2026, 1, 5),
    days: Annotated[int, typer.Option(min=1, help="number of days")] = 4,
    threat_days: Annotated[int, typer.Option(min=0, help="threats happen on the last of them")] = 1,
    hour: Annotated[int | None, typer.Option(help="UTC hour of the start")] = None,
    minutes: Annotated[float | None, typer.Option(help="minutes a day")] = None,
    channels: Annotated[int, typer.Option(help="number of channels, from channel 100 on")] = 48,
    site: Annotated[
        str | None, typer.Option(help="field, roadside, street, wet or plant; by default the line of the README")
    ] = None,
    fibre: Annotated[str | None, typer.Option(help="its name; by default north, or <site>-<seed>")] = None,
    seed: Annotated[int | None, typer.Option(help="another seed, another line")] = None,
    contractor: Annotated[bool, typer.Option(help="write the contractor's probabilities and power")] = True,
    force: Annotated[bool, typer.Option("--force", help="replace recordings of the fibre on these days")] = False,
) -> None:
    """Simulate recordings of a line, what a contractor says of them, and the truth in truth/."""
    from dasanom_assets.recordings.simulation.simulate import drawn_line, simulate_days
    from dasanom_assets.settings import Settings
    from dasanom_assets.tables.store import Store

    store = Store(data or Settings().data)
    chosen = {"hour": hour, "minutes": minutes, "fibre": fibre, "seed": seed}
    if not store.is_local:
        raise typer.BadParameter("--data must be a local folder")
    if threat_days > days:
        raise typer.BadParameter(f"--threat-days {threat_days} of {days} days cannot be")
    try:
        line = drawn_line(site, channels, **{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    root, dates = Path(store.full("")), [first_day.date() + timedelta(days=i) for i in range(days)]
    try:
        simulate_days(line, dates, root, threat_days=threat_days, contractor=contractor, force=force)
    except OSError as error:
        console.print(f"dasanom simulate: {error}", soft_wrap=True)
        raise typer.Exit(1) from error
    size = f"{len(line.channels)} channels and {line.minutes:g} minutes each"
    threats = f"threats on the last {threat_days}" if threat_days else "no threats"
    console.print(
        f"Simulated {days} days of fibre {line.fibre}, {size}, {threats}, in {root / 'landing'}; what is true is "
        f"in {root / 'truth'}",
        soft_wrap=True,
    )


@app.command()
def train(days: Days = None) -> None:
    """Learn what is normal from some days, all whole ones by default, and make it the live model."""
    config = {"ops": {"training_set": {"config": {"days": days or []}}}}
    raise typer.Exit(execute("train", run_config=config))


@app.command()
def propose() -> None:
    """Learn from the newest days, and hold the model against the live one on the last; see `dasanom promote`."""
    raise typer.Exit(execute("propose"))


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="of a reference model: a proposed one, or an earlier one")],
    anyway: Annotated[bool, typer.Option("--anyway", help="also where a check has refused it")] = False,
) -> None:
    """Make a model live."""
    config = {"ops": {"live_model": {"config": {"version": version, "anyway": anyway}}}}
    raise typer.Exit(execute("promote", run_config=config))


@app.command()
def score(days: Days = None) -> None:
    """Ingest, score and report days, all in landing/ by default, as far as they are stale."""
    from dasanom_assets import chain
    from dasanom_assets.models.checkpoints import live
    from dasanom_assets.recordings.landing import delivered_days, recordings_notes
    from dasanom_assets.settings import Settings
    from dasanom_assets.tables.assets import STALE_ONLY
    from dasanom_assets.tables.store import Store

    status, settings = 0, Settings()
    store = Store(settings.data)
    first = settings.first_day

    def known() -> list[str]:
        return delivered_days(store, recordings_notes(store, store.days("recordings")), first)

    if unknown := sorted(set(days or []) - set(known())):
        console.print(f"{', '.join(unknown)}: no recordings, before DASANOM_FIRST_DAY {first}, or in the future")
        raise typer.Exit(2)
    for job, steps in {"ingest": chain.INGEST, "rescore": (*chain.SCORE, *chain.COMPARE)}.items():
        if job == "rescore" and live(store, "reference_model") is None:
            console.print("There is no model to score with: run `dasanom train` first.")
            raise typer.Exit(1)
        seen: set[str] = set()
        # A recording runs past midnight into days that only the ingest of the one before tells of.
        while day := next((other for other in days or known() if other not in seen), None):
            seen.add(day)
            if chain.stale(store, day, settings, steps):
                status = execute(job, day, tags={STALE_ONLY: "true"}) or status
            else:
                console.print(f"{job} {day}: nothing is missing")
    raise typer.Exit(status)


@app.command()
def review(
    port: Annotated[int, typer.Option(help="of 127.0.0.1")] = 3100,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="let who opens the printed link judge alarms")
    ] = False,
) -> None:
    """Serve the analyst's pages: days, alarms down to their bytes, verdicts."""
    from dasanom_assets.review.serve import serve, token_of
    from dasanom_assets.settings import Settings

    token, settings = token_of(set_home()) if verdicts else None, Settings()
    here, public = f"http://127.0.0.1:{port}", settings.reports.url.rstrip("/")
    url = public if public.startswith("https://") else here  # that of the proxy before it
    console.print(f"{url}/" + (f"enter?token={token}" if token else ""), soft_wrap=True)
    serve(settings, port, token)


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="a recording", exists=False)]) -> None:
    """Say what a file is taken for, whose signal it is and what decided that, or why it is refused."""
    from dasanom_assets.recordings.catalogue import catalogue_files
    from dasanom_assets.recordings.site_rules import SitesError
    from dasanom_assets.settings import Settings
    from dasanom_assets.tables.store import Store

    if not file.is_file():
        console.print(f"{file} is no file", soft_wrap=True)
        raise typer.Exit(1)
    path = Path(os.path.abspath(file))  # not resolved: landing/ may be a link
    # In landing/, folders tell of the fibre, and rules of the site are looked for beside it.
    root = next((folder.parent for folder in path.parents if folder.name == "landing"), path.parent)
    try:
        catalogue = catalogue_files(
            Store(str(root)), [path.relative_to(root).as_posix()], limits=Settings().limits
        )
    except SitesError as error:
        console.print(str(error), soft_wrap=True)
        raise typer.Exit(1) from error
    for refusal in catalogue.refused:
        console.print(f"refused: {refusal.reason}", soft_wrap=True)
    table = Table(show_header=False, box=None)
    for row in catalogue.recordings.to_pylist():
        row = {"fibre": row.pop("fibre"), "fibre_from": row.pop("fibre_from"), **row}
        for name, value in row.items():
            words = "; ".join(value) or "none" if isinstance(value, list) else str(value)
            table.add_row(name, "not said" if value is None else words)
    console.print(table)
    raise typer.Exit(0 if catalogue.recordings.num_rows else 1)


@app.command()
def doctor(port: Annotated[int, typer.Option(help="of the UI on 127.0.0.1")] = 3000) -> None:
    """Say what is misconfigured or missing, and the fix; the exit status is 1 where there is something."""
    from dasanom_assets.orchestration.doctor import examine

    set_home()
    findings = list(examine(port))
    for finding in findings:
        console.print(finding.problem, style="bold", soft_wrap=True)
        console.print(f"  {finding.remedy}", soft_wrap=True)
    if not findings:
        console.print("Nothing is wrong that could be seen from here.")
    raise typer.Exit(1 if findings else 0)


@app.command()
def notify(
    test: Annotated[bool, typer.Option("--test", help="send a message that says that messages arrive")] = False,
) -> None:
    """Show what somebody was told last, or send a test message to DASANOM_NOTIFY__URL."""
    import json

    from dasanom_assets.orchestration.notices import NoticeError, send
    from dasanom_assets.settings import Settings

    home = set_home()
    if test:
        try:
            send(Settings().notify.url, "dasanom: a test message", "Messages of dasanom arrive here.")
        except NoticeError as error:
            console.print(str(error), soft_wrap=True)
            raise typer.Exit(1) from error
        console.print("Sent.")
        return
    file = home / "notices.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for row in [row for row in rows if "title" in row][-20:]:
        console.print(f"{row['time']}  {row['title']}: {row['text']}", soft_wrap=True)


def execute(job: str, partition: str | None = None, **how: Any) -> int:
    """Run a job in this process, recorded where `dasanom run` shows it; return the exit status."""
    from dagster import BetaWarning, DagsterInstance, PreviewWarning

    for category in (BetaWarning, PreviewWarning):  # they are about Dagster, and for who changes the project
        warnings.simplefilter("ignore", category)
    from dasanom_assets.definitions import defs
    from dasanom_assets.orchestration.news import News

    set_home()
    name = f"{job} {partition}" if partition else job
    config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **how.pop("run_config", {})}
    with DagsterInstance.get() as instance:
        run_id = str(uuid.uuid4())
        news, ended = News(instance, run_id, name), threading.Event()

        def tell() -> None:
            while not ended.wait(0.5):
                for line in news.lines():
                    console.print(line, soft_wrap=True)

        follower = threading.Thread(target=tell, daemon=True)
        follower.start()
        try:
            done = defs.resolve_job_def(job).execute_in_process(
                config, instance=instance, partition_key=partition, run_id=run_id, raise_on_error=False, **how
            )
        finally:
            ended.set()
            follower.join()
        for line in news.lines():
            console.print(line, soft_wrap=True)
    if not done.success:
        console.print(f"{name} failed: `dasanom run` shows the run {run_id}", soft_wrap=True)
    return 0 if done.success else 1


def main() -> None:
    """Run the command."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # runs side by side share the cores
    app()


if __name__ == "__main__":
    main()
