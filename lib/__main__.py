"""The front door: `python3 -m lib COMMAND`, from the repository's root; `-h` tells the commands.

Outside of an environment the first call makes .venv; until then the standard library alone is used, and here no syntax
that an old Python 3 could not read: it is to say in one sentence what is needed. The commands: lib/engine/commands.py.
"""
import os
import signal
import sys
from pathlib import Path

if not __package__:
    print("call this as `python3 -m lib`, from the repository's root", file=sys.stderr)
    sys.exit(2)

from lib import ROOT, InputError  # noqa: E402

OLDEST = (3, 11)
STOPPED = 130
FILES = 256         # open files that a command may need; macOS allows so many, most others 1,024


def listen():
    """Let SIGTERM and a closed terminal stop the runs as Ctrl-C does; what was ignored before (nohup) stays so."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def open_streams():
    """Let what is written to a closed stream (`>&-`) go nowhere. Else the next file that is opened takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)        # the lowest free number, as a rule this one
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r"))


def check_open_files():
    """InputError where this process may open too few files for Snakemake, a kernel and their pipes."""
    try:
        import resource
    except ImportError:                                     # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < FILES:
        raise InputError(f"ulimit -n is {limit}: expected at least {FILES} open files: call `ulimit -n {4 * FILES}` "
                         "first")


def main(words):
    if sys.version_info < OLDEST:
        print("Python {}.{} or newer is needed, and this is {}.{}".format(*(OLDEST + tuple(sys.version_info[:2]))),
              file=sys.stderr)
        return 2
    open_streams()
    from lib.engine import commands, environment
    for stream in (sys.stdout, sys.stderr):                 # a title or path that the terminal cannot show
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        arguments = commands.read(words)
        if Path.cwd().resolve() != ROOT:
            raise InputError(f"call this from the repository's root: cd {ROOT}")
        check_open_files()
        environment.enter(words)
        os.environ["PYTHONUTF8"] = "1"                      # for Snakemake and the kernels, whatever the locale
        listen()
        code = arguments.call(arguments)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:                                 # the reader of our words has gone: `... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
