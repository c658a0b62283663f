"""Limits of the kernel in which a submission runs: an extension of IPython that is loaded before any of its cells.

A cell has so many seconds of processor time, so a busy machine takes no points. Real time counts only while it waits.
"""
import os
import resource
import signal
import sys
import time

SECONDS = "GRADING_SECONDS"                     # the variable with the processor time of a cell
MEMORY, FILE, OUTPUT = 4 << 30, 64 << 20, 1 << 20       # bytes of memory, of a file, characters that a cell prints
WAIT = 60                                       # seconds in which a cell must use one of processor time


class TimeLimit(BaseException):
    """A cell took too long. No `except Exception` of a student catches it."""

    def _render_traceback_(self):
        return [f"Time limit: {self}."]


def load_ipython_extension(shell):
    seconds = float(os.environ[SECONDS])
    for kind, limit in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_CORE, 0),
                        (resource.RLIMIT_CPU, int(20 * seconds) + 60)):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):
            pass                                # macOS sets no limit of memory
    left = {}

    def begin(*_):
        left.update(stops=0, output=OUTPUT, used=time.process_time())
        signal.setitimer(signal.ITIMER_PROF, seconds, 1)
        signal.setitimer(signal.ITIMER_REAL, WAIT, WAIT)

    def end(*_):
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)

    def stop(number, frame):
        before, left["used"] = left["used"], time.process_time()
        if number == signal.SIGALRM and left["used"] - before > 1:
            return
        left["stops"] += 1
        if left["stops"] > 5:                   # the code catches every exception
            os._exit(1)
        raise TimeLimit(f"the cell took more than {seconds:g} s of processor time" if number == signal.SIGPROF else
                        f"the cell waited for {WAIT} s")

    def limited(write):
        def write_some(text):
            if left.get("output", OUTPUT) > 0:
                write(text[:left["output"]] if "output" in left else text)
                left["output"] = left.get("output", OUTPUT) - len(text)
                if left["output"] <= 0:
                    write("\n... the rest of what it printed is left out ...\n")
            return len(text)
        return write_some

    for stream in (sys.stdout, sys.stderr):
        stream.write = limited(stream.write)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, stop)
    shell.events.register("pre_run_cell", begin)
    shell.events.register("post_run_cell", end)
