"""What every table's dataclass declares of its table."""

from typing import ClassVar


class Row:
    """One row of a table; see storage/tables.py."""

    __slots__ = ()
    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    references: ClassVar[dict[str, str]]
