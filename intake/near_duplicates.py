"""Which texts nearly repeat each other, so that they stay on the same side of every split. Pure.

Similarity is the cosine of character 5-gram sets (words padded), after lower-casing: 1 for the same text, about 0.2
for two emails on the same matter by different people.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

NEAR = 0.8
"""From this similarity on two texts count as near-duplicates."""

_CHUNK = 512


def _grams(texts: Sequence[str]) -> csr_matrix:
    # imported here: scikit-learn takes a second, and only imports need it
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb", ngram_range=(5, 5), binary=True, norm="l2", alternate_sign=False, n_features=2**20
    )
    return csr_matrix(vectorizer.transform(texts))


def similar_pairs(texts: Sequence[str], *, near: float = NEAR) -> list[tuple[int, int, float]]:
    """Index pairs (i < j) of texts at least `near` alike, with their similarity in [0, 1]."""
    if len(texts) < 2:
        return []
    grams = _grams(texts)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(texts), _CHUNK):
        likeness = (grams[start : start + _CHUNK] @ grams.T).tocoo()
        near_enough = likeness.data >= near
        rows, columns = likeness.row[near_enough] + start, likeness.col[near_enough]
        found += [
            (int(i), int(j), float(v))
            for i, j, v in zip(rows, columns, likeness.data[near_enough], strict=True)
            if i < j
        ]
    return found


def clusters(texts: Sequence[str], *, near: float = NEAR) -> list[int]:
    """A cluster number for each text; texts linked by a chain of near-duplicates share one."""
    pairs = similar_pairs(texts, near=near)
    rows, columns = [i for i, _, _ in pairs], [j for _, j, _ in pairs]
    graph = csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(texts), len(texts)))
    return [int(label) for label in connected_components(graph, directed=False)[1]]


def near_ones(texts: Sequence[str], others: Sequence[str], *, near: float = NEAR) -> list[list[int]]:
    """For each text the indexes of the others that are at least `near` alike."""
    found: list[list[int]] = [[] for _ in texts]
    if not texts or not others:
        return found
    grams, beside = _grams(texts), _grams(others)
    for start in range(0, len(texts), _CHUNK):
        likeness = (grams[start : start + _CHUNK] @ beside.T).tocoo()
        near_enough = likeness.data >= near
        for i, j in zip(likeness.row[near_enough] + start, likeness.col[near_enough], strict=True):
            found[int(i)].append(int(j))
    return found
