"""The contract of a method, public, so that a third party's method can be held to it.

    from foldtune.testing import check_method
    check_method(MyMethod(rank=4))

runs every check on every tiny host that the method does not refuse. Single checks are in `CHECKS`,
tiny hosts (real classes, small sizes, random weights) in `TINY_HOSTS`.
"""

from __future__ import annotations

from collections.abc import Iterable

from foldtune.core.method import Method
from foldtune.errors import InputError
from foldtune.methods.catalogue import text_of
from foldtune.testing.checks import (
    Check,
    check_base_is_kept,
    check_call_equals_fold,
    check_compile,
    check_deepcopy_is_independent,
    check_detach,
    check_every_tensor_is_reached,
    check_export,
    check_interpolation,
    check_merge,
    check_only_the_tuning_moves,
    check_pickle,
    check_repr_rebuilds,
    check_save_and_load,
    check_start,
)
from foldtune.testing.hosts import TINY_HOSTS, build_host

CHECKS: tuple[Check, ...] = (
    check_repr_rebuilds,
    check_base_is_kept,
    check_start,
    check_every_tensor_is_reached,
    check_only_the_tuning_moves,
    check_call_equals_fold,
    check_merge,
    check_detach,
    check_deepcopy_is_independent,
    check_pickle,
    check_compile,
    check_export,
    check_save_and_load,
    check_interpolation,
)


def check_method(method: Method, hosts: Iterable[str] = tuple(TINY_HOSTS)) -> dict[str, str]:
    """Run every check on every host; return "passed" or the refusal's words per host.

    Raises AssertionError, naming check and host, at the first broken claim; InputError when the
    method refuses every host.
    """
    text_of(method)  # one of a notebook is known from here on
    verdicts: dict[str, str] = {}
    for host in hosts:
        try:
            for check in CHECKS:
                check(method, *build_host(host))
            verdicts[host] = "passed"
        except InputError as refusal:
            verdicts[host] = str(refusal)
        except AssertionError as error:
            raise AssertionError(f"{method!r} on {host}: {check.__name__}: {error}") from error
    if "passed" not in verdicts.values():
        raise InputError(f"{method!r} fits none of the hosts: {next(iter(verdicts.values()))}")
    return verdicts
