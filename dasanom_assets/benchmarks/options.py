"""Options that benchmarks share, and lists among them: parts with commas between, as ``field,wet``."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path | None, typer.Option(help="JSON file to write; without it, tables are printed only")]
Street = Annotated[
    Path | None, typer.Option(help="folder with the recordings of the street; without it, they are left out")
]


def words(text: str) -> list[str]:
    """Return the parts of a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    """Return the whole numbers of a list.

    Raises
    ------
    typer.BadParameter
        Naming what is no whole number.
    """
    try:
        return [int(part) for part in words(text)]
    except ValueError as error:
        raise typer.BadParameter(f"whole numbers with commas between, not {text!r}") from error
