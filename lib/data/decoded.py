"""Decoded, scaled copies of own pictures in the user's cache: a photograph takes half a second to read.

They are found by what the files hold, never by name or time. Copies that are gone, damaged or of another version are
made again, and where nothing can be written there are none.
"""
import hashlib
import os
import tempfile
import zipfile
from contextlib import suppress

import numpy as np
import PIL

from lib.data.places import cache


def load(root, size):
    """What was saved of the folder `root` at `size`: {sha256 of a file, as bytes: (C, H, W) uint8}, or {}."""
    try:
        with np.load(_file(root, size), allow_pickle=False) as saved:
            return {bytes(digest): picture for digest, picture in zip(saved["sha256"], saved["pictures"], strict=True)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def save(root, size, pictures):
    """Write what `load` reads: first beside, then renamed, so that two processes do each other no harm."""
    path = _file(root, size)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with open(descriptor, "wb") as file:
                np.savez(file, sha256=np.stack([np.frombuffer(digest, np.uint8) for digest in pictures]),
                         pictures=np.stack(list(pictures.values())))
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _file(root, size):
    made_by = f"{PIL.__version__} 1"            # count up when resize or the reading of pictures changes
    key = hashlib.sha256(os.fsencode(root.resolve()) + f" {size} {made_by}".encode()).hexdigest()[:16]
    return cache() / "pictures" / f"{key}.npz"
