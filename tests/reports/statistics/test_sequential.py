import numpy as np
import pytest
from fergan.reports.statistics.sequential import Look, label_excess, sample_excess, spending

REFERENCE = np.array([0.4, 0.3, 0.2, 0.1])
AT_LIMIT = np.array([0.45, 0.3, 0.2, 0.05])  # total variation 0.05: the hardest case that is allowed


def alarms(p_values: list[float]) -> bool:
    return any(Look(t, spending(t, 0.05), p).alarm for t, p in enumerate(p_values, 1))


def test_a_hundred_looks_spend_less_than_alpha() -> None:
    assert sum(spending(t, 0.05) for t in range(1, 101)) < 0.05
    with pytest.raises(ValueError):
        spending(0, 0.05)


@pytest.mark.parametrize("sample", [False, True])
def test_a_hundred_nights_at_the_limit_raise_few_false_alarms_and_drift_is_found(sample: bool) -> None:
    rng = np.random.default_rng(0)
    cried = naive = 0
    for _ in range(100):
        other = rng.multinomial(2000, REFERENCE)
        p = [
            sample_excess(counts, other, 0.05) if sample else label_excess(counts, REFERENCE, 0.05)
            for counts in rng.multinomial(500, AT_LIMIT, 100)
        ]
        cried += alarms(p)
        naive += min(p) <= 0.05
    assert cried <= 5
    assert sample or naive > cried, "looks at 5 % each would cry wolf: the simulation can tell"
    drifted = rng.multinomial(500, [0.2, 0.3, 0.2, 0.3])
    found = sample_excess(drifted, other, 0.05) if sample else label_excess(drifted, REFERENCE, 0.05)
    assert Look(50, spending(50, 0.05), found).alarm
