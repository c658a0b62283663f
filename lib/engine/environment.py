"""The environment .venv: made by the first command, from a bare Python, so with the standard library alone."""
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lib import ROOT, InputError

ENV = ROOT / ".venv"
STACK = ("torch", "torchvision", "numpy", "pandas", "sklearn", "matplotlib", "seaborn", "papermill", "ipykernel",
         "jupyterlab", "snakemake", "nbconvert", "ruamel.yaml", "filelock", "pytest")


def pip_section(text):
    """The lines of environment.yml's `pip:` list, read without a YAML library."""
    found, indent = [], None
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        if indent is None:
            if re.match(r"\s*-\s*pip\s*:\s*(#.*)?$", line):
                indent = depth
        elif depth <= indent:
            break
        else:
            found.append(re.match(r"\s*-\s+(.*?)\s*(\s#.*)?$", line).group(1).strip("'\""))
    return found


def wanted_packages():
    return pip_section((ROOT / "environment.yml").read_text(encoding="utf-8"))


def project():
    """The table [project] of pyproject.toml."""
    import tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pip_words():
    """What pip is asked for: the packages of environment.yml, and in place of the project itself (-e .[EXTRA]) those
    that it needs. To build it setuptools would read braces in its path as a variable; `link` makes it importable.
    """
    words, own_extras = [], project()["optional-dependencies"]
    for line in wanted_packages():
        if own := re.fullmatch(r"-e \.(?:\[(.*)\])?", line):
            extras = [extra.strip() for extra in (own[1] or "").split(",") if extra.strip()]
            words += sum((own_extras[extra] for extra in extras), project()["dependencies"])
        else:
            words += line.split(None, 1) if line.startswith("-") else [line]
    return words


def link(python):
    """Let every Python of the environment import this clone's lib, whatever folder it starts in."""
    packages = subprocess.check_output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                                       text=True)
    (Path(packages.strip()) / "dreaming-data.pth").write_text(f"{ROOT}\n")


def stamp():
    """What .venv depends on: environment.yml's pip section, the project's dependencies, Python's version."""
    wanted = [wanted_packages(), project()["dependencies"], project()["optional-dependencies"],
              list(sys.version_info[:2])]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def is_active():
    """Whether Python runs in a virtual environment or in a conda environment other than base."""
    conda = os.environ.get("CONDA_PREFIX") if os.environ.get("CONDA_DEFAULT_ENV") != "base" else None
    return sys.prefix != sys.base_prefix or (conda is not None and Path(conda).resolve() == Path(sys.prefix).resolve())


def make():
    """Make .venv, or go on where an interrupted call stopped; the stamp is written last. Returns its Python."""
    python = ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamped, wanted = ENV / "stamp", stamp()
    if stamped.exists() and stamped.read_text() == wanted and python.exists():
        return python
    if os.pathsep in str(ROOT):
        raise InputError(f"{ROOT}: expected a folder without {os.pathsep!r}, as Python makes no environment in it; or "
                         "activate one that lies elsewhere and call again")
    free = shutil.disk_usage(ROOT).free / 1e9
    if not ENV.exists() and free < 8:
        raise InputError(f"{free:.1f} GB are free on the disk of {ROOT}: the environment needs about 6 GB on Linux, so "
                         "8 GB are expected")
    if importlib.util.find_spec("ensurepip") is None:
        raise InputError("this Python has no ensurepip: install the package python3-venv (Debian, Ubuntu: "
                         "apt install python3-venv) and call again")
    print("Bringing the environment .venv up to date." if ENV.exists() else
          "Making the environment .venv: some 3 minutes, about 6 GB on Linux, only once.", flush=True)
    import venv
    settings = ENV / "pyvenv.cfg"
    same = settings.exists() and "version = {}.{}.".format(*sys.version_info) in settings.read_text()
    if not (same and python.with_name("pip" + python.suffix).exists()):
        venv.EnvBuilder(with_pip=True, clear=not same, symlinks=os.name != "nt").create(ENV)
    install(python)
    link(python)
    stamped.write_text(wanted)
    return python


def install(python):
    """Install the packages, telling of each; InputError with pip's last lines where it fails."""
    pip = subprocess.Popen(
        [str(python), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", *pip_words()],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    last = []
    for line in pip.stdout:
        last = last[-14:] + [line]
        words = line.split()
        if words[:1] in (["Collecting"], ["ERROR:"]):
            print("  " + line.strip()[:100], flush=True)
        elif words[:3] == ["Installing", "collected", "packages:"]:
            print(f"  Installing (packages: {len(words) - 3})", flush=True)
    if pip.wait():
        raise InputError("".join(last) + "pip could not install the packages (its last lines stand above); with the "
                         "network back, or the line mended, the same call goes on from here")


def become(words):
    """Run another command in place of this process."""
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(words[0], words)
    sys.exit(subprocess.call(words))


def enter(words):
    """Go on inside an environment that has the packages: in this process if it is one, else in .venv's Python."""
    if not is_active():
        become([str(make()), "-m", "lib", *words])
    missing = [name for name in STACK if not found(name)]
    if missing:
        raise InputError(f"the active environment {sys.prefix} lacks {', '.join(missing)}: run `python -m pip install "
                         f"{' '.join(wanted_packages())}` in it, or deactivate it and call again")
    come_first()


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


def found(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:             # ruamel, of ruamel.yaml
        return False
