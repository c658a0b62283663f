"""A class of made-up students: what each handed in for the exercise ddpm_by_hand."""
import copy
import json
import re

import nbformat
from nbformat.v4 import new_code_cell

from lib import ROOT
from lib.teaching import handouts

SOURCE = handouts.SOURCES / "ddpm_by_hand.ipynb"
POINTS = {"tables": 2, "posterior-variance": 2, "q-sample": 2, "reverse-mean": 2, "reverse-noise": 2}

TABLES = """    alphas = 1 - betas
    alphas_cumprod = alphas.cumprod()
    alphas_cumprod_prev = np.concatenate([[1], alphas_cumprod[:-1]])
    posterior_variance = (1 - alphas_cumprod_prev) / (1 - alphas_cumprod) * betas"""
FORWARD = """    a = tables.alphas_cumprod[t].reshape(-1, 1)
    return a**0.5 * x0 + (1 - a)**0.5 * eps"""
REVERSE = """    noise = z if t > 0 else np.zeros_like(z)
    x0 = (x - np.sqrt(1 - tables.alphas_cumprod[t]) * eps_hat) / np.sqrt(tables.alphas_cumprod[t])
    prev, a = tables.alphas_cumprod_prev[t], tables.alphas_cumprod[t]
    mean = (prev**0.5 * tables.betas[t] * x0 + tables.alphas[t]**0.5 * (1 - prev) * x) / (1 - a)
    return mean + variance[t]**0.5 * noise"""
RIGHT = {"tables-blank": TABLES, "q-sample-blank": FORWARD, "reverse-step-blank": REVERSE}


def but(tables=None, forward=None, reverse=None):
    """The right answers, but for (words, other words) in one of the blanks, or for the whole blank."""
    answers = {}
    for (name, text), change in zip(RIGHT.items(), (tables, forward, reverse), strict=True):
        answers[name] = text.replace(*change) if isinstance(change, tuple) else change or text
    return answers


MISTAKES = {        # what was written, the tests that it fails, and a word of the hint
    "shifted product": (but(tables=("alphas.cumprod()", "np.append(1, alphas.cumprod()[:-1])")), ["tables", "posterior-variance"], "shifted"),
    "beta as variance": (but(tables=("(1 - alphas_cumprod_prev) / (1 - alphas_cumprod) * betas", "betas")), ["posterior-variance"], "beta"),
    "t off by one": (but(forward=("[t]", "[t - 1]")), ["q-sample"], "off by one"),
    "root forgotten": (but(forward=("(1 - a)**0.5", "(1 - a)")), ["q-sample"], "root"),
    "one t for all": (but(forward=("[t].reshape(-1, 1)", "[t[0]]")), ["q-sample"], "first one's t"),
    "t off by one on the way back": (but(reverse="    t = max(t - 1, 0)\n" + REVERSE), ["reverse-mean", "reverse-noise"], "off by one"),
    "noise at t=0": (but(reverse=(" if t > 0 else np.zeros_like(z)", "")), ["reverse-noise"], "t = 0"),
    "variance as deviation": (but(reverse=("variance[t]**0.5", "variance[t]")), ["reverse-noise"], "root"),
    "beta on the way back": (but(reverse=("variance[t]", "tables.betas[t]")), ["reverse-noise"], "argument"),
}


def fill(student, answers, tests=None):
    """A student's notebook with the blanks filled in, and the tests replaced by `tests` if given."""
    student = copy.deepcopy(student)
    for cell in student.cells:
        name = handouts.marks(cell).get("grade_id")
        if name in answers:
            cell.source, blanks = re.subn(r"    # YOUR CODE HERE\n    raise NotImplementedError\(\)",
                                          lambda _, text=answers[name]: text, cell.source)
            assert blanks == 1
        elif tests and handouts.marks(cell).get("locked"):
            cell.source = tests
    return student


def index(notebook, name):
    return next(i for i, cell in enumerate(notebook.cells) if handouts.marks(cell).get("grade_id") == name)


def with_cell(notebook, source, place=1):
    """The notebook with a cell of the student's own."""
    notebook = copy.deepcopy(notebook)
    notebook.cells.insert(place, new_code_cell(source))
    return notebook


def without(notebook, name):
    notebook = copy.deepcopy(notebook)
    del notebook.cells[index(notebook, name)]
    return notebook


def honest(blank):
    """{name: notebook} of those who did nothing wrong, or nothing bad."""
    right = fill(blank, RIGHT)
    twice, markdown, bare, moved = (copy.deepcopy(right) for _ in range(4))
    for name in ("tables", "q-sample-blank"):
        twice.cells.insert(index(twice, name), copy.deepcopy(twice.cells[index(twice, name)]))
        twice.cells[index(twice, name)].id = f"second-{name}"
    markdown.cells[index(markdown, "q-sample-blank")].cell_type = "markdown"
    for cell in bare.cells:
        cell.metadata = {}
    own = moved.cells[index(moved, "tables-blank")]
    own.metadata, own.source = {}, "# my own cell\n" + own.source
    helper = but(forward="    return mix(x0, eps, tables.alphas_cumprod[t][:, None])")
    answered = copy.deepcopy(right)
    answered.cells[index(answered, "question-1")].source = "Because it is."
    return {
        "right": right, "blank": blank, "answered": answered,
        "helper": with_cell(fill(blank, helper), "def mix(a, b, share):\n    return share**0.5 * a + (1 - share)**0.5 * b", 5),
        "import": with_cell(fill(blank, but(tables=("alphas.cumprod()", "torch_like.cumprod(alphas)"))), "import numpy as torch_like"),
        "other T": with_cell(right, "T = 500\nbetas = np.linspace(1e-4, 0.04, T)", 3),
        "mended tests": fill(blank, but(forward=("(1 - a)**0.5", "(1 - a)")), tests="print('right')"),
        "deleted test": without(right, "q-sample"), "deleted blank": without(right, "q-sample-blank"), "moved": moved,
        "deleted answer": without(right, "question-2"), "twice": twice, "as markdown": markdown, "no metadata": bare,
        "syntax": fill(blank, but(reverse="    return (x")),
        "asks": with_cell(right, "name = input('Who are you? ')", 3),
        "prints": with_cell(right, "print('x' * 100_000_000)", 3),
        "shell": with_cell(right, "!echo hello\n%matplotlib inline\n%time x = 1", 3),
    }


def loop(body):
    return f"    while True:\n        try:\n            {body}\n        except BaseException:\n            pass"


def hostile(blank, folder):
    """{name: notebook} of those who try to win or to do harm without an answer (wrong), or with one (right)."""
    source, wrong = str(SOURCE), fill(blank, but(forward="    return 0 * x0"))
    read = "\n".join(["import json", f"for cell in json.load(open({source!r}))['cells']:",
                      "    if 'def q_sample' in ''.join(cell['source']): exec(''.join(cell['source']))"])
    package = "\n".join([f"import sys; sys.path.insert(0, {str(ROOT)!r})", "from lib.teaching import handouts",
                         "for cell in handouts.read(handouts.SOURCES / 'ddpm_by_hand.ipynb').cells:",
                         "    if 'def q_sample' in cell.source: exec(cell.source)"])
    after = index(wrong, "q-sample")                # behind the student's q_sample, before its test
    right = fill(blank, RIGHT)
    yes = "lambda *args, **kwargs: None"
    return {
        "redefines check": with_cell(wrong, f"check = assert_allclose = {yes}\nnp.allclose = {yes}\nnp.allclose = lambda *a, **k: True", after),
        "patches numpy": with_cell(wrong, "import numpy.testing, builtins\nnp.allclose = np.isclose = lambda *a, **k: np.True_\n"
                                   f"np.testing.assert_allclose = {yes}\nbuiltins.AssertionError = Warning", after),
        "equals all": with_cell(wrong, "class Equal(np.ndarray):\n    def __eq__(self, other): return True\n"
                                "    def __array_function__(self, *a, **k): return True\n"
                                "def q_sample(x0, t, eps, tables):\n    return np.asarray(x0).view(Equal)", after),
        "patches the shell": with_cell(wrong, "get_ipython().run_cell = lambda *a, **k: type('R', (), {'error_before_exec': None, "
                                       "'error_in_exec': None})()", after),
        "reads the solution": with_cell(wrong, read, after),
        "imports the solution": with_cell(wrong, package, after),
        "reads the environment": fill(blank, but(forward="    import os\n    raise ValueError(str(os.environ) + open('/proc/self/environ').read())")),
        "writes outside": fill(blank, but(forward=f"    open({str(folder / 'written')!r}, 'w')")),
        "writes to the terminal": with_cell(right, "import os\nprint('forged\\t99')\nfor fd in range(20):\n    try: os.write(fd, b'forged\\n')\n"
                                            "    except OSError: pass\nopen('/dev/tty', 'w').write('forged')", 3),
        "forges an answer": with_cell(wrong, "import os, gc, socket\nfor s in gc.get_objects():\n    if isinstance(s, socket.socket):\n"
                                      "        for i in range(200): s.send(b'{\"id\": %d, \"value\": null}\\n' % i)", after),
        "outlives": with_cell(right, "import subprocess\nsubprocess.Popen(['sleep', '98765'], start_new_session=True)\n"
                              "subprocess.Popen('setsid sleep 98765 &', shell=True)", 3),
        "kills": with_cell(right, "import os, signal\nfor pid in {os.getppid(), *map(int, filter(str.isdigit, os.listdir('/proc')))} - {1, os.getpid()}:\n"
                           "    try: os.kill(pid, signal.SIGTERM) if pid in PIDS else os.kill(pid, 0)\n    except OSError: pass".replace("PIDS", "{os.getppid()}"), 3),
        "exits": with_cell(right, "import os\nos._exit(0)", 3),
        "eats memory": with_cell(right, "x = [0] * 10**10", 3),
        "never ends": fill(blank, but(forward="    while True: pass")),
        "never stops": fill(blank, but(forward=loop("pass"))),
        "hangs in a cell": with_cell(right, "import time\ntime.sleep(10**6)", 3),
    }


def malformed(blank):
    """{name: bytes} of files that are no sound notebooks."""
    right = fill(blank, RIGHT)
    text = nbformat.writes(right)

    def changed(change):
        content = json.loads(text)
        return json.dumps(change(content) or content).encode()

    def old(content):
        cells = [{**c, "input": c["source"], "language": "python"} if c["cell_type"] == "code" else c for c in content["cells"]]
        return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}

    return {
        "empty": b"", "no json": b"# Title\nprint(1)\n", "half": text.encode()[:5000], "binary": bytes(range(256)) * 50,
        "merge": text.replace('\n "nbformat"', '\n<<<<<<< HEAD\n "nbformat"', 1).encode(),
        "a list": b"[1, 2]", "no cells": changed(lambda c: c.pop("cells") and None), "cells a number": changed(lambda c: c.update(cells=7)),
        "nested": b"[" * 100_000, "no cell": changed(lambda c: c.update(cells=[])),
        "utf-16": text.encode("utf-16"), "byte order mark": text.encode("utf-8-sig"), "format 3": changed(old),
        "wrong types": changed(lambda c: c["cells"].extend([7, None, {"cell_type": 3, "source": {}}, {"source": ["a", 1]}])),
        "metadata a list": changed(lambda c: c["cells"][0].update(metadata=[1])),
        "grade_id a list": changed(lambda c: c["cells"][0].update(metadata={"nbgrader": {"grade_id": [1]}})),
    }
