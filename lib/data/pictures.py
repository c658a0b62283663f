"""Picture files: which there are in a folder, which kinds are read, and their pixels."""
import contextlib
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from lib import InputError
from lib.data import SIDES
from lib.data.images import resize
from lib.data.places import is_lfs_pointer

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")     # whatever the name: no EPS starts Ghostscript
PIXELS = 64_000_000         # of one picture: decoded and scaled in about 0.7 GB of memory
# PIL's mode: (to what it is converted, as torchvision's ImageFolder does but for grey, and its name in the notes)
MODES = {"L": ("L", "grey"), "1": ("L", "black and white"), "LA": ("L", "grey, opaque alpha"), "RGB": ("RGB", "RGB"),
         "RGBA": ("RGB", "opaque RGBA"), "P": ("RGB", "palette"), "PA": ("RGB", "palette, opaque alpha"),
         "CMYK": ("RGB", "CMYK"), "YCbCr": ("RGB", "YCbCr")}
TRANSPARENT, POINTER = "transparent", "a Git LFS pointer"


def contents(folder):
    """(files to read as pictures, other files, folders) directly in `folder`, sorted by name."""
    pictures, others, folders = [], [], []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith((".", "@")) or path.name == "__MACOSX":
            continue
        if path.is_dir():
            folders.append(path)
        else:       # is_file: no pipe, socket or device, which could keep a reader waiting for ever
            (pictures if path.is_file() and path.suffix.lower() in EXTENSIONS else others).append(path)
    return pictures, others, folders


def number_below(folder):
    """Pictures in a folder below a class, at any depth; links are not followed."""
    if folder.is_symlink():
        return 0
    pictures, _, folders = contents(folder)
    return len(pictures) + sum(map(number_below, folders))


def decode(file, size):
    """(C, H, W) uint8. InputError for a picture that is transparent anywhere."""
    with opened(file) as picture:
        check_kind(picture)
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
            if picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
                raise InputError(TRANSPARENT)
            picture.info.pop("transparency", None)
        pixels = np.array(picture.convert(MODES[picture.mode][0]))
    pixels = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return resize(pixels[None], size)[0].numpy()


@contextlib.contextmanager
def opened(file):
    with warnings.catch_warnings():     # of odd notes in a photograph, and of many pixels: they are counted here
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as picture:
            yield picture


def check_kind(picture):
    w, h = picture.size
    if picture.mode not in MODES:
        deep = picture.mode.startswith(("I", "F"))
        raise InputError(f"PIL mode {picture.mode}" + ", more than 8 bits a channel" * deep)
    if min(w, h) < SIDES[0] or w * h > PIXELS:
        raise InputError(f"{w}x{h} pixels")


def reason(error, path):
    if isinstance(error, UnidentifiedImageError):
        return POINTER if is_lfs_pointer(path) else f"none of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {PIXELS:,} pixels"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
