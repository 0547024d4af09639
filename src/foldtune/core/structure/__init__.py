"""What a backbone is made of, seen by watching one forward pass."""
