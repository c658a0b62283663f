"""Results of ablations in sentences."""
from test_tables_study import ablation

from lib.report import sentences


def test_the_limit_is_told_by_its_verdict_with_every_walk():
    said = sentences.limit(ablation())
    assert said.startswith("The hypothesis survives: clipping adds +70.0 points (+65.0 to +75.0) of label agreement to cosine")
    assert "to linear with eps 0.0 (−5.0 to +5.0), 1.93 times" in said and "to cosine with v" in said
    assert sentences.limit(ablation("")) == ""
