"""Motion fields move each handle as it says, hold others still, and leave the rest alone."""

import math
from itertools import pairwise

import pytest
import torch

from lawm_core.dragging.drag import count_steps, sample_at, track
from lawm_core.dragging.handle import WHOLE_FRAME, Handle, handle_positions, motion_field
from lawm_core.models.flow import Carry, pixel_centres

SIZE = 64
MOVED = Handle(x=0.3, y=0.4, dx=0.1, dy=-0.05, radius=0.1)
HELD = Handle(x=0.5, y=0.45, radius=0.1)


@pytest.mark.parametrize("handles", [[MOVED], [MOVED, HELD], [HELD, MOVED, Handle(x=0.8, y=0.8, dx=-0.2)]])
def test_each_handle_moves_by_its_own_motion(handles):
    flow_2HW = motion_field(handles, SIZE, 0.0, 1.0)[0]
    flow_J2 = sample_at(flow_2HW, handle_positions(handles, 1.0))
    torch.testing.assert_close(flow_J2, torch.tensor([(-h.dx, -h.dy) for h in handles]), atol=2e-3, rtol=0)


def test_motion_ends_beyond_three_radii():
    flow_2HW = motion_field([MOVED], SIZE, 0.0, 1.0)[0]
    distance_HW = (pixel_centres(SIZE, SIZE) - handle_positions([MOVED], 1.0)[0][:, None, None]).norm(dim=0)
    speed_HW = flow_2HW.norm(dim=0)
    assert speed_HW[distance_HW > 0.3].max() < 0.02 * speed_HW.max()


def test_a_handle_of_the_whole_frame_pans_it():
    pan = Handle(x=0.2, y=0.9, dx=0.1, dy=0.05, radius=WHOLE_FRAME)
    flow_2HW = motion_field([pan], SIZE, 0.0, 1.0)[0]
    torch.testing.assert_close(
        flow_2HW, torch.tensor((-0.1, -0.05))[:, None, None].expand_as(flow_2HW), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("change", [{"zoom": 0.5}, {"roll": 0.4}, {"zoom": 0.2, "roll": -0.3, "dx": 0.1}])
def test_steps_compose_to_the_whole_motion(change):
    handle = Handle(x=0.5, y=0.5, radius=WHOLE_FRAME, **change)
    carry, parts = Carry.start(1, SIZE, torch.device("cpu")), torch.linspace(0, 1, 6).tolist()
    for start, end in pairwise(parts):
        carry = carry.step(motion_field([handle], SIZE, start, end), torch.ones(1, 1, SIZE, SIZE))
    middle = slice(SIZE // 4, -SIZE // 4)  # the border of the frame is repeated beyond it
    whole_12HW = motion_field([handle], SIZE, 0.0, 1.0)
    torch.testing.assert_close(carry.flow_X2HW[..., middle, middle], whole_12HW[..., middle, middle], atol=6e-3, rtol=0)


def test_zoom_makes_things_larger_and_roll_turns_them_clockwise():
    right_of_the_middle = (slice(None), SIZE // 2, 3 * SIZE // 4)
    grown_2 = motion_field([Handle(x=0.5, y=0.5, zoom=0.5, radius=WHOLE_FRAME)], SIZE, 0, 1)[0][right_of_the_middle]
    turned_2 = motion_field([Handle(x=0.5, y=0.5, roll=0.2, radius=WHOLE_FRAME)], SIZE, 0, 1)[0][right_of_the_middle]
    assert grown_2[0] < -0.05 and abs(grown_2[1]) < 0.01  # what is here was nearer to the middle
    assert turned_2[1] < -0.03  # what is here was higher up


def test_content_is_tracked_to_where_it_has_moved():
    flow_2HW = motion_field([MOVED, HELD], SIZE, 0.0, 1.0)[0]
    torch.testing.assert_close(track(flow_2HW, [MOVED, HELD]), torch.tensor([(0.1, -0.05), (0, 0)]), atol=5e-3, rtol=0)


@pytest.mark.parametrize(("handle", "asked", "steps"), [(HELD, 1, 1), (MOVED, 8, 8), (Handle(x=0, y=0, dx=0.5), 2, 5)])
def test_long_drags_take_more_steps(handle, asked, steps):
    assert count_steps([handle], asked) == steps


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"x": -0.1}, r"x of a handle must be in \[0, 1\], got -0.1"),
        ({"dx": math.nan}, r"dx of a handle must be in \[-1.5, 1.5\], got nan"),
        ({"roll": "left"}, "roll of a handle must be in .* got 'left'"),
        ({"radius": 0}, r"radius of a handle must be in \[0.05, 10\], got 0"),
        ({"y": True}, "y of a handle must be in .* got True"),
    ],
)
def test_values_out_of_range_are_refused(values, says):
    with pytest.raises(ValueError, match=says):
        Handle(**{"x": 0.5, "y": 0.5, **values})
