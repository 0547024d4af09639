"""Labelled images: listed, split, decoded once, augmented on the device."""
