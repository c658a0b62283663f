"""Where data lie: a folder that the user names, or the user's cache."""
import os
from pathlib import Path

from lib import ROOT


def absolute(data_dir):
    """`data_dir` as a path; a relative one counts from the repository: a notebook runs in another folder."""
    return ROOT / Path(data_dir).expanduser()


def cache():
    """dreaming-data in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dreaming-data"


def default_data_dir():
    """DREAMING_DATA_DIR, else the cache."""
    chosen = os.environ.get("DREAMING_DATA_DIR")
    return absolute(chosen) if chosen else cache()
