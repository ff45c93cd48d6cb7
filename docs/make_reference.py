"""Write `docs/reference.md` from the code: settings, tables, assets and checks.

``python docs/make_reference.py`` writes it; a test holds it current.
"""

from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from dasanom_assets.comparison.scorecard import SCORECARD, TABLE
from dasanom_assets.definitions import defs
from dasanom_assets.settings import Settings
from dasanom_assets.tables.columns import description
from dasanom_assets.tables.schemas import KEYS, SCHEMAS, VECTOR, stored_schema

PAGE = Path(__file__).with_name("reference.md")


def reference() -> str:
    """Return the page."""
    parts = [
        "# Reference",
        "",
        "Made from the code by `docs/make_reference.py`; a test holds it current.",
        "",
        "## Settings",
        "",
        *settings(),
        "## Tables",
        "",
        "One Parquet file a day: `tables/<table>/day=<YYYY-MM-DD>/<table>.parquet` below the data root; "
        f"`{TABLE}` has one a month, in `month=<YYYY-MM>/`. Columns in "
        "bold name a row. The descriptions also stand in the files and in Dagster's pages.",
        "",
        *tables(),
        "## Assets and checks",
        "",
        *assets(),
    ]
    return "\n".join(parts)


def settings() -> list[str]:
    """Return a table of each section of the settings."""
    usual = Settings.model_construct()
    plain = {name: field for name, field in Settings.model_fields.items() if not is_section(usual, name)}
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in plain.items():
        default = "`data/`" if name == "data" else f"`{getattr(usual, name)}`"
        lines.append(f"| `DASANOM_{name.upper()}` | {default} | {field.description} |")
    lines.append("")
    for name in Settings.model_fields:
        if not is_section(usual, name):
            continue
        section = getattr(usual, name)
        doc = (type(section).__doc__ or "").strip().splitlines()[0]
        lines += [
            f"### `{name}`",
            "",
            doc,
            "",
            f"| `DASANOM_{name.upper()}__…` | default | meaning |",
            "|---|---|---|",
        ]
        for leaf, field in type(section).model_fields.items():
            meaning = field.description or "of whatever is drawn at random"
            lines.append(f"| `{leaf.upper()}` | `{getattr(section, leaf)}` | {escaped(meaning)} |")
        lines.append("")
    return lines


def is_section(usual: Settings, name: str) -> bool:
    """Whether a field of the settings is a section."""
    return isinstance(getattr(usual, name, None), BaseModel)


def tables() -> list[str]:
    """Return the columns of each table."""
    lines = []
    for table, schema in (SCHEMAS | {TABLE: SCORECARD}).items():
        lines += [f"### `{table}`", "", "| column | type | meaning |", "|---|---|---|"]
        for field in stored_schema(table, schema):
            name = f"**`{field.name}`**" if field.name in KEYS.get(table, ("month",)) else f"`{field.name}`"
            kind = "float32, fixed-size list" if field.type == VECTOR else kind_of(field.type)
            lines.append(f"| {name} | {kind} | {escaped(description(table, field.name))} |")
        if table == "anomaly_scores":
            for kind, name in (("float", "score_neighbours"), ("double", "p_neighbours")):
                lines.append(f"| `{name}`, … | {kind} | {description(table, name)} |")
        lines.append("")
    return lines


def kind_of(kind: pa.DataType) -> str:
    """Return a type in few words."""
    return str(kind).replace("list<element: ", "list of ").replace("list<item: ", "list of ").rstrip(">")


def assets() -> list[str]:
    """Return what each asset is, and the checks on it."""
    checks: dict[str, list[str]] = {}
    for key in defs.resolve_asset_graph().asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(f"`{key.name}`")
    lines = ["| asset | group | what it is | checks |", "|---|---|---|---|"]
    for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: (spec.group_name or "", spec.key)):
        name = spec.key.to_user_string()
        first = " ".join((spec.description or "").split("\n\n")[0].split())
        lines.append(
            f"| `{name}` | {spec.group_name} | {escaped(first)} | {', '.join(sorted(checks.get(name, [])))} |"
        )
    return [*lines, ""]


def escaped(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(reference())
