"""Reader of still pictures: correct pixels, or an error with the reason."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from lawm_core.types import VideoError
from lawm_core.video.decode_types import DecodeLimits
from lawm_core.video.files import read_picture


def ramp(height=60, width=90):
    """Return byte_HWC in which red rises to the right and green downwards."""
    byte_HWC = np.zeros((height, width, 3), dtype=np.uint8)
    byte_HWC[..., 0] = np.linspace(0, 255, width)[None]
    byte_HWC[..., 1] = np.linspace(0, 255, height)[:, None]
    return byte_HWC


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_picture_is_cropped_to_its_centre_square(tmp_path, suffix):
    imageio.imwrite(tmp_path / f"ramp.{suffix}", ramp())
    frame_CHW = read_picture(tmp_path / f"ramp.{suffix}", 30)
    assert frame_CHW.shape == (3, 30, 30) and 0 <= frame_CHW.min() and frame_CHW.max() <= 1
    expected = torch.from_numpy(ramp()[:, 15:75].copy()).permute(2, 0, 1).float() / 255
    expected = expected.unflatten(1, (30, 2)).unflatten(3, (30, 2)).mean(dim=(2, 4))
    assert (frame_CHW - expected).abs().mean() < 0.02


def test_a_photograph_is_turned_by_its_exif_orientation(tmp_path):
    picture = Image.fromarray(ramp(64, 64))
    exif = picture.getexif()
    exif[0x112] = 6  # shown a quarter turn clockwise
    picture.save(tmp_path / "turned.jpg", exif=exif)
    frame_CHW = read_picture(tmp_path / "turned.jpg", 32)
    assert frame_CHW[0, -1].mean() > 0.9 > 0.1 > frame_CHW[0, 0].mean()  # red rises downwards now
    assert frame_CHW[1, :, 0].mean() > 0.9 > 0.1 > frame_CHW[1, :, -1].mean()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(tmp_path, orientation):
    """The stored pixels are the inverse of Pillow's own transposition."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    picture = Image.fromarray(ramp(64, 64))
    exif = picture.getexif()
    exif[0x112] = orientation
    stored = picture.transpose(undo[orientation]) if orientation in undo else picture
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    frame_CHW = read_picture(tmp_path / "turned.jpg", 64)
    upright = torch.from_numpy(ramp(64, 64)).permute(2, 0, 1).float() / 255
    assert (frame_CHW - upright).abs().mean() < 0.01


def test_a_photograph_of_50_megapixels_is_read_within_1_gib(tmp_path):
    Image.fromarray(ramp(480, 640)).resize((8160, 6120)).save(tmp_path / "photo.jpg", quality=80)
    limits = DecodeLimits(address_space_bytes=2**30)
    frame_CHW = read_picture(tmp_path / "photo.jpg", 256, limits)
    assert frame_CHW.shape == (3, 256, 256) and frame_CHW[0, 128, 250] > frame_CHW[0, 128, 5] + 0.5


def test_16_bit_values_are_scaled_and_not_clipped(tmp_path):
    value = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(value).save(tmp_path / "deep.png")
    frame_CHW = read_picture(tmp_path / "deep.png", 64)
    assert (frame_CHW[0] - torch.from_numpy(value.astype(np.float32)) / 65535).abs().max() < 0.01


def test_pictures_with_transparency_are_read(tmp_path):
    alpha = np.dstack([ramp(), np.full((60, 90), 128, np.uint8)])
    imageio.imwrite(tmp_path / "alpha.png", alpha)
    assert read_picture(tmp_path / "alpha.png", 16).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.png", b"hello", "is not a readable picture"),
        ("empty.png", b"", "is empty (0 bytes); pass a picture file"),
        ("svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a readable picture"),
        ("list.png", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is not a readable picture"),
        ("missing.png", None, "does not exist"),
    ],
)
def test_files_that_are_no_picture_raise_an_error_with_the_name(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError) as caught:
        read_picture(tmp_path / name, 32)
    assert str(caught.value).startswith(name) and says in str(caught.value)


def test_pictures_over_the_size_limits_are_refused(tmp_path):
    imageio.imwrite(tmp_path / "ramp.png", ramp())
    with pytest.raises(VideoError, match="90 x 60 pixels; at most 80 per side"):
        read_picture(tmp_path / "ramp.png", 32, DecodeLimits(max_picture_side=80))
    imageio.imwrite(tmp_path / "dot.png", ramp(8, 8))
    with pytest.raises(VideoError, match="each side must have at least 16"):
        read_picture(tmp_path / "dot.png", 32)


def test_damaged_pictures_give_a_picture_or_a_reason(tmp_path):
    """Random bytes at random positions raise VideoError or nothing."""
    draw = np.random.default_rng(3)
    for suffix in ("png", "jpg", "webp", "bmp"):
        imageio.imwrite(tmp_path / f"ramp.{suffix}", ramp())
        data = (tmp_path / f"ramp.{suffix}").read_bytes()
        for index in range(4):
            mutant = bytearray(data)
            for at in draw.integers(len(mutant), size=20):
                mutant[at] = draw.integers(256)
            path = tmp_path / f"mutant-{index}.{suffix}"
            path.write_bytes(bytes(mutant[: len(mutant) * (4 - index % 2) // 4]))
            try:
                assert read_picture(path, 16).shape == (3, 16, 16)
            except VideoError as error:
                assert str(error).startswith(path.name)
