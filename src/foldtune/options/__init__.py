"""One vocabulary: every option of the command line is an argument of the same name in Python."""
