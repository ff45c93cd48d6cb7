"""Somebody is told: one address by Apprise, and a file of JSON lines; nothing is told twice."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pydantic import SecretStr

from dasanom_assets.tables.metadata import inert

SINGLY = 5
"""More notices at once are one message."""
LARGEST_BYTES = 8 << 20
"""A longer file of notices is cut to `KEPT` of them."""
KEPT = 5_000
"""Newest notices, beside those that could not be sent: some years of them; what is older is not told again."""
SHOWN = 50
"""Notices that one message names, at most; all are in the file."""


class NoticeError(RuntimeError):
    """Nobody could be told; the message says why, without the address."""


@dataclass(frozen=True)
class Notice:
    """Something that somebody should know.

    Attributes
    ----------
    identity : str
        The same for the same thing: it is told once.
    kind : str
        ``run``, ``check``, ``expected``, ``proposal``, ``fibre``, ``alarm``, ``digest`` or ``test``.
    title, text : str
        A line, and what else there is to say.
    link : str
        Where to look.
    """

    identity: str
    kind: str
    title: str
    text: str = ""
    link: str = ""


class Sink:
    """The file of notices, and the address that they are sent to.

    Parameters
    ----------
    file : Path
        Of JSON lines: each notice, and after it that it was sent.
    url : SecretStr, optional
        As Apprise takes it, as ``mailtos://…``, ``msteams://…`` or ``jsons://…``; without it the file is all.
    """

    def __init__(self, file: Path, url: SecretStr | None) -> None:
        self.file, self.url = file, url

    def tell(self, notices: Iterable[Notice]) -> list[Notice]:
        """Note notices that are new, and send them and those that could not be sent before.

        Returns
        -------
        list of Notice
            Those that are new.

        Raises
        ------
        NoticeError
            Where they cannot be sent. They are in the file, and the next call sends them.
        """
        with self._open() as file:
            known, sent = self._read(file)
            new = list({n.identity: n for n in notices if n.identity not in known}.values())
            for notice in new:
                self._write(file, asdict(notice))
            if self.url is None:
                return new
            waiting = [notice for notice in [*known.values(), *new] if notice.identity not in sent]
            for notice in self._sent(waiting):
                self._write(file, {"identity": notice.identity, "sent": True})
        return new

    def _sent(self, notices: list[Notice]) -> Iterator[Notice]:
        """Send notices, and yield each once it is; what a file says of itself is no link or markup there."""
        if len(notices) <= SINGLY:
            for notice in notices:
                text = map(inert, notice.text.splitlines())
                send(self.url, inert(notice.title), "\n".join(filter(None, [*text, notice.link])))
                yield notice
            return
        lines = [f"{inert(n.title)} {n.link}".strip() for n in notices[:SHOWN]]
        more = [f"… and {len(notices) - SHOWN} more"] if len(notices) > SHOWN else []
        send(self.url, f"dasanom: {len(notices)} notices", "\n".join([*lines, *more]))
        yield from notices

    @contextmanager
    def _open(self) -> Iterator[IO[str]]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with open(self.file, "a+", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(self.file)):
                    continue  # it was cut while this waited
                if os.fstat(file.fileno()).st_size > LARGEST_BYTES and self._cut(file):
                    continue
                yield file
                return

    def _cut(self, file: IO[str]) -> bool:
        """Keep the newest notices and those that were not sent, and say whether there were others."""
        known, sent = self._read(file)
        newest = list(known)[-KEPT:]
        waiting = [] if self.url is None else [identity for identity in known if identity not in sent]
        kept = set(newest) | set(waiting)
        if len(kept) == len(known):
            return False
        file.seek(0)
        short = self.file.with_name(f".{self.file.name}.partial")
        with open(short, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as target:
            target.writelines(line for line in file if _identity(line) in kept)
        os.replace(short, self.file)
        return True

    def _read(self, file: IO[str]) -> tuple[dict[str, Notice], set[str]]:
        file.seek(0)
        known: dict[str, Notice] = {}
        sent: set[str] = set()
        line = "\n"
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:  # a writer was killed in the middle of it
                continue
            if row.get("sent"):
                sent.add(row["identity"])
            else:
                row.pop("time", None)
                known[row["identity"]] = Notice(**row)
        if not line.endswith("\n"):  # what follows is a line of its own
            file.write("\n")
        return known, sent

    def _write(self, file: IO[str], row: dict[str, Any]) -> None:
        file.write(json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **row}) + "\n")
        file.flush()


def _identity(line: str) -> str:
    try:
        return str(json.loads(line)["identity"])
    except ValueError:  # a writer was killed in the middle of it
        return ""


def send(url: SecretStr | None, title: str, text: str) -> None:
    """Send one message.

    Raises
    ------
    NoticeError
        Where there is no address, it is none that Apprise knows, or it does not take the message.
    """
    if url is None:
        raise NoticeError("nobody is told: set DASANOM_NOTIFY__URL to an address as Apprise takes it")
    import apprise

    sender = apprise.Apprise()
    if not sender.add(url.get_secret_value()):
        raise NoticeError("DASANOM_NOTIFY__URL is no address that Apprise knows: see its documentation")
    if not sender.notify(body=text or title, title=title, body_format=apprise.NotifyFormat.TEXT):
        raise NoticeError(
            "the address of DASANOM_NOTIFY__URL did not take the message: is it right, and reachable?"
        )


def sink_of(home: str, url: SecretStr | None) -> Sink:
    """Return the sink of a DAGSTER_HOME."""
    return Sink(Path(home) / "notices.jsonl", url)
