"""Judge a trained model: each evaluator yields (name, value)."""
