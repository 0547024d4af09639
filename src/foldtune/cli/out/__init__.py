"""Verbs about the way out: export, predict, embed, push."""
