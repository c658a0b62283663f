"""Who may import whom, and what the repository holds."""
import ast
import json
import re
import subprocess
import sys

import pytest
import yaml

from lib import ROOT
from lib.engine.parameters import STEPS

ALLOWED = {
    "__init__": set(),
    "parameters": set(), "schedules": set(), "evaluation": set(), "significance": set(), "figures": set(), "unet": set(),
    "augmentations": set(), "devices": set(), "checkpoints": {"schedules", "unet"},
    "classifiers": {"data", "training"}, "quality": {"classifiers", "data", "evaluation"}, "claims": {"evaluation"},
    "study": {"augmentations", "classifiers", "data", "devices", "evaluation", "significance"},
    "data": {"image_files"}, "image_files": {"data"}, "diffusion": set(),
    "samplers": {"diffusion"}, "likelihood": {"data", "diffusion", "samplers", "schedules"}, "training": {"checkpoints", "data", "devices", "diffusion"}, "runs": {"figures"},
    "widgets": {"data", "diffusion", "figures", "runs", "schedules"},
    "explorers": {"checkpoints", "data", "diffusion", "evaluation", "figures", "runs", "samplers", "schedules", "significance", "study", "widgets"},
    "reporting": {"runs"},
    "parallel": {"devices", "samplers", "training"},
    "published": {"checkpoints", "data", "devices", "figures", "plans", "runs", "samplers"},
    "plans": {"parameters", "data", "reporting"}, "handouts": {"reporting", "runs"},
    "__main__": {"plans", "bench", "handouts", "published"},
    "peers": {"classifiers", "data"}, "bench": {"peers", "runs", "classifiers", "devices", "samplers", "schedules", "training", "unet"},
}
MODULES = sorted(p.stem for p in (ROOT / "lib").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HANDOUTS = sorted((ROOT / "notebooks" / "handouts").glob("*.ipynb"))              # exercises, no steps of a plan
MADE = {".git", ".venv", "runs", "build", "__pycache__", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"}


def project_files():
    """The project's files, without what git ignores; found by name where this is no git checkout."""
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.splitlines()
    files = [p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file()]
    return [f.as_posix() for f in files if not MADE & set(f.parts) and ".egg-info" not in f.as_posix()]


TRACKED = project_files()


def lib_imports(source):
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            found |= {a.name for a in node.names if a.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lib.")}
    return found


def test_every_module_has_a_line_in_the_table():
    assert set(MODULES) == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_they_may(module):
    source = (ROOT / "lib" / f"{module}.py").read_text(encoding="utf-8")
    assert lib_imports(source) <= ALLOWED[module]


def test_parameters_needs_the_standard_library_only():
    code = "import sys; import lib.parameters; print([m for m in sys.modules if m in ('torch', 'numpy', 'yaml')])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "__main__"])
def test_every_module_says_what_it_is_for(module):
    assert ast.get_docstring(ast.parse((ROOT / "lib" / f"{module}.py").read_text(encoding="utf-8")))


def test_the_top_level_holds_what_the_map_says():
    top = {name.split("/")[0] for name in TRACKED if not name.startswith(".")}
    assert top == {"notebooks", "lib", "reports", "tests", "environment.yml", "pyproject.toml", "README.md"}


def test_there_is_one_notebook_for_each_step():
    assert [p.stem for p in NOTEBOOKS] == [s.notebook for s in STEPS.values()]


@pytest.mark.parametrize("path", NOTEBOOKS + HANDOUTS, ids=lambda p: p.stem)
def test_notebooks_are_stored_clean(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    assert all(not c["outputs"] and c["execution_count"] is None for c in nb["cells"] if c["cell_type"] == "code")
    assert nb["metadata"]["kernelspec"]["name"] == "python3" and set(nb["metadata"]) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebooks_of_steps_are_thin(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in code) == 1
    assert not any("injected-parameters" in c["metadata"].get("tags", []) for c in nb["cells"])
    functions = re.findall(r"(?m)^def (\w+)", "\n".join("".join(c["source"]) for c in code))
    assert len(functions) <= 6                                     # what two pages need belongs to lib


@pytest.mark.parametrize("path", HANDOUTS, ids=lambda p: p.stem)
def test_an_exercise_runs_without_this_repository(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    code = "\n".join("".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code")
    packages = set(re.findall(r"(?m)^\s*(?:from|import) (\w+)", code)) - sys.stdlib_module_names
    assert packages <= {"numpy", "matplotlib", "sklearn", "IPython"}


def test_no_function_is_written_in_two_notebooks():
    names = [f for p in NOTEBOOKS + HANDOUTS for f in re.findall(r"def (\w+)", p.read_text(encoding="utf-8"))]
    assert len(names) == len(set(names))


def test_no_file_names_a_folder_of_somebodys_machine():
    for name in TRACKED:
        if name.endswith((".png", ".woff2", ".pdf", ".html", ".safetensors")):
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|Users|work)/\w", text), name


def test_conda_brings_only_python_and_pip_and_pyproject_has_the_rest():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert [c.split(">")[0] for c in conda] == ["python", "pip"] and pip == {"pip": ["-e .[test]"]}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in "torch torchvision jupyterlab papermill nbconvert seaborn scikit-learn ipywidgets snakemake".split():
        assert re.search(rf'"{package}[><=]', project), package


def test_code_and_notebooks_pass_ruff():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
