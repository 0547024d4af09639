"""Fine-tune a frozen vision backbone, compare methods fairly, fold the winner back in."""

__version__ = "0.1.0"
