import pytest


@pytest.fixture
def contents():
    """A function from a folder to {path in it: (bytes, time of change)}."""
    def read(folder):
        return {p.relative_to(folder).as_posix(): (p.is_dir() or p.read_bytes(), p.stat().st_mtime_ns)
                for p in sorted(folder.rglob("*"))}
    return read
