"""Where data lie: a folder that the user names, or the user's cache."""
import os
from pathlib import Path

from lib import ROOT


def absolute(data_dir):
    """`data_dir` as a path; a relative one counts from the working directory."""
    return Path(data_dir).expanduser().absolute()


def in_project(data_dir):
    """`data_dir` of a plan or notebook as a path; a relative one counts from the repository."""
    return ROOT / Path(data_dir).expanduser()


def cache():
    """dreaming-data in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dreaming-data"


def default_data_dir():
    """DREAMING_DATA_DIR, else the cache."""
    chosen = os.environ.get("DREAMING_DATA_DIR")
    return in_project(chosen) if chosen else cache()


def is_lfs_pointer(path):
    """Whether a file holds the address that Git LFS keeps in the place of a large file which was not fetched."""
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs.github.com/spec/")
