"""Who may import whom, and what the repository holds."""
import ast
import json
import re
import subprocess
import sys

import pytest
from commands import project_files
from ruamel.yaml import YAML

from lib import ROOT
from lib.engine.parameters import STEPS

BELOW = {                                                      # district: those that it may import from
    "data": set(), "diffusion": {"data"}, "study": {"data", "diffusion"}, "report": {"data", "diffusion", "study"},
    "teaching": {"data", "diffusion", "study", "report"}, "bench": {"data", "diffusion", "study", "report"},
    "engine": {"data", "diffusion", "study", "report", "teaching", "bench"}}
TRACKED = project_files(ROOT)
MODULES = [ROOT / name for name in TRACKED if re.fullmatch(r"lib/.*\.py", name)]
PAGES = [ROOT / name for name in TRACKED if re.fullmatch(r"notebooks/[^/]+\.ipynb", name)]
NOTEBOOKS = [p for p in PAGES if not p.stem.startswith("00")]                     # the steps of a plan
HANDOUTS = [ROOT / name for name in TRACKED if re.fullmatch(r"notebooks/handouts/[^/]+\.ipynb", name)]       # exercises


def districts_of(source):
    """The districts of lib that Python source imports from."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name.split(".")[1] for name in found if name.startswith("lib.")} & set(BELOW)


def test_an_environment_that_is_a_link_is_no_file_of_the_project(tmp_path):
    for words in (["init", "-q"], ["add", "."]):
        (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "new.py").touch()
    (tmp_path / "a folder").symlink_to("/")
    assert project_files(tmp_path) == [".gitignore", "new.py"]


def test_every_folder_of_lib_is_a_district():
    assert {p.relative_to(ROOT / "lib").parts[0] for p in MODULES if p.parent.name != "lib"} == {*BELOW}


@pytest.mark.parametrize("district", BELOW)
def test_no_arrow_runs_up(district):
    up = {p.stem: found for p in MODULES if p.is_relative_to(ROOT / "lib" / district)
          if (found := districts_of(p.read_text(encoding="utf-8")) - BELOW[district] - {district})}
    assert not up


def test_what_all_districts_share_imports_none():
    for name in ("__init__", "seeding"):
        assert not districts_of((ROOT / "lib" / f"{name}.py").read_text(encoding="utf-8"))


def test_parameters_need_the_standard_library_only():
    code = "import sys; import lib.engine.parameters; print([m for m in sys.modules if m in ('torch', 'numpy', 'ruamel')])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_every_module_says_what_it_is_for():
    assert not [p for p in MODULES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]


def test_the_top_level_holds_what_the_map_says():
    top = {name.split("/")[0] for name in TRACKED if not name.startswith(".")}
    assert top == {"notebooks", "lib", "reports", "tests", "environment.yml", "pyproject.toml", "README.md", "LICENSE"}


def test_there_is_one_notebook_for_each_step():
    assert [p.stem for p in NOTEBOOKS] == [s.notebook for s in STEPS.values()]


@pytest.mark.parametrize("path", PAGES + HANDOUTS, ids=lambda p: p.stem)
def test_notebooks_are_stored_clean(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    assert all(not c["outputs"] and c["execution_count"] is None for c in nb["cells"] if c["cell_type"] == "code")
    assert nb["metadata"]["kernelspec"]["name"] == "python3" and set(nb["metadata"]) == {"kernelspec", "language_info"}


def code_cells(path):
    """[(source, tags)] of a notebook's code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_is_short_cells_of_short_lines(path):
    cells = code_cells(path)
    assert not [line for source, _ in cells for line in source.splitlines() if len(line) > 100]
    assert not [source for source, tags in cells if source.count("\n") >= 15 and "parameters" not in tags]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_step_begins_with_its_parameters_and_ends_with_its_result(path):
    cells = [(source, tags) for source, tags in code_cells(path) if "explorer" not in tags]
    step = next(name for name, s in STEPS.items() if s.notebook == path.stem)
    assert [tags for _, tags in cells].count(["parameters"]) == 1 and cells[0][1] == ["parameters"]
    assert f'notebook.begin("{step}", globals())' in cells[1][0]
    assert re.search(r"(?m)^run\.finish\(\w+\)\Z", cells[-1][0])


@pytest.mark.parametrize("path", HANDOUTS, ids=lambda p: p.stem)
def test_an_exercise_runs_without_this_repository(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    code = "\n".join("".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code")
    packages = set(re.findall(r"(?m)^\s*(?:from|import) (\w+)", code)) - sys.stdlib_module_names
    assert packages <= {"numpy", "matplotlib", "sklearn", "IPython"}


def test_no_function_is_written_in_two_notebooks():
    names = [f for p in PAGES + HANDOUTS for f in re.findall(r"def (\w+)", p.read_text(encoding="utf-8"))]
    assert len(names) == len(set(names))


def test_no_file_names_a_folder_of_somebodys_machine():
    for name in TRACKED:
        if name.endswith((".png", ".gif", ".woff2", ".pdf", ".html", ".safetensors", ".npz")):
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|Users|work)/\w", text), name


def test_conda_brings_only_python_and_pip_and_pyproject_has_the_rest():
    environment = YAML(typ="safe").load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert [c.split(">")[0] for c in conda] == ["python", "pip"] and pip == {"pip": ["-e .[test]"]}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in "torch torchvision jupyterlab papermill nbconvert seaborn scikit-learn ipywidgets snakemake".split():
        assert re.search(rf'"{package}[><=]', project), package


def test_code_and_notebooks_pass_ruff():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
