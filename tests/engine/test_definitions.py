"""Which definitions code uses: one by one, on trees of modules that chance made, and on this project's own."""
import ast
import json
import os
import shutil
import textwrap

import pytest
from commands import python
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, InputError
from lib.engine import stale
from lib.engine.definitions import Code, Modules, Use
from lib.engine.parameters import STEPS, defaults
from lib.engine.plan import read_plan


def write_tree(folder, files):
    """Write {module: source} as the package lib in a folder."""
    for name, text in {"lib": "", **files}.items():
        is_package = name == "lib" or any(other.startswith(f"{name}.") for other in files)
        file = folder / name.replace(".", "/")
        file = file / "__init__.py" if is_package else file.with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return Modules(folder)


def used(folder, files, cell, **options):
    """The names of the definitions that a cell uses, without "lib."."""
    code = Code([ast.parse(textwrap.dedent(cell))], "")
    return {name.removeprefix("lib.") for name in Use(write_tree(folder, files), code, **options).record()}


# ---------------------------------------------------------------- one by one
A = "def f(): return g() + C\ndef g(): 'Words.'\ndef h(): pass\nC = 1\n"
F = {"a.f", "a.g", "a.C"}
REACHED = {  # what it shows: (modules, a cell, what the cell uses)
    "import": ({"lib.a": A}, "import lib.a\nlib.a.f()", F),
    "import as": ({"lib.a": A}, "import lib.a as x\nx.f()", F),
    "from import": ({"lib.a": A}, "from lib.a import f as x\nx()", F),
    "from package import module": ({"lib.a": A}, "from lib import a\na.f", F),
    "an import that is not used": ({"lib.a": A}, "from lib.a import f", set()),
    "an import inside of a function": ({"lib.a": A, "lib.b": "def k():\n  from lib.a import f as x\n  return x()"},
                                       "from lib.b import k\nk()", F | {"b.k"}),
    "a module's import inside of a function": ({"lib.a": A, "lib.b": "def k():\n  import lib.a\n  lib.a.f()"},
                                               "from lib import b\nb.k()", F | {"b.k"}),
    "relative imports": ({"lib.p": "", "lib.p.a": A, "lib.p.b": "from .a import f\nfrom . import a\ndef k(): return f, a.h"},
                         "import lib.p.b as b\nb.k", {"p." + name for name in F} | {"p.b.k", "p.a.h"}),
    "a re-export": ({"lib.p": "from .a import f as shown", "lib.p.a": A}, "from lib.p import shown\nshown()", {"p." + name for name in F}),
    "a star": ({"lib.p": "from lib.p.a import *", "lib.p.a": A}, "from lib import p\np.f", {"p." + name for name in F}),
    "a class counts whole": ({"lib.a": A + "class K(Base):\n  x = C\n  def m(self): return h()\nclass Base: pass\nclass L: pass"},
                             "from lib.a import K\nK.x", {"a.K", "a.Base", "a.C", "a.h"}),
    "a local variable of the same name": ({"lib.a": A + "def k(g, *, h=C):\n  f = g\n  return [C for C in f], lambda C: C"},
                                          "from lib.a import k", set()),
    "a parameter of the same name": ({"lib.a": "def k(g):\n  f = g\n  return [C for C in f]\n" + A}, "from lib.a import k\nk", {"a.k"}),
    "a decorator": ({"lib.a": "import functools\n@functools.cache\ndef k(): pass\ndef other(): pass"}, "from lib.a import k\nk", {"a.k"}),
    "names in if, try, with and for": (
        {"lib.a": "try:\n  import none as x\n  def k(): return C\nexcept ImportError:\n  k = x = None\nC = 1\n"
                  "with open('f') as file: D = 1\nfor E in range(3): G = E\nif D: H = 1\nelse: H = 2\nother = 1"},
        "from lib import a\na.k, a.x, a.file, a.G, a.H", {"a.k", "a.x", "a.C", "a.file", "a.G", "a.E", "a.H", "a.D"}),
    "what is added later": ({"lib.a": "N = []\nN += [f()]\ndef f(): pass\nT = {}\nT[f] = 1\nclass K: pass\nK.x = T"},
                            "from lib.a import N, K\nN, K", {"a.N", "a.f", "a.K", "a.T"}),
    "statements": ({"lib.a": "import torch\nfrom lib.b import twice\ntorch.set_num_threads(twice(1))\nx = 1",
                    "lib.b": "def twice(n): return n\ndef other(): pass"},
                   "from lib.a import x\nx", {"a.x", "a (statements)", "b.twice"}),
    "statements of what is imported": ({"lib.a": "import lib.b\nx = 1", "lib.b": "print()\ny = 1"}, "import lib.a",
                                       {"b (statements)"}),
    "statements for another module": ({"lib.a": "import lib.b\nlib.b.T[1] = f\ndef f(): pass", "lib.b": "T = {}"}, "import lib.a",
                                      {"a (statements)", "a.f", "b.T"}),
    "a decorator of ours may keep what it gets": (
        {"lib.a": "from lib.b import keep\n@keep\ndef f(): return g()\ndef g(): pass\ndef h(): pass", "lib.b": "def keep(f): return f"},
        "import lib.a", {"a (statements)", "a.g", "b.keep"}),
    "the main part": ({"lib.a": "x = 1\nif __name__ == '__main__':\n  print(x)"}, "import lib.a", set()),
    "a module as a value": ({"lib.a": A}, "from lib import a\ngetattr(a, name)", F | {"a.h"}),
    "a module in a text": ({"lib.a": A, "lib.b": "x = 1"}, "importlib.import_module('lib.a')", F | {"a.h"}),
    "a definition in a text": ({"lib.a": A}, "find('lib.a.f')", F),
    "all modules of a package": ({"lib.p": "", "lib.p.a": "x = 1", "lib.p.b": "y = 1", "lib.c": "z = 1"},
                                 "importlib.import_module(f'lib.p.{name}')", {"p.a.x", "p.b.y"}),
    "a module's __getattr__": ({"lib.a": "def __getattr__(name): return f\ndef f(): pass"}, "from lib.a import any\nany", {"a.__getattr__", "a.f"}),
    "a message of an error": ({"lib.a": A + "def k():\n  raise ValueError(f'{h()}')"}, "from lib.a import k\nk", {"a.k"}),
    "a name that is only checked": (
        {"lib.a": "NAMES = ('x',)\nSOME = ('y',)\ndef known(n, name, accepted):\n  if name not in accepted:\n    raise ValueError(n, accepted)\n  return name\n"
                  "def k(name): return known(1, known(1, name, accepted=NAMES), NAMES) == 'x'\n"
                  "def m(name):\n  if not name or name not in NAMES: raise ValueError(NAMES)\n  return name in SOME"},
        "from lib import a\na.k, a.m", {"a.k", "a.m", "a.known", "a.SOME"}),
    "an argument that is more than checked": ({"lib.a": "N = ('x',)\ndef f(name, of):\n  if name not in of: raise ValueError\n  return of[0]"},
                                              "from lib.a import N, f\nf('x', N)", {"a.N", "a.f"}),
}


@pytest.mark.parametrize("what", REACHED)
def test_what_code_uses(tmp_path, what):
    files, cell, expected = REACHED[what]
    assert used(tmp_path, files, cell) == expected


TABLE = """
    X, OTHER = "x", "o"
    T = {X: f, "y": make(g), "z": h}
    def f(): pass
    def g(): pass
    def h(): pass
    def make(function): return function
    def look(name, kind="z"): return T[name]
    def check(name):
        if name not in T: raise ValueError(f"expected one of {T}")
        return name == "y"
    def names(): return list(T)
    N = {"x": 1, "y": 2}
    def number(name): return N.get(name)
"""
X, Y, Z = {"a.T['x']", "a.f"}, {"a.T['y']", "a.make", "a.g"}, {"a.T['z']", "a.h"}
ENTRIES = {  # what it shows: (the cell, the parameters' texts, those that are given, what it uses but for the function of the cell)
    "a known key": ("a.T['y']", "", "", Y),
    "a key by a parameter": ("a.look", "y", "", Y | Z),
    "a default that the run sets": ("a.look", "y", "kind", Y),
    "a key by a literal too": ("a.look('x')", "y", "kind", X | Y),
    "a literal that is compared": ("a.look, b == 'x', b in ('x', 'z'), c['x']", "y", "kind", Y),
    "a literal alone": ("a.look('x')", "q", "kind", X),
    "nothing that names a key": ("a.look", "q", "kind", X | Y | Z),
    "the whole": ("a.names", "x", "", X | Y | Z | {"a.names"}),
    "a check": ("a.check", "y", "", {"a.check"}),
    "numbers by a parameter": ("a.number", "x", "", {"a.number", "a.N['x']"}),
    "numbers that no parameter names": ("a.number('x')", "q", "", {"a.number", "a.N['x']", "a.N['y']"}),
}


@pytest.mark.parametrize("what", ENTRIES)
def test_a_registry_counts_entry_by_entry(tmp_path, what):
    cell, named, given, expected = ENTRIES[what]
    found = used(tmp_path, {"lib.a": TABLE}, f"from lib import a\n{cell}", named=named.split(), given=given.split())
    assert found - {"a.look"} == expected


def test_a_registry_of_modules_stands_for_their_definitions(tmp_path):
    files = {"lib.p": "import importlib\nSETS = {'one': 'a', 'two': 'a', 'three': 'b'}\n"
                      "def load(name): return getattr(importlib.import_module(f'lib.p.{SETS[name]}'), name)",
             "lib.p.a": "def one(): pass\ndef two(): pass", "lib.p.b": "def other(): pass", "lib.p.c": "x = 1"}
    cell = "from lib import p\np.load(name)"
    assert used(tmp_path, files, cell, named=["two"]) == {"p.load", "p.SETS['two']", "p.a.two"}
    assert used(tmp_path, files, cell, named=["three"]) == {"p.load", "p.SETS['three']", "p.b.other"}


def test_an_entry_that_came_later_does_not_count_for_who_uses_the_whole(tmp_path):
    modules = write_tree(tmp_path, {"lib.a": TABLE})
    code = Code([ast.parse("from lib import a\na.names()")], "")
    before = Use(modules, code).record()
    more = write_tree(tmp_path, {"lib.a": TABLE.replace('"z": h', '"z": h, "new": n') + "    def n(): pass\n"})
    assert Use(more, code, before=before).record() == before != Use(more, code).record()
    less = write_tree(tmp_path, {"lib.a": TABLE.replace(', "z": h', "")})
    assert Use(less, code, before=before).record() != before


def test_comments_docstrings_and_lines_change_no_hash(tmp_path):
    code = Code([ast.parse("from lib import a\na.f, a.K")], "")
    one = Use(write_tree(tmp_path, {"lib.a": "def f(x):\n    return x + 1\nclass K:\n    y = 1\n"}), code)
    two = Use(write_tree(tmp_path, {"lib.a": "'A module.'\n# more\ndef f(x):\n    '''Words.'''\n    return (x +\n  1)  # less\n"
                                             "class K:\n    'A class.'\n    y = 1\n"}), code)
    assert one.record() == two.record()


def test_what_a_name_of_another_library_is_bound_to_counts_for_who_uses_it(tmp_path):
    code, records = [Code([ast.parse(f"from lib import a\na.{name}")], "") for name in "fg"], []
    for library in ("math", "numpy"):
        modules = write_tree(tmp_path, {"lib.a": f"from {library} import log\ndef f(x): return log(x)\ndef g(x): return x"})
        records.append([Use(modules, cell).record() for cell in code])
    assert [one == two for one, two in zip(*records, strict=True)] == [False, True]


def test_a_module_that_is_no_python_is_named(tmp_path):
    with pytest.raises(InputError, match="^lib.a, line 2: invalid syntax$"):
        used(tmp_path, {"lib.a": "x = 1\ny = = 2\n"}, "import lib.a")


# ---------------------------------------------------------------- trees that chance made
STYLES = ("from lib.p.{m} import {d} as {a}", "import lib.p.{m}", "import lib.p.{m} as {a}", "from lib.p import {m} as {a}", "from .{m} import {d} as {a}",
          "from . import {m} as {a}", "from lib.p import {d} as {a}")
CALLED = ("{a}", "lib.p.{m}.{d}", "{a}.{d}", "{a}.{d}", "{a}", "{a}.{d}", "{a}")
KINDS = ("def {d}():\n    '''Words on {other}.'''\n    {local}\n    return {value}, {uses}",
         "def {d}({other}=None):\n    def inner({other}):\n        {local}\n        return [{uses}, {other}]\n    return inner, {value}",
         "class {d}:\n    kept = {value}\n    def method(self, {other}):\n        {local}\n        return {uses}, {other}",
         "{d} = [{value}, {uses}]", "if True:\n    def {d}():\n        {local}\n        return {value}, {uses}\nelse:\n    {d} = None")
KEYS = "abc"                                                # of the registry, whose entries are definitions


@st.composite
def trees(draw):
    """(edges {definition: what it uses}, places, how each is written): definitions 0..n-1 in modules, and the steps, whose
    cells use some. The last definition looks up in a registry of the first three."""
    n = draw(st.integers(4, 9))
    edge = st.tuples(st.integers(0, n - 1), st.integers(0, len(STYLES) - 1), st.booleans())
    return {"module": [draw(st.integers(0, 2)) for _ in range(n)], "kind": [draw(st.sampled_from(KINDS)) for _ in range(n)],
            "edges": [draw(st.lists(edge, max_size=2)) for _ in range(n)],
            "steps": [(draw(st.lists(edge, min_size=1, max_size=2)), draw(st.sampled_from(KEYS))) for _ in range(3)]}


def written(tree, changed=None):
    """({module: source}, [source of each step's cell]) of a tree; `changed`: the definition with another value."""
    n, lines = len(tree["module"]), {f"m{k}": ["import lib.p"] for k in range(3)}

    def use(edge, number, source, imports):
        target, style, local = edge
        names = {"m": f"m{tree['module'][target]}", "d": f"d{target}", "a": f"x{number}"}
        if source == names["m"] and style < 4:
            return names["d"], ""                           # the same module: by its plain name
        style = style if source else style % 4              # a cell has no package
        line = STYLES[style].format(**names)
        if not local:
            imports.append(line)
        return CALLED[style].format(**names), line if local else ""

    for k in range(n):
        source = f"m{tree['module'][k]}"
        uses, local = zip(*[use(edge, f"{k}_{j}", source, lines[source]) for j, edge in enumerate(tree["edges"][k])] or [("None", "")], strict=True)
        local = "; ".join(filter(None, local))
        if tree["kind"][k].startswith("{d} ="):             # a constant has no place for an import of its own
            lines[source].append(local)
        value = f"{100 + k + 1000 * (k == changed)}" + (", R[name]" if k == n - 1 else "")
        lines[source].append(tree["kind"][k].format(d=f"d{k}", value=value, uses=", ".join(uses), local=local or "pass", other=f"d{(k + 1) % n}"))
    entries = ", ".join(f"{key!r}: d{k}" for k, key in enumerate(KEYS))
    last = f"m{tree['module'][-1]}"
    lines["r"] = [*(f"from lib.p.m{tree['module'][k]} import d{k}" for k in range(3)), f"R = {{{entries}}}"]
    lines[last].append("from lib.p.r import R")
    package = "\n".join(f"from lib.p.m{tree['module'][k]} import d{k}" for k in range(n))
    cells = []
    for edges, _ in tree["steps"]:
        imports = []
        uses = [use((target, style, False), j, "", imports)[0] for j, (target, style, _) in enumerate(edges)]
        cells.append("\n".join([*imports, *uses]))
    return {"lib.p": package} | {f"lib.p.{name}": "\n".join(text) for name, text in lines.items()}, cells


def reached(tree, step):
    """The definitions that a step reaches, by the tree's own numbers."""
    edges, key = tree["steps"][step]
    todo, found = [target for target, _, _ in edges], set()
    while todo:
        if (k := todo.pop()) not in found:
            found.add(k)
            todo += [target for target, _, _ in tree["edges"][k]] + [KEYS.index(key)] * (k == len(tree["module"]) - 1)
    return found


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(trees(), st.data())
def test_exactly_the_steps_that_reach_a_definition_notice_its_change(tmp_path_factory, tree, data):
    folder, changed = tmp_path_factory.mktemp("tree"), data.draw(st.integers(0, len(tree["module"]) - 1))
    records = []
    for files, cells in (written(tree), written(tree, changed)):
        for text in files.values():
            compile(text, "", "exec")
        modules = write_tree(folder, files)
        records.append([Use(modules, Code([ast.parse(cell)], ""), named=[key]).record()
                        for cell, (_, key) in zip(cells, tree["steps"], strict=True)])
    for step, (before, now) in enumerate(zip(*records, strict=True)):
        assert (before != now) == (changed in reached(tree, step)), (step, files, cells)
        names = {name for name in before if before[name] != now[name]}
        assert not names or all(name.endswith(f".d{changed}") or f"d{changed}" in name for name in names)


# ---------------------------------------------------------------- this project
@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of lib and the notebooks."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("lib", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def record(project, monkeypatch, step, before=None, **values):
    """The record of a run of a step with its defaults but for some values; what it reads learned from digits."""
    monkeypatch.setattr(stale, "ROOT", project)
    training = defaults(STEPS["train"].file) | {"dataset": values.pop("dataset", "digits")}
    values = (training if step == "train" else defaults(STEPS[step].file)) | values
    return stale.Today().record(step, values, lambda run_dir: training, before)


RUNS = {  # some runs: (step, parameters)
    "train": ("train", {}), "cifar10": ("train", {"dataset": "cifar10"}), "own": ("train", {"dataset": "folder"}),
    "linear": ("train", {"schedule": "linear"}), "ddim": ("generate", {"sampler": "ddim"}), "heun": ("generate", {"sampler": "heun"}),
    "own images": ("generate", {"sampler": "heun", "dataset": "folder"}), "study": ("augment", {}), "cnn": ("augment", {"classifier": "cnn"}),
    "dose": ("dose", {})}
NEW = "def newest(predict, ac, times, x, noise):\n    yield from heun(predict, ac, times, x, noise)\n\n\nSAMPLERS = {\"newest\": newest, "
EDITS = {  # what is done: (file, old, new), and the runs that it makes stale
    "a new sampler": ([("diffusion/samplers.py", "SAMPLERS = {", NEW), ("diffusion/__init__.py", 'SAMPLERS = (', 'SAMPLERS = ("newest", ')], ""),
    "ddim": ([("diffusion/samplers.py", "eps = (x - ac_t**0.5 * x0)", "eps = 1.0 * (x - ac_t**0.5 * x0)")], "ddim"),
    "heun": ([("diffusion/samplers.py", "slope = (z - x0) / sigma(t)", "slope = 1.0 * (z - x0) / sigma(t)")], "heun, own images"),
    "a docstring": ([("diffusion/samplers.py", "Heun's method on", "Heun's way along")], ""),
    "a new data set": ([("data/__init__.py", '"digits": "digits",', '"digits": "digits", "letters": "letters",'),
                        ("data/letters.py", None, "def letters(*, seed): pass")], ""),
    "own images": ([("data/folders.py", "def folder(", "STORED = {}\n\n\ndef folder(")], ""),
    "how own images are read": ([("data/folders.py", "    return Split(", "    print()\n    return Split(")], "own, own images"),
    "the digits": ([("data/digits.py", "DIGIT = 8", "DIGIT = 4 + 4")], "train, linear, ddim, heun, own images, study, cnn, dose"),     # own images: the judge may know digits
    "CIFAR-10": ([("data/official.py", "    source = torchvision.datasets.CIFAR10", "    source = (torchvision.datasets).CIFAR10\n    print()")], "cifar10"),
    "another schedule": ([("diffusion/schedules.py", "low, high = 1000 / T * 1e-4", "low, high = 1000.0 / T * 1e-4")], ""),
    "the linear schedule": ([("diffusion/schedules.py", "return (1000 / T * torch", "return (1000.0 / T * torch")], "linear"),
    "the CNN": ([("study/classifiers.py", "nn.MaxPool2d(2, ceil_mode=True)", "nn.MaxPool2d(kernel_size=2, ceil_mode=True)")],
                "ddim, heun, own images, cnn"),
    "a new arm": ([("study/__init__.py", "\nARMS = {", "\nARMS = {\n    \"new\": Arm(FREE, \"new\", lambda sources, options: sources.real()),")], ""),
    "a claim": ([("study/claims.py", "def answers(", "def more(): pass\n\n\ndef answers(")], ""),
    "the page": ([("report/figures.py", "def short(", "print()\n\n\ndef short(")], ""),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_of_this_project_makes_stale_what_uses_it(project, monkeypatch, what):
    edits, expected = EDITS[what]
    before = {name: record(project, monkeypatch, step, **values) for name, (step, values) in RUNS.items()}
    kept = {}
    try:
        for name, old, new in edits:
            file = project / "lib" / name
            kept[file] = file.read_text() if file.exists() else None
            assert old is None or kept[file].count(old) == 1, name
            file.write_text(new if old is None else kept[file].replace(old, new))
        changed = {name for name, (step, values) in RUNS.items()
                   if record(project, monkeypatch, step, before[name], **values) != before[name]}
    finally:
        for file, text in kept.items():
            file.unlink() if text is None else file.write_text(text)
    assert changed == set(filter(None, expected.split(", ")))


TRACED = """
import json, sys
from lib import ROOT
from lib.engine import parameters, stale
step, values, skipped = json.loads(sys.argv[1])
called, cells = set(), parameters.cells(parameters.STEPS[step].file)

def hear(frame, event, argument):
    place = frame.f_code.co_filename
    if event == "call" and place.startswith(f"{ROOT}/lib/") and frame.f_code.co_flags & 1:      # no body of a class
        module, caller = place[len(str(ROOT)) + 1:-3].replace("/", ".").removesuffix(".__init__"), frame
        while caller and caller.f_code.co_filename != "a cell":
            if "importlib" in caller.f_code.co_filename or any(f"/{d.replace('.', '/')}/" in caller.f_code.co_filename for d in skipped):
                return
            caller = caller.f_back
        called.add(f"{module}.{frame.f_code.co_qualname.split('.')[0]}")

names = {"__name__": "__main__"}
sources = [c.source for c in cells if c.cell_type == "code" and "explorer" not in c.metadata.get("tags", [])]
exec(sources[0], names)
names |= values
sys.setprofile(hear)
for source in sources[1:]:
    exec(compile(source, "a cell", "exec"), names)
sys.setprofile(None)
record = names["run"].provenance["code"]
print(json.dumps([sorted(called), sorted(called - set(record) - {f"{name.rpartition('.')[0]}.<lambda>" for name in record})]))
"""
TINY = {  # of each step the parameters of a run of seconds
    "train": {"canvas": 0, "per_class": 20, "T": 50, "channels": 8, "steps": 20, "batch": 8, "warmup_steps": 2, "bound_images": 4, "bound_draws": 4},
    "generate": {"images_per_class": 10, "sample_steps": 5, "judge_steps": 20, "sampler": "heun"},
    "augment": {"steps": 20, "seeds": 2, "arms": ["real", "real + synthetic", "real + shift", "real + best synthetic"]},
    "dose": {"steps": 20, "seeds": 2, "ratios": [0, 0.2], "shares": [0, 0.5], "real_fractions": [0.5, 1]}, "ablation": {}}


@pytest.mark.slow
def test_what_a_run_calls_is_in_its_record(project):
    for step, values in TINY.items():
        skipped = ["lib.engine", *["lib.report"] * (step != "ablation")]
        done = python(project, "-c", TRACED, json.dumps([step, values, skipped]), env=os.environ | {"PYTHONPATH": str(project), "MPLBACKEND": "agg"})
        assert done.returncode == 0, done.stderr
        called, missing = json.loads(done.stdout.splitlines()[-1])
        if step != "ablation":                              # the types of results come by way of lib.report
            missing = [name for name in missing if not name.startswith("lib.study.results.")]
        assert len(called) > 20 and not missing, (step, missing)


def test_a_users_own_file_counts_for_the_run_that_names_it(project, monkeypatch, tmp_path):
    (file := tmp_path / "mine.py").write_text("from lib.seeding import PassOrder\ndef net(): return PassOrder\n")
    first, other = record(project, monkeypatch, "train", target=f"{file}:net"), record(project, monkeypatch, "train")
    assert "lib.seeding.PassOrder" in first and f"{file}:net" in first
    file.write_text("from lib.seeding import PassOrder\n# words\ndef net():\n    'Words.'\n    return PassOrder\n")
    assert record(project, monkeypatch, "train", target=f"{file}:net") == first
    file.write_text("def net(): return 2\n")
    assert record(project, monkeypatch, "train", target=f"{file}:net") != first and record(project, monkeypatch, "train") == other
    file.write_text("def net(:\n")
    with pytest.raises(InputError, match="mine.py:net: expected a file of Python"):
        record(project, monkeypatch, "train", target=f"{file}:net")


def test_every_plan_has_a_record_of_every_run():
    plan = read_plan("digits")
    code = stale.CodeOf(plan)
    for job in plan.jobs:
        found = code.today.record(job.step, job.values, code.values.get)
        assert f"notebooks/{STEPS[job.step].notebook}.ipynb" in found and len(found) > 50, job.label
