"""The settings that a step names: their values for its record, and a view in which there are no others."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from dasanom_assets.settings import Settings


def flattened(settings: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    """Return the fields of some sections, or some fields, of the settings, by their dotted names."""
    return dict(_leaves(settings, names))


def _leaves(settings: BaseModel, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        section, _, leaf = name.partition(".")
        value = getattr(settings, section)
        if not isinstance(value, BaseModel):
            yield name, json.loads(json.dumps(value, default=str))
            continue
        leaves = value.model_dump(mode="json", include={leaf} if leaf else None)
        yield from ((f"{section}.{key}", leaves[key]) for key in leaves)


def narrowed(settings: Settings, names: Iterable[str]) -> Settings:
    """Return settings that have nothing but some sections or fields: to read another one is an AttributeError.

    So a step cannot depend on a setting that it does not name.
    """
    named: dict[str, set[str]] = {}
    for name in names:
        section, _, leaf = name.partition(".")
        named.setdefault(section, set()).add(leaf)
    view = settings.model_copy()
    for section in type(settings).model_fields:
        if section not in named:
            del view.__dict__[section]
        elif "" not in named[section]:
            part = getattr(settings, section).model_copy()
            for leaf in type(part).model_fields:
                if leaf not in named[section]:
                    del part.__dict__[leaf]
            view.__dict__[section] = part
    return view
