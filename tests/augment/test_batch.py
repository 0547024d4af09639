"""Crop and flip are drawn per image on the CPU, lose nothing and repeat bit for bit."""

import math

import pytest
import torch

from foldtune.augment.batch import Normalise, augment, draw_boxes, to_float
from foldtune.errors import InputError

LINEAR = ("flip", "crop")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(16, 3, 20, 28, generator=seeded(9))


def test_to_float_is_torchvisions_normalisation():
    from torchvision.transforms.v2 import functional as reference

    batch = torch.randint(0, 256, (4, 6, 5, 3), dtype=torch.uint8, generator=seeded())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = reference.to_dtype(batch.permute(0, 3, 1, 2), torch.float32, scale=True)
    expected = reference.normalize(expected, list(mean), list(std))
    result = to_float(batch, mean, std)
    # It multiplies by 1/255 where we divide by 255: one rounding.
    assert torch.allclose(result, expected, rtol=1e-6, atol=1e-6)
    assert result.is_contiguous()


def test_mean_zero_and_std_one_leave_zero_to_one():
    batch = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    assert to_float(batch, (0, 0, 0), (1, 1, 1)).flatten().tolist() == [0, 1, pytest.approx(0.2)]


def test_a_full_box_gives_the_images_back(images):
    result = augment(images, ("crop",), seeded(), scale=(1, 1), ratio=(1, 1))
    # 20 x 28 is no square: the aspect of a box counts pixels, so no box of ratio 1 fits whole and
    # the whole image is taken. 1e-4 is the rounding of the float32 sampling grid.
    assert torch.allclose(result, images, atol=1e-4)
    square = images[..., :20]
    result = augment(square, ("crop",), seeded(), scale=(1, 1), ratio=(1, 1))
    assert torch.allclose(result, square, atol=1e-4)


def test_a_crop_is_the_box_resized(images):
    from torchvision.transforms.v2 import functional as reference

    from foldtune.augment.batch import _crop

    boxes = torch.tensor([[4 / 20, 7 / 28, 10 / 20, 14 / 28]]).double().repeat(16, 1)
    expected = reference.resize(images[:, :, 4:14, 7:21], [20, 28], antialias=True)
    # At the box's rim the reference repeats the last pixel of the box, ours reads the image.
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(_crop(images, boxes)[inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize("kinds", [("flip",), ("crop",), ("flip", "crop")])
def test_equal_generators_give_equal_bits(images, kinds):
    assert torch.equal(augment(images, kinds, seeded(4)), augment(images, kinds, seeded(4)))
    assert not torch.equal(augment(images, kinds, seeded(4)), augment(images, kinds, seeded(5)))


def test_the_order_of_the_kinds_does_not_matter(images):
    one, other = (augment(images, kinds, seeded()) for kinds in (("flip", "crop"), LINEAR))
    assert torch.equal(one, other)


def test_each_image_is_flipped_by_its_own_draw(images):
    result = augment(images, ("flip",), seeded())
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(result, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(result, images, strict=True)]
    assert [not f for f in flipped] == kept
    assert 0 < sum(flipped) < 16


def test_each_image_gets_its_own_crop():
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16).repeat(8, 1, 1, 1)
    corners = augment(ramp, ("crop",), seeded())[:, 0, 0, 0]
    assert len(set(corners.tolist())) == 8


def test_no_kinds_change_nothing(images):
    assert augment(images, (), seeded()) is images


def test_the_input_is_left_alone(images):
    before = images.clone()
    augment(images, LINEAR, seeded())
    assert torch.equal(images, before)


def test_augmentation_commutes_with_normalisation(images):
    normalise = Normalise((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    first = normalise(augment(images, LINEAR, seeded()))
    last = augment(normalise(images), LINEAR, seeded())
    assert torch.allclose(first, last, atol=1e-5)


def test_half_precision_is_cropped_where_full_precision_is(images):
    half = augment(images.bfloat16(), ("crop",), seeded())
    assert half.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits, so values below 1 are off by 1/256 at most; here twice rounded.
    assert torch.allclose(half.float(), augment(images, ("crop",), seeded()), atol=2 / 256)


@pytest.mark.parametrize("shape", [(10, 10), (10, 15), (32, 16)])
def test_boxes_lie_inside_and_have_the_drawn_area_and_aspect(shape):
    boxes = draw_boxes(4000, shape, (0.25, 0.6), (3 / 4, 4 / 3), seeded())
    top, left, height, width = boxes.unbind(1)
    assert boxes.min() >= 0
    assert (top + height).max() <= 1 + 1e-12
    assert (left + width).max() <= 1 + 1e-12
    area, aspect = height * width, (width * shape[1]) / (height * shape[0])
    whole = (height == 1) & (width == 1)
    assert whole.float().mean() < 0.01
    assert area[~whole].min() > 0.25 - 1e-9
    assert area[~whole].max() < 0.6 + 1e-9
    assert aspect[~whole].min() > 3 / 4 - 1e-9
    assert aspect[~whole].max() < 4 / 3 + 1e-9
    assert abs(area.mean() - 0.425) < 0.05


def test_the_aspect_is_even_in_its_logarithm():
    _, _, height, width = draw_boxes(4000, (8, 8), (0.3, 0.5), (1 / 2, 2), seeded()).unbind(1)
    logs = torch.log(width / height)
    assert abs(logs.mean()) < 0.05
    assert logs.std() == pytest.approx(2 * math.log(2) / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda x: augment(x, ("flop",), seeded()), "unknown augmentation 'flop'; choose from: f"),
        (lambda x: augment(x, ("crop",), seeded(), scale=(0, 1)), "scale must rise within 0..1"),
        (lambda x: augment(x, ("crop",), seeded(), ratio=(2, 1)), "ratio above 0"),
        (lambda x: to_float(x, (0, 0, 0), (1, 1, 1)), r"but is float32 \(16, 3, 20, 28\)"),
        (lambda x: Normalise((0, 0, 0), (1, 1, 0)), "every std above 0"),
    ],
)
def test_what_is_impossible_is_refused(images, call, part):
    with pytest.raises(InputError, match=part):
        call(images)


def test_a_generator_elsewhere_is_refused(images):
    class Elsewhere:
        device = torch.device("cuda")

    with pytest.raises(InputError, match="make it on the CPU"):
        augment(images, ("flip",), Elsewhere())  # type: ignore[arg-type]
