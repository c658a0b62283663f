"""What runs notebooks: parameters, plans, what is up to date, kernels, the environment, the commands."""
import sys

# jsonschema, which nbformat imports, would compile a grammar of web addresses: 2.4 s that no notebook needs
sys.modules.setdefault("rfc3987_syntax", None)
