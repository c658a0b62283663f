
import sys

# jsonschema, which nbformat imports, would compile a grammar of web addresses: 2.4 s that no notebook needs
sys.modules.setdefault("rfc3987_syntax", None)
