"""The process in which a student's code runs while it is graded; see judge.py. Nothing of the project is imported.

`python -I -S runner.py OPTIONS`, with a clean environment, imports what the handout does, once for a whole class, and
forks for each submission. That process confines itself to a folder of its own, takes requests on a socket and answers
them, a line of JSON each:

  {"id": 1, "run": SOURCE}                             run a cell
  {"id": 2, "call": NAME, "values": [ARGS, KWARGS]}    call a function of the student's
  {"id": 3, "get": NAME}                               a value of the student's

with {"id": 1, "value": ...} or {"id": 1, "error": [TYPE, WORDS]}. Values travel as plain data (encode), so that a test
never touches an object whose behaviour the student wrote.
"""
import base64
import contextlib
import ctypes
import importlib
import json
import os
import signal
import socket
import sys

SCALARS = (type(None), bool, int, float, str)


# ---------------------------------------------------------------- plain data
def encode(value):
    """A value as JSON: None, numbers, text, arrays, lists, tuples, dicts, and objects as their attributes.

    TypeError for what is no data, such as a function.
    """
    import numpy as np
    if type(value) in SCALARS:
        return value
    if isinstance(value, complex) and not isinstance(value, np.generic):
        return {"complex": [value.real, value.imag]}
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError("expected numbers in an array, not objects")
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        return {"scalar" if isinstance(value, np.generic) else "array": [array.dtype.str, list(array.shape), data]}
    if isinstance(value, dict):
        return {"dict": [[encode(k), encode(v)] for k, v in value.items()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"object": {name: encode(getattr(value, name)) for name in value._fields}}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [encode(v) for v in value]}
    if hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return {"object": {name: encode(v) for name, v in vars(value).items()}}
    raise TypeError(f"expected data, not a {type(value).__name__}")


def decode(data):
    """What encode was given, made anew of numpy's and Python's own types. An error for what encode cannot make."""
    from types import SimpleNamespace

    import numpy as np
    if type(data) in SCALARS:
        return data
    (kind, content), = data.items()
    if kind in ("array", "scalar"):
        dtype, shape, text = content
        dtype = np.dtype(dtype)
        if dtype.kind not in "biufcSUmM":
            raise ValueError(f"an array of {dtype}")
        array = np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
        return array if kind == "array" else array[()]
    make = {"list": lambda c: [decode(v) for v in c], "tuple": lambda c: tuple(decode(v) for v in c),
            "dict": lambda c: {decode(k): decode(v) for k, v in c}, "complex": lambda c: complex(*c),
            "object": lambda c: SimpleNamespace(**{name: decode(v) for name, v in c.items()})}
    return make[kind](content)


# ---------------------------------------------------------------- limits
def limit(memory, file, seconds):
    """Hard limits of this process and of each of its children: bytes of memory and of a file, seconds of computing."""
    import resource
    for name, value in (("AS", memory), ("FSIZE", file), ("CPU", seconds), ("CORE", 0), ("NOFILE", 256)):
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            pass                                        # macOS refuses a limit of memory


def landlock():
    """The version of Landlock that the system has, 0 without it."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


def confine(readable, folder):
    """Landlock: from now on this process and its children read `readable` (paths) only, write into `folder` only, and
    neither reach the network by TCP (from version 4) nor signal other processes (from version 6)."""
    call, version = ctypes.CDLL(None, use_errno=True).syscall, landlock()
    read, every = 0b1101, (1 << {1: 13, 2: 14}.get(version, 15)) - 1    # execute, read a file, list a folder; all
    on_files = 0b111 | (every & 1 << 14)                                # of these, what means something for a file
    rules = (ctypes.c_uint64 * 3)(every, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(444, rules, ctypes.c_size_t(size), 0)                # landlock_create_ruleset
    for path, access in [*((path, read) for path in readable), (folder, every), ("/dev/null", on_files)]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue                                                    # not on this system
        access = access if os.path.isdir(path) else access & on_files
        beneath = (ctypes.c_char * 12).from_buffer_copy(
            access.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder))
        call(445, ruleset, 1, beneath, 0)                               # landlock_add_rule
        os.close(place)
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)                             # no new privileges
    if call(446, ruleset, 0):                                           # landlock_restrict_self
        raise OSError(ctypes.get_errno(), "Landlock")
    os.close(ruleset)


# ---------------------------------------------------------------- the student's process
class Student:
    """IPython without a terminal: magics work, output goes nowhere."""

    def __init__(self):
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        class Shell(InteractiveShell):
            def enable_gui(self, gui=None):
                pass

            def showtraceback(self, *args, **kwargs):
                pass

        Shell.showsyntaxerror = Shell.showtraceback
        self.shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        self.busy = False
        signal.signal(signal.SIGINT, self.interrupt)

    def interrupt(self, *_):
        if self.busy:
            raise KeyboardInterrupt("it took too long")

    def run(self, source):
        result = self.shell.run_cell(source, store_history=False)
        if error := result.error_before_exec or result.error_in_exec:
            raise error

    def get(self, name):
        if name not in self.shell.user_ns:
            raise NameError(f"name {name!r} is not defined")
        return self.shell.user_ns[name]

    def answer(self, request):
        """The answer to a request, a dict."""
        self.busy = True
        try:
            if "run" in request:
                return {"value": self.run(request["run"])}
            if "get" in request:
                return {"value": encode(self.get(request["get"]))}
            args, kwargs = decode(request["values"])
            return {"value": encode(self.get(request["call"])(*args, **kwargs))}
        except BaseException as error:
            return {"error": [type(error).__name__[:100], str(error)[:2000]]}
        finally:
            self.busy = False


def serve(channel):
    """Answer requests until the socket is closed."""
    student, pack = Student(), json.dumps               # as it is before the student's code
    requests, reply = channel.makefile("rb"), {"id": 0, "value": None}
    while True:
        channel.sendall(pack(reply).encode() + b"\n")
        request = json.loads(requests.readline() or sys.exit())
        reply = {"id": request["id"]} | student.answer(request)


def main():
    options = json.loads(sys.argv.pop())
    sys.path += options["paths"]
    for module in ("IPython.core.interactiveshell", *options["modules"]):
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    control = socket.socket(fileno=options["socket"])
    control.set_inheritable(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # no zombies
    control.sendall(b"ready\n")
    while True:
        message, found, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not message:
            return
        pid = os.fork()
        if not pid:
            break
        os.close(found[0])
        control.sendall(f"{pid}\n".encode())
    control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    wanted = json.loads(message)
    os.setsid()
    os.chdir(wanted["folder"])
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "IPYTHONDIR"), wanted["folder"]))
    limit(*wanted["limits"])
    if options["readable"]:
        confine(options["readable"], wanted["folder"])
    serve(socket.socket(fileno=found[0]))


if __name__ == "__main__":
    main()
