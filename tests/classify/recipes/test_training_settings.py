"""Settings of a training that cannot be are refused by name."""

import pytest
from fergan.classify.recipes import Augmentation
from fergan.runtime.errors import UsageError


@pytest.mark.parametrize("bad", [{"flip": 1.5}, {"crop": 60}, {"crop": 4}, {"mixup": -1}, {"rotation": 200}])
def test_what_cannot_be_is_refused(bad: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Augmentation(**bad)
