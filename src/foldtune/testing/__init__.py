"""For authors of methods: the contract, tiny hosts of every family, and what fits where."""

from foldtune.testing.checks import CLOSE as CLOSE
from foldtune.testing.checks import Check as Check
from foldtune.testing.checks import check_base_is_kept as check_base_is_kept
from foldtune.testing.checks import check_call_equals_fold as check_call_equals_fold
from foldtune.testing.checks import check_compile as check_compile
from foldtune.testing.checks import check_deepcopy_is_independent as check_deepcopy_is_independent
from foldtune.testing.checks import check_detach as check_detach
from foldtune.testing.checks import check_every_tensor_is_reached as check_every_tensor_is_reached
from foldtune.testing.checks import check_export as check_export
from foldtune.testing.checks import check_interpolation as check_interpolation
from foldtune.testing.checks import check_merge as check_merge
from foldtune.testing.checks import check_only_the_tuning_moves as check_only_the_tuning_moves
from foldtune.testing.checks import check_pickle as check_pickle
from foldtune.testing.checks import check_repr_rebuilds as check_repr_rebuilds
from foldtune.testing.checks import check_save_and_load as check_save_and_load
from foldtune.testing.checks import check_start as check_start
from foldtune.testing.contract import CHECKS as CHECKS
from foldtune.testing.contract import check_method as check_method
from foldtune.testing.hosts import CLASSES as CLASSES
from foldtune.testing.hosts import TINY_HOSTS as TINY_HOSTS
from foldtune.testing.hosts import build_host as build_host
from foldtune.testing.situations import SITUATIONS as SITUATIONS
from foldtune.testing.situations import check_host as check_host
