"""The accepted names stand once, in lib.diffusion; what the modules hold under them fits."""
import pytest

from lib import InputError, diffusion
from lib.diffusion import process, samplers, schedules


@pytest.mark.parametrize("module, name", [(schedules, "SCHEDULES"), (process, "TARGETS"), (samplers, "SAMPLERS")])
def test_a_module_has_a_function_for_each_accepted_name_and_no_other(module, name):
    assert tuple(getattr(module, name)) == getattr(diffusion, name)


def test_another_name_is_refused_with_those_that_are_accepted():
    with pytest.raises(InputError, match="^target='noise': expected one of 'eps', 'x0', 'v'$"):
        diffusion.known("target", "noise", diffusion.TARGETS)
