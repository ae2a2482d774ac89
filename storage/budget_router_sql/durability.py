"""What a ledger promises of a row once the method that was given it has returned."""

from typing import Literal

Durability = Literal["committed", "durable"]
"""What an acknowledged row survives: `committed` a killed process, `durable` a power cut as well, at some milliseconds a row.

| promise     | survives                      | SQLite (WAL)         | PostgreSQL                                             |
|-------------|-------------------------------|----------------------|--------------------------------------------------------|
| `durable`   | a power cut                   | `synchronous=FULL`   | `synchronous_commit=on`: standbys that must agree too  |
| `committed` | a process that is killed (-9) | `synchronous=NORMAL` | `synchronous_commit=local`: the server's own disk      |

PostgreSQL's `off` is not among them: a server process that is killed would take rows along that it had acknowledged.
"""
