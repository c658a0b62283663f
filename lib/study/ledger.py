"""Who opened which test images when: a file beside the data cache, a line of JSON for each opening by an arm.

A test that is opened again and again chooses, however sealed each run keeps it: whoever sees a result and changes a
plan has used it. The ledger does not forbid that. It counts, so that a page can say how often.
"""
import datetime
import hashlib
import json
import warnings

from lib.data import places
from lib.data.images import sha256_of


def file():
    """Where the ledger of this user is."""
    return places.cache() / "openings.jsonl"


def content_hash(images):
    """The first sixteen letters of the sha256 of Images."""
    return sha256_of(images)[:16]


class Ledger:
    """The openings of an open run, which has a name, a config and a provenance."""

    def __init__(self, run):
        config = json.dumps(run.config, sort_keys=True)
        self.who = {"plan": run.name, "commit": run.provenance["commit"],
                    "config": hashlib.sha256(config.encode()).hexdigest()[:16]}

    def note(self, arm, hashes):
        """Add a line: test sets, plan, commit, config, arm, date. Where the file can't be written, a warning."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps({"test": hashes} | self.who | {"arm": str(arm), "date": now}) + "\n"
        try:
            file().parent.mkdir(parents=True, exist_ok=True)
            with file().open("a", encoding="utf-8") as lines:       # one short write: processes don't mix their lines
                lines.write(line)
        except OSError as error:
            warnings.warn(f"{file()}: this opening of the test is not noted ({error})", stacklevel=2)

    def before(self, hashes):
        """The openings of any of these test sets by others, as a list of mappings.

        The same run of the same commit with the same parameters is not another: it sees nothing new.
        """
        return [line for line in openings(hashes) if {name: line.get(name) for name in self.who} != self.who]


def openings(hashes):
    """All openings of any of these test sets, as a list of mappings, the first one first."""
    if not file().exists():
        return []
    lines = []
    for text in file().read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:                                          # cut by a full disk
            continue
        if set(hashes) & set(line.get("test", ())):
            lines.append(line)
    return lines
