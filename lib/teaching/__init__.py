"""Explorers for the notebooks, and exercises with their grading."""
import sys

sys.modules.setdefault("rfc3987_syntax", None)          # of jsonschema: 2 s for a grammar of web addresses
