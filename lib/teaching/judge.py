"""The tests of a handout on the notebook of a student, who cannot reach them.

The student's cells run in a process of their own (runner.py). A test runs in this one, with the handout's imports and
data, as the instructor knows them: where it calls a function that the student wrote, the call's values travel to the
student's process and the result comes back as plain numbers. So no redefined assertion, patched library, forged output
or altered test can win points: what wins is the right result. The tests, hidden ones too, never enter the student's
process, but for the visible part, which runs there for the names that it makes.
"""
import ast
import builtins
import contextlib
import ctypes
import importlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import symtable
import sys
import sysconfig
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import psutil

from lib.teaching import runner

MEMORY, FILE, ANSWER = 4 << 30, 64 << 20, 64 << 20          # bytes, at most: of a process, a file, a returned value


@dataclass
class Cell:
    """A cell, of the source or of a submission. kind: code or markdown; name: its grade_id or None."""

    kind: str
    source: str
    name: str | None = None
    solution: bool = False          # of the source: a blank for students
    points: float | None = None     # of the source: the maximum of what is graded
    visible: str = ""               # of the source: its text in the student's version
    needed: bool = False            # of the source: tests build on it
    blank: set = field(default_factory=set)     # of the source: the numbers of the lines that a student writes

    @property
    def graded(self):
        return self.points is not None

    @property
    def test(self):
        return self.graded and self.kind == "code"


def names(source):
    """The names that a cell reads anywhere, and those that it binds at its top level."""
    loaded = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    table = symtable.symtable(source, "cell", "exec")
    return loaded, {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}


# ---------------------------------------------------------------- the student's process, seen from outside
class TimeUp(BaseException):
    """The student's code took too long; no test may catch it."""


class Died(BaseException):
    """The student's process came to an end."""


class StudentError(Exception):
    """An error in the student's function whose kind Python does not have by itself."""


class Nursery:
    """The process that forks the students' processes: what the handout imports is imported once."""

    def __init__(self, modules):
        paths = list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))
        readable = [sys.base_prefix, sysconfig.get_path("stdlib"), *paths, os.path.join(sys.prefix, "share"), "/usr",
                    "/lib", "/lib32", "/lib64", "/bin", "/etc", "/nix/store", "/proc", "/sys", "/dev/urandom"]
        keep = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ} | {"PATH": os.defpath}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.folder = tempfile.mkdtemp(prefix="grade-")
        own = dict.fromkeys(("HOME", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR"), self.folder)
        self.control, there = socket.socketpair()
        options = {"paths": paths, "modules": modules, "readable": readable if runner.landlock() else [],
                   "socket": there.fileno()}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", runner.__file__, json.dumps(options)], cwd=self.folder,
            env={**keep, **threads, **own, "MPLBACKEND": "agg", "LANG": "C.UTF-8"}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[there.fileno()])
        there.close()
        self.control.settimeout(120)
        self.control.recv(100)                      # the imports are done

    def fork(self, folder, seconds):
        """(pid, socket) of a new process in `folder`, for so many seconds of computing."""
        here, there = socket.socketpair()
        message = {"folder": folder, "limits": [MEMORY, FILE, int(seconds)]}
        with there:
            socket.send_fds(self.control, [json.dumps(message).encode()], [there.fileno()])
        return int(self.control.recv(100)), here

    def close(self):
        self.control.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Session:
    """A student's process. A cell that ends it is left out, and the process starts again with the cells before."""

    def __init__(self, nursery, timeout, limit):
        self.nursery, self.timeout, self.deadline = nursery, timeout, time.monotonic() + limit
        self.left = timeout                 # seconds of the student's that the test may still use
        self.cells, self.pid, self.number = [], None, 0
        self.folder = tempfile.mkdtemp(prefix="grade-")

    def start(self):
        """Start the process and run the cells that have run already."""
        self.pid, self.socket = self.nursery.fork(self.folder, max(1, self.deadline - time.monotonic()) + 10)
        self.buffer, self.number = b"", 0
        self.receive(self.timeout)
        for source in self.cells:
            self.exchange({"run": source}, self.timeout)

    def receive(self, seconds):
        """The answer to the last request."""
        end = time.monotonic() + seconds
        while True:
            line, found, rest = self.buffer.partition(b"\n")
            if found:
                self.buffer = rest
                with suppress(ValueError, RecursionError):
                    reply = json.loads(line)
                    if isinstance(reply, dict) and reply.get("id") == self.number and {"value", "error"} & set(reply):
                        return reply
                continue
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self.socket.recv(1 << 20)
            except TimeoutError:
                raise TimeUp from None
            except OSError:
                data = b""
            if not data or len(self.buffer) > ANSWER:
                raise Died
            self.buffer += data

    def exchange(self, request, seconds):
        self.number += 1
        try:
            self.socket.settimeout(max(0.01, seconds))
            self.socket.sendall(json.dumps({"id": self.number} | request).encode() + b"\n")
        except TimeoutError:
            raise TimeUp from None
        except OSError:
            raise Died from None
        return self.receive(seconds)

    def ask(self, request, seconds):
        """The answer to a request. TimeUp after `seconds`, Died if the process ended."""
        left = min(seconds, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeUp
        try:
            if not self.pid:
                self.start()
            return self.exchange(request, left)
        except TimeUp:
            try:                                                # Ctrl-C, as a student would
                os.kill(self.pid, signal.SIGINT)
                self.receive(1)
            except (TimeUp, Died):
                self.stop()
            raise TimeUp from None
        except Died:
            self.stop()
            raise

    def run(self, source):
        """Run a cell; its error as words, "" if there was none."""
        try:
            error = self.ask({"run": source}, self.timeout).get("error")
            words = sentence(*error) if error else ""
        except TimeUp:
            words = f"it took more than {self.timeout:g} s"
        except Died:
            return "it ended its process, or took too much memory"
        if self.pid:
            self.cells.append(source)
        return words

    def use(self, request):
        """The value that a function of the student's returns, or that a name has; raises what it raised."""
        start = time.monotonic()
        try:
            reply = self.ask(request, self.left)
        finally:
            self.left -= time.monotonic() - start
        if "error" in reply:
            kind, words = (str(word) for word in reply["error"])
            found = getattr(builtins, kind, None)
            try:
                error = found(words) if issubclass(found, Exception) else None
            except TypeError:                       # no class, or one that wants more than words
                error = None
            raise error or StudentError(f"{kind}: {words}")
        try:
            return runner.decode(reply["value"])
        except Exception:
            raise StudentError("TypeError: no value that can be read") from None

    def stop(self):
        """End the process and all that it started."""
        if self.pid:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            self.socket.close()
            self.pid = None
        for _ in range(20):
            left = [p for p in psutil.Process().children(recursive=True) if p.pid != self.nursery.process.pid]
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
            if not left:
                break

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def plain(text, longest=300):
    """Words of a stranger in one line that cannot pass for more than words."""
    text = "".join(c if c.isprintable() else " " for c in " ".join(str(text).split()))
    return text if len(text) <= longest else text[:longest - 1] + "…"


def sentence(kind, words):
    """An error in one line; of an assertion its own words."""
    words = plain(re.sub(r"<ipython-input-[^>]*>, ", "", str(words)))
    if kind == "NotImplementedError":
        return "not answered"
    return words if kind == "AssertionError" and words else plain(f"{kind}: {words}" if words else kind)


# ---------------------------------------------------------------- the judge's process
class Judge:
    """The handout's names, with the student's functions in the places of the solutions."""

    def __init__(self, source, session):
        self.source, self.session, self.place, self.broken = source, session, 0, {}
        self.names, self.seen, self.printed = {"__name__": "__main__"}, set(), ""

    def execute(self, code):
        """Run lines of the handout; what they print is self.printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(compile(code, "<handout>", "exec"), self.names)
            finally:
                self.printed = printed.getvalue()

    def advance(self, name):
        """Bring the handout's names to where the test `name` begins, or leave them where they are if it is behind."""
        place = next(i for i, cell in enumerate(self.source) if cell.name == name)
        for cell in self.source[self.place:place]:
            if cell.kind == "code" and cell.solution:
                self.take(cell)
            elif cell.needed or cell.test and cell.name not in self.seen:
                with suppress(Exception):
                    self.execute(cell.source)
        self.place = max(self.place, place + 1)

    def take(self, cell):
        """A solution cell: the student's functions and values for its regions, the handout's own lines around them."""
        for node in ast.parse(cell.source).body:
            code = ast.unparse(node)
            bound = names(code)[1]
            if not cell.blank & set(range(node.lineno, node.end_lineno + 1)):
                try:
                    self.execute(code)
                except Exception as error:
                    self.broken |= dict.fromkeys(bound, sentence(type(error).__name__, error))
            elif isinstance(node, ast.FunctionDef):
                self.names[node.name] = self.remote(node.name)
            else:
                for name in bound:
                    with suppress(Exception):
                        self.names[name] = self.session.use({"get": name})

    def remote(self, name):
        def function(*args, **kwargs):
            return self.session.use({"call": name, "values": runner.encode([args, kwargs])})

        return function

    def test(self, cell):
        """(whether it passed, its failure in a sentence, hints)."""
        self.session.left = self.session.timeout
        try:
            self.advance(cell.name)
            self.seen.add(cell.name)
            self.execute(cell.source)
            return True, "", []
        except TimeUp:
            return False, f"it took more than {self.session.timeout:g} s", []
        except Died:
            return False, "it ended its process, or took too much memory", []
        except StudentError as error:
            return False, plain(error), []
        except Exception as error:
            kind = "AssertionError" if isinstance(error, AssertionError) else type(error).__name__
            words = self.broken.get(getattr(error, "name", None)) or sentence(kind, error)
            return False, words, re.findall(r"(?m)^Hint: (.+)$", self.printed)


def blank_of(test, source):
    """The blank that a test judges: the last before it; None for what is no test."""
    names = [cell.name for cell in source]
    if not source[names.index(test)].test:
        return None
    return next((c.name for c in reversed(source[:names.index(test)]) if c.solution and c.kind == "code"), None)


def judge(source, cells, nursery, timeout, limit):
    """{test: (passed, sentence, hints)} of a student's cells."""
    tests = {cell.name: cell for cell in source if cell.test}
    last = max((i for i, cell in enumerate(cells) if cell.name in tests), default=-1)
    session, results, failed = Session(nursery, timeout, limit), {}, {}
    master = Judge(source, session)
    try:
        for cell in cells[:last + 1]:
            if cell.name in tests and cell.kind == "code":
                passed, words, hints = master.test(tests[cell.name])
                before = failed.get(blank_of(cell.name, source))
                if not passed and before and before != words:
                    words = before if before == "not answered" else plain(f"the cell ended with {before}; so {words}")
                results[cell.name] = passed, words, hints
                if passed or session.pid:
                    session.run(tests[cell.name].visible)       # for the names that it makes
            elif cell.kind == "code":
                words = session.run(cell.source)
                if words and cell.name:
                    failed[cell.name] = words
        return results
    finally:
        session.close()


def prepare(modules):
    """Import here what the handout imports, and in the nursery too."""
    nursery = Nursery(modules)
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)
    return nursery


def work(fd):
    """A process that judges one submission after another, as grading.Worker sends them through the pipe `fd`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)             # what a student's process leaves behind becomes our child
    pipe, nursery = Connection(fd), None
    try:
        while True:
            source, modules, timeout, limit, cells = pipe.recv()
            if nursery and nursery.process.poll() is not None:          # killed by a student
                nursery.close()
                nursery = None
            nursery = nursery or prepare(modules)
            pipe.send(judge(source, cells, nursery, timeout, limit))
    except EOFError:
        pass
    finally:
        if nursery:
            nursery.close()
