"""The commands: arguments, environment, pipeline and bench."""

import sys

# The grammar of addresses that jsonschema would look for: notebooks need none, and it takes longer to read than they.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
