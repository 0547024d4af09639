"""Pictures as files: which formats are opened, what they may cost, and what their samples mean."""
