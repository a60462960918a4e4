"""Tables that leave as CSV."""

import pandas as pd

_RUNS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula."""


def csv_bytes(table: pd.DataFrame) -> bytes:
    """The table as CSV for spreadsheets: UTF-8 with a mark, and no cell that would run as a formula."""

    def safe(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(_RUNS) else cell

    return table.map(safe).to_csv(index=False).encode("utf-8-sig")
