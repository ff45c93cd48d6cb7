"""What the pages of reports share: one HTML file each that opens offline, with its style, tables and figures.

Pages are Jinja2 templates that extend ``page.html.j2`` and escape what they are given, unless it is `Markup`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.io import to_html
from plotly.offline import get_plotlyjs


def count(n: int, name: str) -> str:
    """Return a number and a noun in the singular or plural."""
    return f"{n:,} {name}{'' if n == 1 else 's'}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many decimals, or a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:,.{digits}f}"


def between(row: Mapping[str, Any], name: str) -> str:
    """Return the interval of a measure, whose ends are columns of a row, in words.

    >>> between({"kappa_low": 0.1, "kappa_high": 0.333}, "kappa")
    '95 %: 0.10 to 0.33'
    """
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "no interval" if low is None else f"95 %: {number(low)} to {number(high)}"


def duration(seconds: float) -> tuple[str, float]:
    """Return a length of time as people read it, and in seconds, by which it is sorted."""
    text = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
    return text, seconds


def code(text: str) -> Markup:
    """Return text as HTML in the type of code."""
    return Markup("<code>{}</code>").format(text)


def templates(package: str) -> Environment:
    """Return the templates of a package, which find those of this one, too."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("dasanom_assets.comparison")]),
    )
    environment.globals |= {"count": count, "number": number}
    return environment


def render(environment: Environment, template: str, **values: Any) -> str:
    """Return a page that needs no other file.

    Parameters
    ----------
    environment : jinja2.Environment
        See `templates`.
    template : str
        Name of one that extends ``page.html.j2``.
    **values
        What it shows: text and numbers, or `Markup` where they are HTML.
    """
    return environment.get_template(template).render(plotly=Markup(get_plotlyjs()), **values)


def plot(figure: go.Figure, name: str) -> Markup:
    """Return a figure as HTML that draws itself on a page; `name` is unique on it."""
    return Markup(
        to_html(
            figure,
            config=_CONFIG | {"toImageButtonOptions": {"filename": name, "scale": 2}},
            include_plotlyjs=False,
            full_html=False,
            div_id=name,
        )
    )


# Plotly's own default offers a button that uploads the data of a figure to its maker.
_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
