"""How well detectors find what others have labelled: machine sound, events of a phi-OTDR, any labelled DAS files.

``python -m dasanom_assets.benchmarks.labelled <root> --out <folder>`` trains and scores each machine and id with
each detector and writes a report, a picture and all figures as JSON. A part of a data set is enough: what is
missing is said. Clips are read one at a time, and one group of them is in memory as levels.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from dasanom_assets.evaluation.labelled import chosen_channels, run, table
from dasanom_assets.evaluation.labelled_report import report
from dasanom_assets.models.device import resolve_device
from dasanom_assets.recordings.labelled_sets import LAYOUTS, NORMAL, LabelledSet
from dasanom_assets.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dasanom_assets.benchmarks.labelled", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="mimii")
    parser.add_argument("--out", type=Path, help="folder for report, picture and JSON (default: only the table)")
    parser.add_argument("--name", help="of the files in it (default: that of the root)")
    parser.add_argument(
        "--microphones",
        nargs="+",
        default=None,
        help="'all', or numbers from 0, of microphones or channels (default: 0 of mimii, all of others)",
    )
    parser.add_argument(
        "--rate", type=float, help="sampling rate, Hz, that files must have (bjtu: is taken to be)"
    )
    parser.add_argument(
        "--normal", nargs="+", default=NORMAL, help="labels that are learned (default: %(default)s)"
    )
    for name in ("snrs", "machines", "ids"):
        parser.add_argument(f"--{name}", nargs="+", default=(), help="only these folders (mimii)")
    parser.add_argument("--pool", action="store_true", help="learn the ids of a machine together")
    options = parser.parse_args(arguments)
    settings = Settings()
    dataset = LabelledSet(
        options.root,
        options.layout,
        options.rate,
        chosen_channels(options.microphones, options.layout),
        *(tuple(getattr(options, name)) for name in ("normal", "snrs", "machines", "ids")),
    )
    try:
        total = len(dataset.files())
        with tqdm(total=total, unit="file", mininterval=2) as bar:
            figures = run(
                dataset,
                settings,
                resolve_device(settings.device),
                pool=options.pool,
                say=lambda line: bar.write(line, file=sys.stderr),
                progress=bar.update,
            )
    except (FileNotFoundError, ValueError) as error:
        print(f"labelled: {error}", file=sys.stderr)
        return 1
    for row in figures["not_scored"]:
        print(f"not scored: {row['group']}: {row['reason']}")
    for line in figures["missing"]:
        print(f"missing: {line}")
    print(table(figures, "rows"), table(figures), sep="\n\n")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        name = options.name or figures["set"]
        for suffix, content in report(figures).items():
            (options.out / f"{name}.{suffix}").write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
