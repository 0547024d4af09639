"""Models between tunings and their starts, and averages of several."""
