"""One table of label orders, one spelling of each label."""

from __future__ import annotations

import doctest

import pytest
from fergan.data import labels
from fergan.data.labels import AFFECTNET, CKPLUS, CKPLUS_CSV, FERPLUS, KNOWN, NAMED, RAFDB, house_order, parse_labels
from fergan.data.readers.ferplus import COLUMNS


def test_every_order_is_of_known_labels_each_once() -> None:
    for order in (*NAMED.values(), CKPLUS, CKPLUS_CSV):
        assert len(set(order)) == len(order) and set(order) <= set(KNOWN)
        assert house_order(order) == tuple(name for name in KNOWN if name in order)
    assert {frozenset(order) for order in (FERPLUS, AFFECTNET, CKPLUS, CKPLUS_CSV)} == {frozenset(FERPLUS)}
    assert tuple(map(labels.canonical_label, COLUMNS[: len(FERPLUS)])) == FERPLUS
    assert not doctest.testmod(labels).failed


@pytest.mark.parametrize(
    "text", ["rafdb", " RAFDB ", ",".join(RAFDB), "Surprised, fear,DISGUST,happiness,sad,anger,neutral"]
)
def test_a_list_of_labels_or_the_name_of_an_order(text: str) -> None:
    assert parse_labels(text) == RAFDB
