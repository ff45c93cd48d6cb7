"""What it costs to score a day, in a process of its own.

``dasanom bench cost <data> <models> <day>`` scores a day of one data root by the live model
of another, and prints seconds by step, channel-seconds and peak memory as JSON.
"""

import json
from typing import Annotated

import typer

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import kilobytes
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store


def main(
    data: Annotated[str, typer.Argument(help="data root of the day")],
    models: Annotated[str, typer.Argument(help="data root of the live model")],
    day: Annotated[str, typer.Argument(help="ISO day")],
) -> None:
    """Score one day and print what it cost."""
    store = Store(data)
    seconds = chain.score(store, day, Settings(), Store(models))
    with store.open_day("spectrograms", day) as file:
        rows = file.metadata.num_rows
    print(json.dumps({"seconds": seconds, "channel_seconds": rows, "peak_mb": kilobytes("VmHWM") / 1024}))
