"""Every type on PEFT's layers goes back to PEFT; slow, since PEFT tries a compiler for some."""

import pytest

from interop.test_peft_held import HELD, check_goes_back


# But for those that the suite itself sends back.
@pytest.mark.parametrize("kind", sorted(set(HELD) - {"VERA", "UNILORA", "SHIRA", "GLORA"}))
def test_every_type_goes_back(kind, tmp_path):
    check_goes_back(kind, tmp_path)
