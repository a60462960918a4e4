"""Which texts nearly repeat each other, so that they stay on the same side of every split. Pure.

Similarity is the cosine of character 5-gram sets (words padded), after lower-casing: 1 for the same text, about 0.2
for two emails on the same matter by different people.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

MIN_SIMILARITY = 0.8
"""From this similarity on two texts count as near-duplicates."""

COMPARED = 50
"""Texts of one cluster that further texts are compared with; what lies near only to others of it may be missed."""

_CHUNK = 256


def _grams(texts: Sequence[str]) -> csr_matrix:
    # imported here: scikit-learn takes a second, and only imports need it
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb", ngram_range=(5, 5), binary=True, norm="l2", alternate_sign=False, n_features=2**20
    )
    return csr_matrix(vectorizer.transform(texts))


def _links(grams: csr_matrix, others: csr_matrix) -> coo_matrix:
    """Which rows are near-duplicates of which others."""
    similarity = (grams @ others.T).tocoo()
    near = similarity.data >= MIN_SIMILARITY
    places = (similarity.row[near], similarity.col[near])
    return coo_matrix((np.ones(near.sum(), dtype=bool), places), shape=similarity.shape)


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
    """A cluster number for each text; texts linked by a chain of near-duplicates share one.

    Further texts are compared with `COMPARED` of each cluster: thousands that are nearly the same stay cheap.
    """
    sets: DisjointSet[int] = DisjointSet()
    labels: list[int] = []
    blocks: list[tuple[csr_matrix, NDArray[np.int64]]] = []
    kept: Counter[int] = Counter()
    for start in range(0, len(texts), _CHUNK):
        grams = _grams(texts[start : start + _CHUNK])
        count, own = connected_components(_links(grams, grams), directed=False)
        clusters = own.astype(np.int64) + len(sets)
        for cluster in range(len(sets), len(sets) + count):
            sets.add(cluster)
        for others, theirs in blocks:
            links = _links(grams, others)
            for cluster, other in np.unique(np.stack([clusters[links.row], theirs[links.col]]), axis=1).T.tolist():
                sets.merge(cluster, other)
        fresh = []
        for row, cluster in enumerate(clusters.tolist()):
            kept[sets[cluster]] += 1
            if kept[sets[cluster]] <= COMPARED:
                fresh.append(row)
        blocks.append((grams[fresh], clusters[fresh]))
        labels += clusters.tolist()
    return [sets[label] for label in labels]


def find_near_duplicates(texts: Sequence[str], others: Sequence[str]) -> list[list[int]]:
    """For each text the indexes of the others that nearly repeat it."""
    indexes: list[list[int]] = [[] for _ in texts]
    if texts and others:
        for i, j, _ in _find_similar(_grams(texts), _grams(others), MIN_SIMILARITY):
            indexes[i].append(j)
    return indexes
