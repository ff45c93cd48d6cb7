"""What it costs to score a day, in a process of its own.

``python -m dasanom_assets.benchmarks.cost <data> <models> <day>`` scores a day of one data root by the live model
of another, and prints seconds by step, channel-seconds and peak memory as JSON.
"""

import argparse
import json
import sys

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import kilobytes
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store


def main(arguments: list[str] | None = None) -> int:
    """Score one day and print what it cost; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, meaning in {"data": "data root of the day", "models": "of the live model", "day": "ISO day"}.items():
        parser.add_argument(name, help=meaning)
    options = parser.parse_args(arguments)
    data, models, day = options.data, options.models, options.day
    store = Store(data)
    seconds = chain.score(store, day, Settings(), Store(models))
    with store.open_day("spectrograms", day) as file:
        rows = file.metadata.num_rows
    print(json.dumps({"seconds": seconds, "channel_seconds": rows, "peak_mb": kilobytes("VmHWM") / 1024}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
