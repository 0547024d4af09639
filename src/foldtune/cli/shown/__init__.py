"""What verbs draw on a terminal: sentences first, then tables."""
