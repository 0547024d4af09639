"""Tables of images: their cells, their rows, and where the files lie that they name."""
