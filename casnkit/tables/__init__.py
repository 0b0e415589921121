"""The paper's tables: measured beside published, one command for each.

:mod:`published` holds the numbers and where each stands, :mod:`plan` which networks a table asks for, :mod:`benchmarks`
finds the data, :mod:`run` trains and tests what is missing, :mod:`read` puts finished runs beside the published numbers,
:mod:`text` and :mod:`picture` show them.
"""

from .picture import show_table
from .plan import ROWS, TABLES, Plan, Row, make_plan
from .published import PUBLISHED, Published, other_systems, published
from .read import find_runs, read_table
from .run import measure
from .text import to_markdown, to_text, write_table

__all__ = [
    "PUBLISHED",
    "ROWS",
    "TABLES",
    "Plan",
    "Published",
    "Row",
    "find_runs",
    "make_plan",
    "measure",
    "other_systems",
    "published",
    "read_table",
    "show_table",
    "to_markdown",
    "to_text",
    "write_table",
]
