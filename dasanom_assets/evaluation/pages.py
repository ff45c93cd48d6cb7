"""Pages of this stage: Jinja2 templates that escape what they are given, unless it is `Markup`."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dasanom_assets.comparison.page import count, html_page, table


def page(template: str, title: str, **values: Any) -> bytes:
    """Return a page that needs no other file.

    Parameters
    ----------
    template : str
        Name of the template of what is within the page.
    title : str
    **values
        What the template shows: text and numbers, or `Markup` where they are HTML.
    """
    body = _TEMPLATES.get_template(template).render(title=title, **values)
    return html_page(escape(title), body).encode()


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> Markup:
    """Return an HTML table; a cell is text or `Markup`, or that and the number it is sorted by."""
    cells = [
        [(escape(cell[0]), cell[1]) if isinstance(cell, tuple) else escape(cell) for cell in row] for row in rows
    ]
    return Markup(table(names, cells, kind))


_TEMPLATES = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    loader=PackageLoader("dasanom_assets.evaluation"),
)
_TEMPLATES.globals |= {"count": count, "table": _table}
