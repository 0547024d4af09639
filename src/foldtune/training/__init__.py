"""Train a model's trainable parameters: recipe, loop, schedule, checkpoint. Knows no method."""
