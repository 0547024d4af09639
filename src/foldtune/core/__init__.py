"""Surgery on any backbone: sites, edits, attachments, tuning files."""
