"""What makes a training fast where it runs: compiled blocks, narrow weights, memory."""
