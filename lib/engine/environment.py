"""The environment .venv: made by the first command, from a bare Python, so with the standard library alone.

pyproject.toml is the one list of packages. `report` needs the project's own; a command of tests or teachers brings its
extra with its first call. The file .venv/stamp tells which are in.
"""
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from lib import ROOT, InputError

ENV = ROOT / ".venv"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"         # PyTorch's own, without CUDA
PATIENCE = 5                # seconds in which that index has to answer


def enter(argv, extra=""):
    """Continue inside an environment that has the packages of the project and of an extra: in this process if it is in
    one, else in .venv's Python."""
    if not is_active():
        become([str(make(extra)), "-c", START, str(ROOT), *argv])
    if missing := lacking(extra):
        if not same_folder(sys.prefix, ENV) or not installed():
            wanted = f"-e '{ROOT}[{extra}]'" if extra else f"-e '{ROOT}'"
            raise InputError(f"the active environment {sys.prefix} lacks {', '.join(missing)}: run `python -m pip "
                             f"install {wanted}` in it, or deactivate it and call again")
        make(extra)
        importlib.invalidate_caches()
    if has_nvidia() and same_folder(sys.prefix, ENV) and "+cpu" in torch_version():
        print("this machine has an NVIDIA GPU, and .venv PyTorch's CPU wheels: to use it remove .venv and call again",
              file=sys.stderr)
    come_first()


# for Python's -c: `-m lib` would find the lib of the working directory
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from lib.__main__ import main; sys.exit(main(sys.argv[1:]))"


def become(argv):
    """Run another command in place of this process."""
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(argv[0], argv)
    sys.exit(subprocess.call(argv))


def is_active():
    """Whether Python runs in a virtual environment or in a conda environment other than base."""
    conda = os.environ.get("CONDA_PREFIX") if os.environ.get("CONDA_DEFAULT_ENV") != "base" else None
    return sys.prefix != sys.base_prefix or (conda is not None and same_folder(conda, sys.prefix))


def same_folder(one, other):
    return Path(one).resolve() == Path(other).resolve()


def lacking(extra):
    """The packages of the project and of an extra that this environment has not."""
    def is_there(name):
        try:
            return bool(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            return False
    listed = requirements()
    names = [re.match(r"[\w.-]+", line)[0] for part in dict.fromkeys(("", extra)) for line in listed[part]]
    return [name for name in names if not is_there(name)]


# ---------------------------------------------------------------- what is in .venv
def requirements():
    """What pip is asked for: {extra of pyproject.toml: its requirements}, "" for the project itself."""
    import tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"]} | project["optional-dependencies"]


def digest(extra):
    """Of what an extra depends on: its requirements and Python's version."""
    wanted = [requirements()[extra], list(sys.version_info[:2])]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]


def installed():
    """{extra: its digest when it was installed}, "" for the project itself; {} without a whole stamp."""
    try:
        stamp = json.loads((ENV / "stamp").read_text(encoding="utf-8"))
        return {extra: stamp[extra] for extra in requirements() if extra in stamp}
    except (OSError, ValueError, TypeError):
        return {}


def make(extra=""):
    """Make .venv, or continue where an interrupted call stopped; the stamp is written last. Returns its Python."""
    if os.pathsep in str(ROOT):
        raise InputError(f"{ROOT}: expected a folder without {os.pathsep!r}, as Python makes no environment in it; or "
                         "activate one that lies elsewhere and call again")
    python = ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    before = installed()
    wanted = {one: digest(one) for one in dict.fromkeys(("", *before, extra))}
    if python.exists() and before.items() >= {"": wanted[""], extra: wanted[extra]}.items():
        return python
    if importlib.util.find_spec("ensurepip") is None:
        raise InputError("this Python has no ensurepip: install the package python3-venv (Debian, Ubuntu: "
                         "apt install python3-venv) and call again")
    print("Bringing the environment .venv up to date." if ENV.exists() else
          "Making the environment .venv, once: some minutes, most of them to download PyTorch.", flush=True)
    index = cpu_index(extra) if before.get("") != wanted[""] else ""
    free, needed = shutil.disk_usage(ROOT).free / 1e9, 8 if sys.platform == "linux" and not index else 3
    if not ENV.exists() and free < needed:
        raise InputError(f"{free:.1f} GB are free on the disk of {ROOT}: {needed} GB are expected, for an environment "
                         f"of about {needed - 1} GB")
    import venv
    settings = ENV / "pyvenv.cfg"
    same = settings.exists() and "version = {}.{}.".format(*sys.version_info) in settings.read_text()
    if not (same and python.with_name("pip" + python.suffix).exists()):
        venv.EnvBuilder(with_pip=True, clear=not same, symlinks=os.name != "nt").create(ENV)
    install(python, [package for one in wanted for package in requirements()[one]], index)
    link(python)
    (ENV / "stamp").write_text(json.dumps(wanted), encoding="utf-8")
    return python


def link(python):
    """Let every Python of the environment import this clone's lib, whatever folder it starts in. The project is not
    installed by pip: setuptools would read braces in its path as a variable."""
    packages = subprocess.check_output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                                       text=True)
    (Path(packages.strip()) / "dreaming-data.pth").write_text(f"{ROOT}\n")


# ---------------------------------------------------------------- which PyTorch
def cpu_index(extra):
    """The address of PyTorch's CPU wheels where they are the right ones: on Linux, where PyPI's bring CUDA, without an
    NVIDIA device, unless the user has set an index or the runs go to a cluster. "" otherwise, or if it gives no answer.
    """
    if sys.platform != "linux" or extra == "slurm" or has_nvidia():
        return ""
    if chosen := own_index():
        print(f"pip's setting {chosen} decides where PyTorch comes from.", flush=True)
        return ""
    if trouble := why_unreachable(f"{CPU_WHEELS}/torch/"):
        print(f"{CPU_WHEELS} gives no answer ({trouble}): PyTorch comes from PyPI, with some 4 GB of CUDA libraries "
              "that this machine does not need.", flush=True)
        return ""
    return CPU_WHEELS


def has_nvidia():
    """Whether an NVIDIA device can be seen."""
    return bool(list(Path("/dev").glob("nvidia*")) or shutil.which("nvidia-smi"))


def own_index():
    """The first setting of pip's, by file or environment variable, that says where packages come from; "" if none."""
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    chosen = re.findall(r"(?m)^(\S*(?:index-url|find-links|no-index))=", told)
    variables = [name for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX")
                 if os.environ.get(name)]                   # a Python may come without pip
    return next(iter([*variables, *chosen]), "")


def why_unreachable(address):
    """Why an address gives no answer within PATIENCE seconds, looking up its name included; "" if it does."""
    import urllib.request
    answer = queue.SimpleQueue()

    def ask():
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE):
                answer.put("")
        except (OSError, ValueError) as error:
            answer.put(str(getattr(error, "reason", "") or error))
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=PATIENCE)
    except queue.Empty:
        return f"waited {PATIENCE} s"


def torch_version():
    """Of the PyTorch in .venv; "" if there is none."""
    packages = [folder for place in ("lib/python*", "Lib") for folder in ENV.glob(f"{place}/site-packages")]
    return next((p.name.removesuffix(".dist-info").partition("-")[2] for folder in packages
                 for p in folder.glob("torch-*.dist-info")), "")


# ---------------------------------------------------------------- pip
def install(python, packages, index=""):
    """Install packages, those that the `index` has from there. InputError with pip's last lines where it fails."""
    code, last = 1, []
    if index:
        code, last = run_pip(python, [*packages, "--extra-index-url", index, "--retries", "2"])
        if code:
            print(f"pip could not use {index}: PyTorch comes from PyPI.", flush=True)
    if code:
        code, last = run_pip(python, packages)
    if code:
        raise InputError("".join(last) + "pip could not install the packages (see its last lines above); with the "
                         "network back, or the line mended, the same call continues from here")
    if version := torch_version():
        print(f"PyTorch {version}: " + ("the CPU wheels." if "+cpu" in version else "the wheels of pip's index."))


def run_pip(python, words):
    """pip's exit code and its last lines; meanwhile one line tells what it does, since when, and how much has come.

    pip downloads into a folder of .venv: a disk for temporary files may be too small for PyTorch."""
    downloads = ENV / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)            # of a killed call
    downloads.mkdir(parents=True)
    pip = subprocess.Popen(
        [str(python), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=os.environ | {"TMPDIR": str(downloads)})
    lines, last, progress = queue.SimpleQueue(), [], Progress(downloads)

    def listen():
        for line in pip.stdout:
            lines.put(line)
        lines.put(None)
    threading.Thread(target=listen, daemon=True).start()
    try:
        while True:
            progress.show()
            with contextlib.suppress(queue.Empty):
                if (line := lines.get(timeout=0.5)) is None:
                    return pip.wait(), last
                last = last[-14:] + [line]
                progress.hear(line)
    finally:
        progress.end()
        shutil.rmtree(downloads, ignore_errors=True)


class Progress:
    """What pip does: a line that is rewritten on a terminal; elsewhere a new one every 15 seconds."""

    def __init__(self, downloads):
        self.downloads, self.start, self.shown, self.width = downloads, time.monotonic(), -1e9, 0
        self.doing = "looking for packages"
        self.terminal = sys.stdout is not None and sys.stdout.isatty()

    def hear(self, line):
        """Learn from a line of pip's."""
        words = line.split()
        if words[:1] == ["Collecting"]:
            self.doing = f"looking for {words[1]}"
        elif words[:1] == ["Downloading"] and ".metadata" not in line:
            name = urllib.parse.unquote(words[1].rpartition("/")[2]).split("-")
            self.doing = f"downloading {' '.join(name[:2])} {' '.join(words[2:])}"
        elif words[:3] == ["Installing", "collected", "packages:"]:
            self.doing = f"installing {len(words) - 3} packages"

    def show(self):
        now = time.monotonic()
        if now - self.shown < (0.5 if self.terminal else 15):
            return
        self.shown, seconds = now, int(now - self.start)
        size = sum(size_of(file) for file in self.downloads.rglob("*")) / 1e6
        text = f"  {seconds // 60}:{seconds % 60:02} {self.doing}" + f", {size:,.0f} MB so far" * (size >= 1)
        if self.terminal:
            text = text[:shutil.get_terminal_size().columns - 1]
            print("\r" + text.ljust(self.width), end="", flush=True)
            self.width = len(text)
        else:
            print(text, flush=True)

    def end(self):
        if self.terminal and self.width:
            print("\r" + " " * self.width + "\r", end="", flush=True)


def size_of(file):
    """Bytes; 0 for what is no file, or no more."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0


# ---------------------------------------------------------------- what is started from here
def come_first():
    """Let what is started here (Snakemake, JupyterLab, kernels) find this clone's lib, whichever is installed, and
    this environment's kernel python3, whichever lies on the user's paths."""
    here = "." if os.pathsep in str(ROOT) else ROOT         # a list can't hold it, and all of a report starts in ROOT
    for variable, first in (("PYTHONPATH", here), ("JUPYTER_PATH", Path(sys.prefix) / "share" / "jupyter")):
        os.environ[variable] = os.pathsep.join(filter(None, [str(first), os.environ.get(variable, "")]))
    move_home()


def move_home():
    """Where the home can't be written or is full, let other packages keep their caches and settings in
    reports/build/.home. Data sets that lie in the home's cache are still found. InputError where neither has room."""
    home, other = Path.home(), ROOT / "reports" / "build" / ".home"
    trouble = why_not_written(home)
    if not trouble:
        return
    with contextlib.suppress(OSError):
        other.mkdir(parents=True, exist_ok=True)
    if again := why_not_written(other):
        raise InputError(f"nothing can be written in the home {home} ({trouble}), nor in {other.parent} ({again}): "
                         "make room in one of them")
    print(f"nothing can be written in the home {home} ({trouble}): caches and settings of other packages go to "
          f"{other.relative_to(ROOT)}", file=sys.stderr)
    if (home / ".cache" / "dreaming-data").is_dir():
        os.environ.setdefault("DREAMING_DATA_DIR", str(home / ".cache" / "dreaming-data"))
    os.environ["HOME"] = str(other)


def why_not_written(folder):
    """The system's reason why no megabyte can be written in a folder; "" where it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())                         # a file server tells of a quota only here
    except OSError as error:
        return error.strerror
    return ""
