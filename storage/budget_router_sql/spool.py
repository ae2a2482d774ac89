"""A local file that takes what the database does not, until it is back."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from budget_router.errors import ForeignLedger, LedgerUnavailable
from budget_router_sql.entries import Entry

DEFAULT_SPOOLED = 1_000_000
"""Most entries that wait in a spool: hours of a busy worker, about a gigabyte."""


class Spool:
    """Entries in the order they came, in a SQLite file that several workers of one machine may share.

    Args:
        path: of the file, made when it is missing.
        salt: of the ledger it belongs to; it is never replayed into another.
        is_durable: whether an entry survives a power cut, or a killed process only.
        n_most: entries that may wait; more are refused.

    Raises:
        ForeignLedger: the file belongs to another ledger, or is no spool.
        LedgerUnavailable: it cannot be opened, or, from `keep`, written.
    """

    def __init__(self, path: str | Path, *, salt: str, is_durable: bool, n_most: int = DEFAULT_SPOOLED) -> None:
        self.path = Path(path)
        self._n_most = n_most
        self._lock = threading.Lock()
        owner = hashlib.blake2b(salt.encode(), digest_size=16, person=b"spool").hexdigest()
        try:
            self._file = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
            try:
                owned_by = self._open(owner, salt=salt, synchronous="FULL" if is_durable else "NORMAL")
            except BaseException:
                self._file.close()
                raise
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the spool {str(self.path)!r} cannot be opened ({error}): name another file") from error
        if owned_by != owner:
            self._file.close()
            raise ForeignLedger(f"the spool {str(self.path)!r} belongs to another ledger: give each ledger a file of its own")

    def _open(self, owner: str, *, salt: str, synchronous: str) -> str:
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute(f"PRAGMA synchronous = {synchronous}")
        self._file.execute("PRAGMA secure_delete = ON")
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT PRIMARY KEY)")
        self._file.execute("CREATE TABLE IF NOT EXISTS waiting (position INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL)")
        self._file.execute("CREATE TABLE IF NOT EXISTS refused (position INTEGER PRIMARY KEY, entry TEXT NOT NULL, why TEXT)")
        self._file.execute("CREATE TABLE IF NOT EXISTS salted (salt TEXT NOT NULL)")
        if not self._file.execute("SELECT 1 FROM owner").fetchall():
            self._file.execute("INSERT INTO owner VALUES (?)", (owner,))
        ((owned_by,),) = self._file.execute("SELECT name FROM owner").fetchall()
        if owned_by == owner and not self._file.execute("SELECT 1 FROM salted").fetchall():
            self._file.execute("INSERT INTO salted VALUES (?)", (salt,))
        self._file.execute("COMMIT")
        return str(owned_by)

    def __len__(self) -> int:
        """Entries that wait; where several workers strike theirs out in turns, a little more."""
        with self._told(), self._lock:  # not counted one by one: they are struck out from the front
            ((n_waiting,),) = self._file.execute("SELECT coalesce(max(position) - min(position) + 1, 0) FROM waiting").fetchall()
        return int(n_waiting)

    def keep(self, entries: Sequence[Entry]) -> None:
        """Take entries in, all or none; raises LedgerUnavailable when they would not fit."""
        n_waiting = len(self)
        if n_waiting + len(entries) > self._n_most:
            raise LedgerUnavailable(
                f"the spool {str(self.path)!r} holds {n_waiting:,} entries of at most {self._n_most:,}: bring the database back"
            )
        rows = [(entry.to_json(),) for entry in entries]
        with self._told(), self._lock, self._file:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany("INSERT INTO waiting (entry) VALUES (?)", rows)

    def waiting(self, n_most: int) -> list[tuple[int, Entry]]:
        """The first entries that wait, with their places."""
        with self._told(), self._lock:
            rows = self._file.execute("SELECT position, entry FROM waiting ORDER BY position LIMIT ?", (n_most,)).fetchall()
        return [(position, Entry.from_json(text)) for position, text in rows]

    def replayed(self, positions: Sequence[int], refused: Sequence[tuple[int, str]]) -> None:
        """Strike out entries that the database has, and lay those aside that it refused, each with the reason."""
        with self._told(), self._lock, self._file:
            self._file.execute("BEGIN IMMEDIATE")
            for position, why in refused:
                move = "INSERT OR IGNORE INTO refused SELECT position, entry, ? FROM waiting WHERE position = ?"
                self._file.execute(move, (why, position))
            done = [(position,) for position in [*positions, *(position for position, _ in refused)]]
            self._file.executemany("DELETE FROM waiting WHERE position = ?", done)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerUnavailable(
                f"the spool {str(self.path)!r} cannot be used ({error}): make room on its disk, and allow writing to it"
            ) from error

    def close(self) -> None:
        """Let go of the file; closing twice changes nothing."""
        with self._lock, closing(self._file):
            pass


def known_salt(path: str | Path) -> str | None:
    """Salt of the ledger that a spool belongs to; `None` where there is no spool yet."""
    if not Path(path).exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=5)) as file:
            row = file.execute("SELECT salt FROM salted").fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])
