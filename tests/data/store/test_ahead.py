"""Images decoded ahead come in order, as the store decodes them, and few are in memory."""

import io

import numpy as np
import pytest
from PIL import Image

from foldtune.data.store.ahead import PixelJob, decoded_ahead
from foldtune.data.store.decode import Fit, decode

FIT = Fit(8)


def drawn(name):
    """An image that its name draws; of some names none. At the module's level, so that a process
    can be told of it."""
    number = int(name)
    if number % 10 == 3:
        return b"broken"
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (number % 256, 3 * number % 256, 9)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_images_come_in_order_and_broken_ones_in_their_places(workers):
    names = [str(number) for number in range(300)]
    seen = 0
    for found in decoded_ahead(names, drawn, FIT, workers):
        assert found.first == seen
        for place, pixels in enumerate(found.pixels):
            number = found.first + place
            assert (place in found.broken) == (number % 10 == 3)
            if place not in found.broken:
                assert (pixels == decode(drawn(names[number]), FIT)).all()
        seen += len(found.pixels)
    assert seen == len(names)


def test_who_stops_taking_stops_the_processes():
    results = decoded_ahead([str(n) for n in range(2000)], drawn, FIT, 2)
    next(results)
    results.close()  # joins threads and processes; hangs where one is left


def test_more_than_8_bits_stay_so():
    found = PixelJob(drawn, Fit(8, depth="uint16")).rows(0, ["1"])
    assert found.pixels.dtype == np.uint16
