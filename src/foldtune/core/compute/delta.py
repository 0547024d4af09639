"""A change of one site's stored tensors, of which a method's edits consist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from foldtune.core.compute.lean import Pair, is_traced, was_found


class Delta(nn.Module):
    """A change of one site's stored tensors, as a function of them.

    `fold(weight, bias)` returns the changed pair. A delta may also define `call(x, layer)`, which
    gives the same output for a *called* Linear or Conv2d without building the changed weight, so
    that no gradient of weight size is ever computed; `layer(x)` is the output below this delta.
    """

    # False lets a reader of `bias` alone skip the folding of the weight.
    moves_bias: bool = True
    # False where the host writes over what the layer returns, so that no gradient may need it.
    lean: bool = True
    # How many times the learning rate of all else some of its own tensors take, by name.
    rate_times: Mapping[str, float] = {}
    # What the last pass that was asked found of its divisors, for blocks that are compiled.
    divides: bool | None = None
    call: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor] | None = None

    def divisors(self) -> Sequence[Pair]:
        """The scales, with their shifts, that its lean gradient divides by."""
        return ()

    def leanness(self) -> bool | None:
        """The `lean` of `core.lean`, as far as it is known."""
        if not self.lean:
            return False
        # A compiler is asked first: the id that it saw would tie its graph to this one delta, and
        # every block, and every run, would be compiled anew.
        return self.divides if is_traced() else was_found(id(self))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The changed weight and bias; shapes as stored, bias may be None."""
        raise NotImplementedError(f"{type(self).__name__} defines no fold(weight, bias)")
