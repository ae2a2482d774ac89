"""What a ledger promises of a record once the method that was given it has returned."""

from typing import Literal

Durability = Literal["queued", "committed", "durable"]
"""What an acknowledged record survives.

| promise     | returns when it is in | survives                  | SQLite (WAL)         | PostgreSQL                 |
|-------------|-----------------------|---------------------------|----------------------|----------------------------|
| `durable`   | the disk              | a power cut               | `synchronous=FULL`   | `synchronous_commit=on`    |
| `committed` | the database          | a killed process (-9)     | `synchronous=NORMAL` | `synchronous_commit=local` |
| `queued`    | memory                | nothing: acknowledges it  | `synchronous=NORMAL` | `synchronous_commit=off`   |
|             |                       | to nobody                 |                      |                            |

The first two share commits between all threads and coroutines that wait at the same time. Where a decision is executed for its
caller, the closings of its calls wait for its settlement, and are acknowledged with it: until then a call stands as opened, and
if its process dies an audit books it as estimated. Under a hard cap each is acknowledged for itself.
In a coroutine the decision's first calls are opened in one commit with it, before any of them is made; one that comes to nothing
is closed as not billed.

`queued` refuses nothing that the database would: what is wrong with a record, such as a decision that stands nowhere, is logged.
It is written within moments, at the latest as the ledger is closed or the process exits, on SIGTERM too. Where a spool takes what
the database does not, its disk counts. PostgreSQL's `off` stands behind no acknowledgement: a server process that is killed takes
rows along.
"""
