"""Which texts nearly repeat each other, so that they stay on the same side of every split. Pure.

Similarity is the cosine of character 5-gram sets (words padded), after lower-casing: 1 for the same text, about 0.2
for two emails on the same matter by different people.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

MIN_SIMILARITY = 0.8
"""From this similarity on two texts count as near-duplicates."""

_CHUNK = 512


def _grams(texts: Sequence[str]) -> csr_matrix:
    # imported here: scikit-learn takes a second, and only imports need it
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb", ngram_range=(5, 5), binary=True, norm="l2", alternate_sign=False, n_features=2**20
    )
    return csr_matrix(vectorizer.transform(texts))


def _find_similar(grams: csr_matrix, others: csr_matrix, near: float) -> Iterator[tuple[int, int, float]]:
    """Row of `grams`, row of `others` and their similarity, wherever that is at least `near`."""
    for start in range(0, grams.shape[0], _CHUNK):
        similarity = (grams[start : start + _CHUNK] @ others.T).tocoo()
        high = similarity.data >= near
        rows, columns, values = similarity.row[high] + start, similarity.col[high], similarity.data[high]
        yield from zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True)


def similar_pairs(texts: Sequence[str], *, near: float = MIN_SIMILARITY) -> list[tuple[int, int, float]]:
    """Index pairs (i < j) of texts at least `near` alike, with their similarity in [0, 1]."""
    if len(texts) < 2:
        return []
    grams = _grams(texts)
    return [match for match in _find_similar(grams, grams, near) if match[0] < match[1]]


def cluster_labels(texts: Sequence[str]) -> list[int]:
    """A cluster number for each text; texts linked by a chain of near-duplicates share one."""
    pairs = similar_pairs(texts)
    rows, columns = [i for i, _, _ in pairs], [j for _, j, _ in pairs]
    graph = csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(texts), len(texts)))
    return [int(label) for label in connected_components(graph, directed=False)[1]]


def find_near_duplicates(texts: Sequence[str], others: Sequence[str]) -> list[list[int]]:
    """For each text the indexes of the others that nearly repeat it."""
    indexes: list[list[int]] = [[] for _ in texts]
    if texts and others:
        for i, j, _ in _find_similar(_grams(texts), _grams(others), MIN_SIMILARITY):
            indexes[i].append(j)
    return indexes
