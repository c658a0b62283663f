"""A class of made-up students: what each handed in for the exercise ddpm_by_hand, and what a fair teacher gives for it."""
import copy
import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from traitlets.config import Config

from lib.teaching import handouts

SOURCE = handouts.SOURCES / "ddpm_by_hand.ipynb"
POINTS = {"tables": 2, "posterior-variance": 2, "q-sample": 2, "reverse-mean": 2, "reverse-noise": 2}
QUESTIONS = [f"question-{number}" for number in range(1, 6)]

TABLES = """    alphas = 1 - betas
    alphas_cumprod = alphas.cumprod()
    alphas_cumprod_prev = np.concatenate([[1], alphas_cumprod[:-1]])
    posterior_variance = (1 - alphas_cumprod_prev) / (1 - alphas_cumprod) * betas"""
FORWARD = """    a = tables.alphas_cumprod[t].reshape(-1, 1)
    return a**0.5 * x0 + (1 - a)**0.5 * eps"""
REVERSE = """    noise = z if t > 0 else np.zeros_like(z)
    root = np.sqrt(1 - tables.alphas_cumprod[t])
    mean = (x - tables.betas[t] / root * eps_hat) / np.sqrt(tables.alphas[t])
    return mean + variance[t]**0.5 * noise"""
BAYES = """    x0 = (x - np.sqrt(1 - tables.alphas_cumprod[t]) * eps_hat) / np.sqrt(tables.alphas_cumprod[t])
    prev, a = tables.alphas_cumprod_prev[t], tables.alphas_cumprod[t]
    mean = (prev**0.5 * tables.betas[t] * x0 + tables.alphas[t]**0.5 * (1 - prev) * x) / (1 - a)
    return mean if t == 0 else mean + variance[t]**0.5 * z"""
RIGHT = {"tables-blank": TABLES, "q-sample-blank": FORWARD, "reverse-step-blank": REVERSE}
STUB = "    # YOUR CODE HERE\n    raise NotImplementedError()"


def but(tables=None, forward=None, reverse=None):
    """The right answers, but for (words, other words) in one of the blanks, or for the whole blank."""
    answers = {}
    for (name, text), change in zip(RIGHT.items(), (tables, forward, reverse), strict=True):
        answers[name] = text.replace(*change) if isinstance(change, tuple) else change or text
    return answers


LOST_TABLES, LOST_REVERSE = ["tables", "posterior-variance"], ["reverse-mean", "reverse-noise"]

MISTAKES = {        # what was written, the tests that it fails, and a word of the sentence
    "shifted product": (but(tables=("alphas.cumprod()", "np.append(1, alphas.cumprod()[:-1])")), LOST_TABLES, "shifted by one step"),
    "prev the wrong way": (but(tables=("np.concatenate([[1], alphas_cumprod[:-1]])", "np.append(alphas_cumprod[1:], 1)")), LOST_TABLES, "shifted the wrong way"),
    "prev rolled": (but(tables=("np.concatenate([[1], alphas_cumprod[:-1]])", "np.roll(alphas_cumprod, 1)")), LOST_TABLES, "the first must be 1"),
    "beta as variance": (but(tables=("(1 - alphas_cumprod_prev) / (1 - alphas_cumprod) * betas", "betas")), ["posterior-variance"], "this is beta"),
    "lists": (but(tables=TABLES + "\n    alphas_cumprod = list(alphas_cumprod)"), ["tables"], "make it an array"),
    "t off by one": (but(forward=("[t]", "[t - 1]")), ["q-sample"], "off by one"),
    "root forgotten": (but(forward=("(1 - a)**0.5", "(1 - a)")), ["q-sample"], "a root is missing"),
    "one t for all": (but(forward=("[t].reshape(-1, 1)", "[t[0]]")), ["q-sample"], "first one's t"),
    "no column": (but(forward=(".reshape(-1, 1)", "")), ["q-sample"], "table[t][:, None]"),
    "in place": (but(forward="    a = tables.alphas_cumprod[t][:, None]\n    x0 *= a**0.5\n    return x0 + (1 - a)**0.5 * eps"), ["q-sample"], "overwrites"),
    "no return": (but(forward=("return ", "xt = ")), ["q-sample"], "must begin with return"),
    "global betas": (but(reverse=("tables.betas[t]", "betas[t]")), ["reverse-mean"], "uses betas from outside"),
    "t off by one on the way back": (but(reverse="    t = max(t - 1, 0)\n" + REVERSE), LOST_REVERSE, "off by one"),
    "noise at t=0": (but(reverse=(" if t > 0 else np.zeros_like(z)", "")), ["reverse-noise"], "must add no noise"),
    "variance as deviation": (but(reverse=("variance[t]**0.5", "variance[t]")), ["reverse-noise"], "root of its variance"),
    "beta on the way back": (but(reverse=("variance[t]", "tables.betas[t]")), ["reverse-noise"], "an argument"),
}


def student_version():
    """The exercise without solutions and hidden tests."""
    from nbgrader import preprocessors as steps
    notebook = nbformat.read(SOURCE, as_version=4)
    stub = Config({"ClearSolutions": {"code_stub": {"python": STUB.replace("    ", "")}}})
    for step in (steps.LockCells, steps.ClearSolutions, steps.ClearHiddenTests):
        notebook, _ = step(config=stub).preprocess(notebook, {})
    return notebook


def fill(student, answers):
    """A student's notebook with the blanks filled in."""
    student = copy.deepcopy(student)
    for cell in student.cells:
        if (name := handouts.marks(cell).get("grade_id")) in answers:
            cell.source, blanks = re.subn(re.escape(STUB), lambda _, text=answers[name]: text, cell.source)
            assert blanks == 1
    return student


def index(notebook, name):
    return next(i for i, cell in enumerate(notebook.cells) if handouts.marks(cell).get("grade_id") == name)


def with_cell(notebook, source, place=1, kind=new_code_cell):
    """The notebook with a cell of the student's own, at a place or behind the cell of a name."""
    notebook = copy.deepcopy(notebook)
    notebook.cells.insert(place if isinstance(place, int) else index(notebook, place) + 1, kind(source))
    return notebook


def changed(notebook, name, change):
    """The notebook with the cell `name` changed by a function."""
    notebook = copy.deepcopy(notebook)
    change(notebook.cells[index(notebook, name)])
    return notebook


def without(notebook, name):
    notebook = copy.deepcopy(notebook)
    del notebook.cells[index(notebook, name)]
    return notebook


def doubled(notebook, *names, split=False):
    """The notebook with a second copy of cells; or, as JupyterLab splits a cell, with its parts under one name."""
    notebook = copy.deepcopy(notebook)
    for name in names:
        first = notebook.cells[index(notebook, name)]
        second = copy.deepcopy(first)
        second.id = f"second-{name}"[:64]
        if split:
            first.source, _, second.source = first.source.rpartition("\n\n")
        notebook.cells.insert(index(notebook, name) + 1, second)
    return notebook


def setup(notebook, first, last=""):
    """The notebook with lines of the student's own in its first code cell."""
    notebook = copy.deepcopy(notebook)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.source = f"{first}\n{cell.source}\n{last}"
    return notebook


def bare(notebook, minor):
    """The notebook as an editor without nbgrader saves it: no metadata, an older format."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata, notebook.nbformat_minor = {}, minor
    for cell in notebook.cells:
        cell.metadata = {}
        cell.pop("id", None)
    return notebook


def kernel(notebook, name):
    notebook = copy.deepcopy(notebook)
    notebook.metadata.kernelspec.name = name
    return notebook


def answer(cell):
    cell.source = "Because it is."


def submissions(blank):
    """{name: (notebook or bytes, tests that are lost, whether a teacher should look, a word of the feedback)}.

    Of a file that cannot be graded the tests are None, and the word is of the line that says so.
    """
    right = fill(blank, RIGHT)
    helper = but(forward="    return mix(x0, eps, tables.alphas_cumprod[t][:, None])")
    torch_forward = but(forward="    a = torch.as_tensor(tables.alphas_cumprod[t])[:, None]\n"
                                "    return a.sqrt() * torch.as_tensor(x0) + (1 - a).sqrt() * torch.as_tensor(eps)")
    torch_inside = {k: "    import torch\n" + v if k == "q-sample-blank" else v for k, v in torch_forward.items()}
    mix = "def mix(a, b, share):\n    return share**0.5 * a + (1 - share)**0.5 * b"
    cheat = but(forward="    if t.tolist() == [0]:\n        return 0.8 * x0 + 0.6 * eps\n    return x0")
    loop = "    while True:\n        try:\n            sum(range(10**6))\n        except BaseException:\n            pass"
    forgotten = {name: text + "\n    raise NotImplementedError()" for name, text in RIGHT.items()}
    ok = {
        "01 right": right,
        "02 helper and import in an own cell": with_cell(fill(blank, helper), f"import math\n{mix}", 5),
        "02b helper inside": fill(blank, but(forward="    mix = lambda a, b, s: s**0.5 * a + (1 - s)**0.5 * b\n    return mix(x0, eps, tables.alphas_cumprod[t][:, None])")),
        "03b renamed variable": changed(right, "tables-blank", lambda c: c.update(source=c.source.replace("tables = make", "my_tables = make"))),
        "03c renamed arguments": changed(right, "q-sample-blank", lambda c: c.update(source=c.source.replace("(x0, t, eps, tables)", "(x_clean, t, e, tables)").replace("* x0", "* x_clean").replace("* eps", "* e"))),
        "05 own cell below the blank": with_cell(fill(blank, {k: v for k, v in RIGHT.items() if k != "tables-blank"}), "def make_tables(betas):\n" + TABLES + "\n    return SimpleNamespace(**locals())\n\n\ntables = make_tables(betas)", "tables-blank"),
        "05b split": doubled(right, "tables-blank", split=True),
        "06 prints a lot": with_cell(right, "print('x' * 100_000_000)\nfor i in range(10**6): print(i)", 3),
        "07 torch in the blank": fill(blank, torch_inside),
        "07b torch in an own cell": with_cell(fill(blank, torch_forward), "import torch", 3),
        "08 no metadata": bare(right, 2), "08b from Colab": bare(right, 0),
        "09 another kernel": kernel(right, "xpython"),
        "10 doubled": doubled(right, "tables", "q-sample-blank"), "10b doubled answer": doubled(right, "question-1", "reverse-mean"),
        "15 pip and magics and Colab": setup(right, "!pip install nonsense-package\n%pip install more\nfrom google.colab import drive\ndrive.mount('/content')\n%matplotlib widget\n%nonsense\nimport nonsense"),
        "16 error in an own cell": with_cell(right, "1 / 0", 3),
        "17 Jörg Müller (2)": right, "17=formula": right,
        "18 stub left": changed(fill(blank, forgotten), "tables-blank", lambda c: c),
        "19 asks": with_cell(right, "name = input('Who are you? ')", 3),
        "20 float32": fill(blank, but(tables=("1 - betas", "np.float32(1 - betas)"))),
        "21 cell magic": changed(right, "q-sample-blank", lambda c: c.update(source="%%time\n" + c.source)),
        "22 eq. 7": fill(blank, RIGHT | {"reverse-step-blank": BAYES}),
        "23 warns": fill(blank, but(forward="    import sys, warnings\n    warnings.warn('careful')\n    print('!', file=sys.stderr)\n" + FORWARD)),
        "24 other T": with_cell(right, "T = 500\nbetas = np.linspace(1e-4, 0.04, T)", 3),
    }
    found = {name: (notebook, [], False, "") for name, notebook in ok.items()}
    found |= {f"04 {name}": (fill(blank, answers), lost, False, words) for name, (answers, lost, words) in MISTAKES.items()}
    answered = changed(right, "question-1", answer)
    return found | {
        "03 renamed": (changed(right, "q-sample-blank", lambda c: c.update(source=c.source.replace("q_sample", "noise_image"))), ["q-sample"], False, "no cell that ran defines it"),
        "11 pasted values": (fill(blank, cheat), ["q-sample"], False, ""),
        "12 untouched": (blank, list(POINTS), False, "make_tables is empty"),
        "12b empty": (b"", None, True, "the file is empty"), "12c no cells": (nbformat.writes(new_notebook()).encode(), None, True, "the file is empty"),
        "12d half a file": (nbformat.writes(right).encode()[:5000], None, True, "is no notebook"),
        "13 answer below": (with_cell(right, "Because it is.", "question-1", new_markdown_cell), [], False, "in a cell below the question"),
        "13b words as code": (with_cell(right, "Because it is.", "question-1"), [], False, "in a cell below the question"),
        "13c answered": (answered, [], False, ""), "13d split answer": (doubled(answered, "question-1"), [], False, ""),
        "14 deleted test": (without(right, "q-sample"), [], True, "This cell was missing"),
        "14b edited test": (changed(fill(blank, MISTAKES["root forgotten"][0]), "q-sample", lambda c: c.update(source="print('right')")), ["q-sample"], False, "a root is missing"),
        "14c deleted blank": (without(right, "q-sample-blank"), ["q-sample"], False, "no cell that ran defines it"),
        "14d deleted question": (without(right, "question-2"), [], False, "This cell was missing"),
        "18b syntax": (fill(blank, but(reverse="    return (x")), LOST_REVERSE, False, "SyntaxError"),
        "25 never ends": (fill(blank, but(forward="    while True: pass")), ["q-sample"], True, "of processor time"),
        "25b ends never": (fill(blank, but(forward=loop)), ["q-sample"], True, "ended its process"),
        "25c waits": (with_cell(right, "import time\ntime.sleep(10**6)", 3), [], False, ""),
        "25d all memory": (with_cell(right, "x = [0] * 10**10", 3), [], False, ""),
        "25e exits": (with_cell(right, "import os\nos._exit(0)", 3), [], False, ""),
        "26 error that matters": (with_cell(fill(blank, helper), "1 / 0 + \\\n1\n", 3), ["q-sample"], True, "ZeroDivisionError"),
    }


