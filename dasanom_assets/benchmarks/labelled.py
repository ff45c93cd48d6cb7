"""How well detectors find what others have labelled: machine sound, events of a phi-OTDR, any labelled DAS files.

``dasanom bench labelled <root> --out <folder>`` trains and scores each machine and id with
each detector and writes a report, a picture and all figures as JSON. A part of a data set is enough: what is
missing is said. Clips are read one at a time, and one group of them is in memory as levels.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from dasanom_assets.benchmarks.options import words
from dasanom_assets.evaluation.labelled import chosen_channels, run, table
from dasanom_assets.evaluation.labelled_report import report
from dasanom_assets.models.device import resolve_device
from dasanom_assets.recordings.labelled_sets import NORMAL, LabelledSet, Layout
from dasanom_assets.settings import Settings


def main(
    root: Annotated[Path, typer.Argument(help="folder of the set")],
    layout: Annotated[Layout, typer.Option(help="of the folders")] = "mimii",
    out: Annotated[
        Path | None,
        typer.Option(help="folder for report, picture and JSON; without it, the table is printed only"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="of the files in it, by default that of the root")] = None,
    microphones: Annotated[
        str | None,
        typer.Option(
            help="'all', or numbers from 0, of microphones or channels; by default 0 of mimii, all of others"
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="sampling rate, Hz, that files must have (bjtu: is taken to be)")
    ] = None,
    normal: Annotated[str, typer.Option(help="labels that are learned")] = ",".join(NORMAL),
    snrs: Annotated[str, typer.Option(help="only these folders (mimii)")] = "",
    machines: Annotated[str, typer.Option(help="only these folders (mimii)")] = "",
    ids: Annotated[str, typer.Option(help="only these folders (mimii)")] = "",
    pool: Annotated[bool, typer.Option("--pool", help="learn the ids of a machine together")] = False,
) -> None:
    """Run the benchmark."""
    settings = Settings()
    try:
        dataset = LabelledSet(
            root,
            layout,
            rate,
            chosen_channels(microphones and words(microphones), layout),
            *(tuple(words(labels)) for labels in (normal, snrs, machines, ids)),
        )
        total = len(dataset.files())
        with tqdm(total=total, unit="file", mininterval=2) as bar:
            figures = run(
                dataset,
                settings,
                resolve_device(settings.device),
                pool=pool,
                say=lambda line: bar.write(line, file=sys.stderr),
                progress=bar.update,
            )
    except (FileNotFoundError, ValueError) as error:
        print(f"labelled: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    for row in figures["not_scored"]:
        print(f"not scored: {row['group']}: {row['reason']}")
    for line in figures["missing"]:
        print(f"missing: {line}")
    print(table(figures, "rows"), table(figures), sep="\n\n")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        name = name or figures["set"]
        for suffix, content in report(figures).items():
            (out / f"{name}.{suffix}").write_bytes(content)
