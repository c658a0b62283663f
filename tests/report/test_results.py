"""Results can grow: what an older version wrote still reads."""
import dataclasses
import json

import made_up
import pytest

from lib import DamagedError
from lib.report import results


def test_a_result_reads_back_as_it_was():
    study = made_up.study()
    again = results.loads(results.dumps(study), "here")
    assert again.gain == study.gain and again.arms == study.arms and again.by_class.equals(study.by_class)


def rewritten(result, change):
    """The text of result.json after `change` of what it holds, with a digest that fits."""
    whole = json.loads(results.dumps(result))
    change(whole["result"])
    return json.dumps(whole | {"sha256": results.digest(whole["result"])})


def test_a_field_that_is_missing_takes_its_default():
    text = rewritten(made_up.study(margin=2.0), lambda held: held.pop("margin"))
    assert results.loads(text, "here").margin == {f.name: f.default for f in dataclasses.fields(results.Study)}["margin"]


def test_a_field_that_is_missing_and_has_no_default_is_an_error():
    with pytest.raises(DamagedError, match="here: .*gain"):
        results.loads(rewritten(made_up.study(), lambda held: held.pop("gain")), "here")


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(DamagedError, match="Study has no field surprise"):
        results.loads(rewritten(made_up.study(), lambda held: held.update(surprise=1)), "here")
