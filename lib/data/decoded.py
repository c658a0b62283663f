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

KINDS = (1, 3)              # channels: grey and coloured pictures


def load(root, size):
    """What was saved of the folder `root` at `size`: {sha256 of a file, as bytes: (C, H, W) uint8}, or {}."""
    try:
        with np.load(_file(root, size), allow_pickle=False) as saved:
            return {bytes(digest): picture for kind in KINDS
                    for digest, picture in zip(saved[f"sha256 {kind}"], saved[f"pictures {kind}"], strict=True)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def save(root, size, pictures):
    """Write what `load` reads: first beside, then renamed, so that two processes do each other no harm."""
    path, arrays = _file(root, size), {}
    for kind in KINDS:
        own = {digest: picture for digest, picture in pictures.items() if len(picture) == kind}
        arrays[f"sha256 {kind}"] = np.frombuffer(b"".join(own), np.uint8).reshape(-1, 32)
        arrays[f"pictures {kind}"] = np.stack(list(own.values())) if own else np.zeros(0, np.uint8)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with open(descriptor, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _file(root, size):
    made_by = f"{PIL.__version__} 2"            # count up when resize or the reading of pictures changes
    key = hashlib.sha256(os.fsencode(root.resolve()) + f" {size} {made_by}".encode()).hexdigest()[:16]
    return cache() / "pictures" / f"{key}.npz"
