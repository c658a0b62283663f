"""Dreaming Data: does a diffusion model's synthetic data help a classifier?

A plan (reports/plans/*.yml) sets the parameters of the notebooks; the notebooks call the modules of this
package in a straight line; their results become tables, figures and one report.
"""
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class InputError(ValueError):
    """A value that the user can mend. Its one sentence names the value and what is accepted."""

    code = 2                # with which a command ends

    def _render_traceback_(self):
        """IPython's hook: in a notebook the sentence stands alone, not below the calls that led to it."""
        return [f"{type(self).__name__}: {self}"]


class DamagedError(InputError):
    """A file that does not hold what was written or published. Its one sentence names the file."""

    code = 4
