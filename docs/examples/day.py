"""A day in ten lines, on a data root with a live model: ``python docs/examples/day.py 2026-01-09``."""

import sys

from dasanom_assets import chain
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.store import Store

settings, day = Settings(), sys.argv[1]
store = Store(settings.data)
with open_client(settings.dask) as client:
    chain.ingest(store, day, settings, client)
chain.score(store, day, settings)
print(chain.stale(store, day, settings, chain.SCORE) or "as it would be now")
print(store.read_day("anomaly_events", day).to_pandas())
