"""Sampling times, the frame on screen, crop and resize."""

import numpy as np
import pytest
import torch

from lawm_core.video.decode_types import Orientation
from lawm_core.video.timeline import frames_on_screen, sample_times
from lawm_core.video.transforms import centre_crop, make_upright, resize, to_square


def test_sample_times_are_evenly_spaced_and_before_the_end():
    np.testing.assert_allclose(sample_times(4, 3, 1.5), [1.5, 1.75, 2.0])
    np.testing.assert_allclose(sample_times(4, 100, 0, end_seconds=1), [0, 0.25, 0.5, 0.75])
    assert len(sample_times(4, 100, 5, end_seconds=1)) == 0


@pytest.mark.parametrize("rate", [3.0, 10.0, 29.97, 30000 / 1001, 60.0])
def test_at_the_files_own_rate_each_frame_is_sampled_once(rate):
    start_X = np.round(np.arange(900) / rate, 3)  # as Matroska rounds them
    index_T = frames_on_screen(start_X, sample_times(rate, 900))
    np.testing.assert_array_equal(index_T, np.arange(900))


def test_the_frame_on_screen_is_the_last_one_that_started():
    start_X = np.array([0.0, 0.1, 0.5, 2.0])
    np.testing.assert_array_equal(
        frames_on_screen(start_X, [-1, 0, 0.09, 0.1, 0.49, 1.9, 2.0, 99]), [0, 0, 0, 1, 1, 2, 3, 3]
    )


def test_above_the_files_rate_frames_repeat():
    start_X = np.arange(4) / 5
    np.testing.assert_array_equal(frames_on_screen(start_X, sample_times(10, 8)), [0, 0, 1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize(("height", "width"), [(20, 31), (31, 20), (20, 20), (21, 64)])
def test_centre_crop_is_centred(height, width):
    frame_TCHW = torch.arange(height * width).view(1, 1, height, width).float()
    side = min(height, width)
    cropped = centre_crop(frame_TCHW)
    assert cropped.shape == (1, 1, side, side)
    row, column = divmod(int(cropped[0, 0, 0, 0]), width)
    assert 0 <= (height - side) - 2 * row <= 1 and 0 <= (width - side) - 2 * column <= 1


def test_frames_are_transposed_before_they_are_flipped():
    frame_TCHW = torch.rand(2, 3, 4, 6)
    assert torch.equal(make_upright(frame_TCHW, Orientation()), frame_TCHW)
    turned = make_upright(frame_TCHW, Orientation(transposed=True, up_down=True))
    assert torch.equal(turned, torch.rot90(frame_TCHW, 1, dims=(-2, -1)))
    mirrored = make_upright(frame_TCHW, Orientation(left_right=True))
    assert torch.equal(mirrored, frame_TCHW.flip(-1))


def test_resizing_is_antialiased():
    board_HW = (torch.arange(128)[:, None] + torch.arange(128)) % 2
    small = resize(board_HW.float().expand(1, 3, 128, 128), 30)
    assert (small[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.02


def test_resize_stays_in_range_and_same_size_is_identity():
    frame_TCHW = (torch.rand(2, 3, 17, 17) > 0.5).float()
    big = resize(frame_TCHW, 64)
    assert big.min() >= 0 and big.max() <= 1
    assert resize(frame_TCHW, 17) is frame_TCHW


def test_to_square_gives_float32_in_the_unit_range():
    byte_THWC = torch.full((70, 20, 40, 3), 255, dtype=torch.uint8)
    frame_TCHW = to_square(byte_THWC, 8, Orientation(transposed=True))
    assert frame_TCHW.shape == (70, 3, 8, 8) and frame_TCHW.dtype == torch.float32
    torch.testing.assert_close(frame_TCHW, torch.ones_like(frame_TCHW))
