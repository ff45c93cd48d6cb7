"""What an event in the Dagster UI says of a table or picture, as plain values."""

import base64
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dasanom_assets.tables.store import Store

if TYPE_CHECKING:  # heavy, and needed by those who draw only
    from matplotlib.figure import Figure

LARGEST_PICTURE = 30_000
"""Bytes of PNG that may go into an event: the event log keeps three copies of each."""


def day_metadata(store: Store, table: str, day: str, rows: int) -> dict[str, Any]:
    """Return the entries under which Dagster shows a partition's row count and place."""
    return {"dagster/partition_row_count": rows, "dagster/uri": store.url(store.day_path(table, day))}


_LIVE = str.maketrans({"[": "(", "]": ")", "<": "‹", ">": "›", "`": "'", "\n": " ", "\r": " "})


_ADDRESS = re.compile(r"www(?=\.)|@", re.IGNORECASE)
"""By which Dagster's UI knows a link to a page, or to write to somebody, beside the scheme of a URL."""


def inert(text: str) -> str:
    """Return text in which nothing is a picture, a link or HTML where it is shown as Markdown.

    Dagster's UI shows descriptions of checks so, and what a file says of itself may be in them.

    >>> inert("![x](/graphql?query=mutation) <b> http://example.org")
    '!(x)(/graphql?query=mutation) ‹b› http:/ /example.org'
    """
    return _ADDRESS.sub(r"\g<0> ", text.translate(_LIVE)).replace("://", ":/ /")


class LoggedProgress(tqdm):
    """A progress bar that writes a line to a log now and then, for runs that nobody watches at a terminal.

    Parameters
    ----------
    log : callable
        Takes one line of text.
    total : int
    unit : str
    seconds : float
        Least time between two lines.
    """

    def __init__(self, log: Callable[[str], object], total: int, unit: str, seconds: float = 10.0) -> None:
        self.log = log
        super().__init__(total=total, unit=unit, mininterval=seconds, maxinterval=seconds, file=io.StringIO())

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, unless nothing has been done yet."""
        d = self.format_dict
        if d["n"] and d["elapsed"]:
            rate = d["n"] / d["elapsed"]
            left = self.format_interval(max(0, d["total"] - d["n"]) / rate)
            done = 100 * d["n"] / max(1, d["total"])
            self.log(f"{done:.0f} %: {d['n']:,} {d['unit']}, {rate:,.0f} a second, {left} left")

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.n / max(self.format_dict["elapsed"], 1e-9)


def image(png: bytes) -> str:
    """Return a PNG as Markdown that the Dagster UI renders.

    Raises
    ------
    ValueError
        Where it is larger than `LARGEST_PICTURE`.
    """
    if len(png) > LARGEST_PICTURE:
        raise ValueError(f"a picture of {len(png)} bytes is too large for an event: at most {LARGEST_PICTURE}")
    return f"![](data:image/png;base64,{base64.b64encode(png).decode()})"


def png(figure: "Figure", dpi: int = 110) -> bytes:
    """Return a figure as PNG for a page."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dpi)
    return sink.getvalue()


def thumbnail(figure: "Figure") -> bytes:
    """Return a figure as PNG, with as many colours as fit into `LARGEST_PICTURE`, or the fewest and smaller."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    picture = Image.open(raw).convert("RGB")
    for colours in (128, 64, 32, 16, 8):
        sink = io.BytesIO()
        # Of Pillow's methods this one keeps the rare colours, and what is rare is what the picture is about.
        few = picture.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(sink, format="png", optimize=True)
        if sink.tell() <= LARGEST_PICTURE:
            return sink.getvalue()
    while sink.tell() > LARGEST_PICTURE:  # noise, as of a network that has hardly begun
        few = few.resize((few.width * 3 // 4, few.height * 3 // 4))
        sink = io.BytesIO()
        few.save(sink, format="png", optimize=True)
    return sink.getvalue()
