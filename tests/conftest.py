"""One thread for the tests: their networks are tiny, and threads that share a core spend their time waiting."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")   # read when torch is imported, here and in what the tests start

import shutil  # noqa: E402
import signal  # noqa: E402

import pypdf  # noqa: E402
import pytest  # noqa: E402
from bs4 import BeautifulSoup  # noqa: E402
from commands import call  # noqa: E402

from lib import ROOT  # noqa: E402
from lib.processes import STOPS  # noqa: E402


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy") / "a clone #1 {x}"               # what a path may hold
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", "*.egg-info"))
    return root


@pytest.fixture(scope="session")
def report(root):
    """The finished smoke plan: (the command's output, its folder of runs, the page, the PDF)."""
    done = call(root, "report", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    build = root / "reports" / "build" / "smoke"
    page = BeautifulSoup((build / "report.html").read_text(encoding="utf-8"), "html.parser")
    return done.stdout, root / "reports" / "runs" / "smoke", page, pypdf.PdfReader(build / "report.pdf")


@pytest.fixture
def heard():
    """The test and what it starts hear the signals to stop, though the suite was started by `nohup ... &`."""
    before = {n: signal.signal(n, signal.default_int_handler if n == signal.SIGINT else signal.SIG_DFL) for n in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)                        # xdist reads the groups in its own
def pytest_collection_modifyitems(items):
    """With several processes a file is one's, and so are all tests of the smoke plan: it is made once."""
    for item in items:
        smoke = "report" in getattr(item, "fixturenames", ())
        if smoke:
            item.add_marker(pytest.mark.smoke)
        item.add_marker(pytest.mark.xdist_group("smoke" if smoke else item.path.stem))
