"""What the demo expects, written by hand. Rows are sources, columns targets: `+` may connect, `-` may not, `.` is itself.

Columns stand in the order of the rows. The two tables hold for IPv4 and for IPv6 alike.
"""

PORTS = (5432, 8080)

BEFORE = """
prod/database    .  +  +  +  +  +  +
prod/backend-1   +  .  +  +  +  +  +
prod/backend-2   +  +  .  +  +  +  +
prod/frontend-1  +  +  +  .  +  +  +
prod/frontend-2  +  +  +  +  .  +  +
dev/backend      +  +  +  +  +  .  +
dev/tester       +  +  +  +  +  +  .
"""

AFTER_5432 = """
prod/database    .  +  +  +  +  +  +
prod/backend-1   +  .  +  +  +  +  +
prod/backend-2   +  +  .  +  +  +  +
prod/frontend-1  -  +  +  .  +  +  +
prod/frontend-2  -  +  +  +  .  +  +
dev/backend      -  +  +  +  +  .  +
dev/tester       -  +  +  +  +  +  .
"""

AFTER_8080 = """
prod/database    .  +  +  +  +  +  +
prod/backend-1   -  .  +  +  +  +  +
prod/backend-2   -  +  .  +  +  +  +
prod/frontend-1  -  +  +  .  +  +  +
prod/frontend-2  -  +  +  +  .  +  +
dev/backend      -  +  +  +  +  .  +
dev/tester       -  +  +  +  +  +  .
"""

Table = dict[tuple[str, str], bool]
"""(from, to) to "may connect"."""


def parse_table(text: str) -> Table:
    """Read one of the tables above."""
    rows = [line.split() for line in text.strip().splitlines()]
    names = [row[0] for row in rows]
    return {
        (row[0], name): mark == "+" for row in rows for name, mark in zip(names, row[1:], strict=True) if mark in ("+", "-")
    }


def names_of(text: str) -> list[str]:
    """The endpoints of a table, in order."""
    return [line.split()[0] for line in text.strip().splitlines()]


EXPECTED_BEFORE: dict[int, Table] = {port: parse_table(BEFORE) for port in PORTS}
EXPECTED_AFTER: dict[int, Table] = {5432: parse_table(AFTER_5432), 8080: parse_table(AFTER_8080)}
