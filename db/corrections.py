"""Chains of Corrections: which ones somebody has corrected further. Pure."""

from collections.abc import Sequence


def corrected_further(corrections: Sequence[tuple[int, int | None, bool]]) -> set[int]:
    """Ids of the corrections that have a standing one somewhere below them, through withdrawn ones too.

    Args:
        corrections: id, the parent's id or None, and whether it stands; all of one reply, withdrawn ones included.
    """
    parents = {correction_id: parent for correction_id, parent, _ in corrections}
    found: set[int] = set()
    for correction_id, _, stands in corrections:
        above = parents[correction_id] if stands else None
        while above is not None and above not in found:
            found.add(above)
            above = parents.get(above)
    return found
