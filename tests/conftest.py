"""One thread for the tests: their networks are tiny, and threads that share a core spend their time waiting."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")   # read when torch is imported, here and in what the tests start

import json  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402

import pypdf  # noqa: E402
import pytest  # noqa: E402
from bs4 import BeautifulSoup  # noqa: E402
from commands import call, own_environment, project_files  # noqa: E402
from filelock import FileLock  # noqa: E402

from lib import ROOT  # noqa: E402
from lib.processes import STOPS  # noqa: E402


@pytest.fixture(scope="session")
def root(tmp_path_factory, worker_id):
    """A copy of the repository with the finished smoke plan. With several test processes, the first makes it for all."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    root, said = shared / "copy" / "a clone #1 {x}", shared / "said.json"               # what a path may hold
    with FileLock(shared / "copy.lock"):
        if not said.exists():
            for name in project_files(ROOT):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
            own_environment(root)
            done = call(root, "report", "smoke")
            said.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    code, out, err = json.loads(said.read_text())
    assert code == 0, out + err
    return root


@pytest.fixture(scope="session")
def report(root):
    """Of the finished smoke plan: (the command's output, its folder of runs, the page, the PDF)."""
    build = root / "reports" / "build" / "smoke"
    page = BeautifulSoup((build / "report.html").read_text(encoding="utf-8"), "html.parser")
    out = json.loads((root.parent.parent / "said.json").read_text())[1]
    return out, root / "reports" / "runs" / "smoke", page, pypdf.PdfReader(build / "report.pdf")


@pytest.fixture
def heard():
    """The test and what it starts hear the signals to stop, though the suite was started by `nohup ... &`."""
    before = {n: signal.signal(n, signal.default_int_handler if n == signal.SIGINT else signal.SIG_DFL) for n in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_collection_modifyitems(items):
    """Teaching and the bench, which nothing else stands on, are left to `--all`. The tests of the smoke plan come last:
    making it takes all processors, and meanwhile other tests would wait. The 500 stories come first: they take one
    process as long as all other tests take another."""
    for item in items:
        if item.path.parent.name in ("teaching", "bench"):
            item.add_marker("slow")
    items.sort(key=lambda item: ("root" in getattr(item, "fixturenames", ()), "500_stories" not in item.name))
