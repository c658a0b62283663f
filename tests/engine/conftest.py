import pytest
import toy


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project, and the engine working in it."""
    toy.make_project(tmp_path)
    toy.work_in(tmp_path, monkeypatch)
    return tmp_path
