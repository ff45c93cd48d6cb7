"""What the pages of reports share: one HTML file each that opens offline, with its style, tables and figures."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io import to_html
from plotly.offline import get_plotlyjs


def html_page(title: str, body: str) -> str:
    """Return a page that needs no other file.

    Parameters
    ----------
    title : str
        HTML.
    body : str
        HTML: header, sections and footer.
    """
    return _PAGE.format(title=title, style=_STYLE, plotly=get_plotlyjs(), body=body, script=_SCRIPT)


def plot(figure: go.Figure, name: str) -> str:
    """Return a figure as HTML that draws itself on a page of `html_page`; `name` is unique on it."""
    return to_html(
        figure,
        config=_CONFIG | {"toImageButtonOptions": {"filename": name, "scale": 2}},
        include_plotlyjs=False,
        full_html=False,
        div_id=name,
    )


def table(names: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> str:
    """Return an HTML table; a cell is HTML, or HTML and the number it is sorted by."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return f'<td data-value="{value[1]}">{value[0]}</td>'
    return f"<td>{value}</td>"


def count(n: int, name: str) -> str:
    """Return a number and a noun in the singular or plural."""
    return f"{n:,} {name}{'' if n == 1 else 's'}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many decimals, or a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:,.{digits}f}"


# Plotly's own default offers a button that uploads the data of a figure to its maker.
_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style><script>{plotly}</script></head>
<body><main>{body}</main><script>{script}</script></body></html>
"""

_STYLE = """
body { margin: 0; background: #f4f5f7; color: #24303d; line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px 20px 48px; }
header, section, footer { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 18px 24px;
  margin-bottom: 18px; }
h1 { margin: 0 0 4px; font-size: 28px; } h1 span { font-weight: 400; }
h2 { margin: 0 0 8px; font-size: 20px; } h3 { margin: 18px 0 0; font-size: 16px; }
p { margin: 6px 0 10px; max-width: 105ch; } .lead { font-size: 17px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 12px; }
.card { border: 1px solid #dfe3e8; border-top: 4px solid #c3c9d1; border-radius: 6px; padding: 10px 14px;
  display: flex; flex-direction: column; }
.card b { font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card small { color: #5b6773; font-size: 13px; }
.scroll { overflow: auto; max-height: 520px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; min-width: 50%; }
th, td { text-align: left; padding: 5px 18px 5px 8px; border-bottom: 1px solid #e6e9ed; white-space: nowrap; }
th { position: sticky; top: 0; background: #f4f5f7; font-weight: 600; }
.sortable { width: 100%; } .sortable th { cursor: pointer; } .sortable :is(th, td) { padding-right: 8px; }
.sortable th[aria-sort=ascending]::after { content: " ▲"; }
.sortable th[aria-sort=descending]::after { content: " ▼"; }
code { font-size: 13px; }
.chip::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 2px;
  margin-right: 7px; background: var(--c); }
footer { color: #46525f; } summary { cursor: pointer; }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent;
  heads.forEach((head, i) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => {
      const [x, y] = [value(a, i), value(b, i)];
      if (x === "–" || y === "–") return (x === "–") - (y === "–");  // what is not known stays last
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
  }));
}
"""
