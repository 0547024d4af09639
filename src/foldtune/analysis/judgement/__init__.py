"""What one method's answers are like beyond one figure: by class, by threshold, by number."""
