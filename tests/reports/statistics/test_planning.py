import numpy as np
import pytest
from fergan.reports.statistics.correction.prevalence import estimate_prevalence
from fergan.reports.statistics.planning import plan

CONFUSION = np.array([[80, 10, 5], [15, 70, 10], [5, 20, 85]])
SHARES = np.array([0.5, 0.3, 0.2])


def test_the_half_width_is_that_of_the_interval() -> None:
    m = CONFUSION / CONFUSION.sum(axis=0)
    labels = np.concatenate([np.repeat(y, CONFUSION[:, y].sum()) for y in range(3)])
    said = np.concatenate([np.repeat(np.arange(3), CONFUSION[:, y]) for y in range(3)])
    faces = np.repeat(np.arange(3), np.round(4000 * m @ SHARES).astype(int))
    acc = estimate_prevalence(np.eye(3)[faces], labels, np.eye(3)[said], methods=("ACC",))["ACC"]
    planned = plan(("a", "b", "c"), CONFUSION, SHARES, n=len(faces))
    assert planned.half_width == pytest.approx((acc.high - acc.low) / 2, rel=0.06)


def test_the_planned_numbers_reach_the_target() -> None:
    small = plan(("a", "b", "c"), CONFUSION, SHARES, target=0.02)
    assert np.isinf(small.faces).all() and (small.floor > 0.02).all(), "100 faces a class are too few"
    factor = small.validation_factor.max()
    more = plan(("a", "b", "c"), factor * CONFUSION, SHARES, n=int(small.faces_then.max()), target=0.02)
    assert more.half_width.max() == pytest.approx(0.02, rel=0.02) and np.isfinite(more.faces).all()
    again = plan(("a", "b", "c"), factor * CONFUSION, SHARES, n=int(more.faces[0]), target=0.02)
    assert again.half_width[0] == pytest.approx(0.02, rel=0.01)


def test_what_cannot_be_planned_is_refused() -> None:
    for confusion in (np.ones((3, 3)), np.diag([9, 9, 0]), np.eye(2)):
        with pytest.raises(ValueError):
            plan(("a", "b", "c"), confusion, SHARES)
