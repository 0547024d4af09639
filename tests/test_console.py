"""Durations are said as people say them."""

import pytest

from foldtune.console import duration


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_read_well(seconds, said):
    assert duration(seconds) == said
