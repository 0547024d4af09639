"""The ingredients of the tests of studies, for tunings."""

from study.conftest import backbone, bench, digits, recipe

__all__ = ["backbone", "bench", "digits", "recipe"]
