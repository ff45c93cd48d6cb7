"""What every asset carries besides its own words: owners, code version, column schema."""

import dagster as dg

from dasanom_assets.tables.columns import description
from dasanom_assets.tables.schemas import SCHEMAS, stored_schema

CODE_VERSION = "8"
"""Of assets that no step makes: raised when the same inputs would give other results."""
OWNERS = ["team:dasanom"]


def described(asset: dg.AssetsDefinition | dg.AssetSpec) -> dg.AssetsDefinition | dg.AssetSpec:
    """Return `asset` with owners, code version and, for tables, the column schema."""
    return (
        asset.map_asset_specs(_described)
        if isinstance(asset, dg.AssetsDefinition)
        else asset.replace_attributes(owners=OWNERS)
    )


def _described(spec: dg.AssetSpec) -> dg.AssetSpec:
    schema = SCHEMAS.get(spec.key.to_user_string())
    if schema is not None:
        table = spec.key.to_user_string()
        columns = [
            dg.TableColumn(field.name, str(field.type), description=description(table, field.name))
            for field in stored_schema(table, schema)
        ]
        spec = spec.merge_attributes(metadata={"dagster/column_schema": dg.TableSchema(columns)})
    return spec.replace_attributes(owners=OWNERS, code_version=spec.code_version or CODE_VERSION)
