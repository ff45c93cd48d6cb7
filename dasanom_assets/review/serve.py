"""`dasanom review`: the app on this machine."""

import contextlib
import os
import stat
from pathlib import Path
from threading import Thread

import uvicorn

from dasanom_assets.review import worker
from dasanom_assets.review.app import Review, create_app, new_token
from dasanom_assets.review.day import day_view
from dasanom_assets.settings import Settings
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store

HOST = "127.0.0.1"
TOKEN = "review.token"
"""In DAGSTER_HOME or the folder of a local data root; only its owner can read it."""


def token_of(folder: Path) -> str:
    """Return the token that writers show; it is made once, and stays, so that what was opened stays open."""
    path = folder / TOKEN
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        if token := path.read_text().strip():
            return token
    folder.mkdir(parents=True, exist_ok=True)
    token = new_token()
    with (
        contextlib.suppress(FileExistsError),
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file,
    ):
        file.write(token)
    return path.read_text().strip()


def _gather_newest(review: Review) -> None:
    if days := review.store.days("anomaly_events"):
        with contextlib.suppress(Exception):  # who asks for it is told what is wrong
            _ = day_view(review, days[-1]).triage


def serve(settings: Settings, port: int, token: str | None) -> None:
    """Serve the app until it is interrupted.

    Parameters
    ----------
    settings : Settings
    port : int
        Of 127.0.0.1.
    token : str or None
        What writers must show; None: nobody writes.
    """
    store = Store(settings.data)
    if token:
        verdicts.renew(store)
    app = create_app(store, settings, token)
    # The first to ask for the newest day should not wait for it to be gathered.
    Thread(target=_gather_newest, args=(app.state.review,), daemon=True).start()
    # No access log: the link that writers open carries the token.
    config = uvicorn.Config(app, host=HOST, port=port, log_level="warning", access_log=False, server_header=False)
    try:
        uvicorn.Server(config).run()
    finally:
        worker.stop()
