"""One run of a plan, as Snakemake starts it: run_step.py VALUES THREADS, the values in JSON. lib/engine/kernel.py has
what a run is."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lib.engine.kernel import run_job

values, threads = sys.argv[1:]
sys.exit(run_job(json.loads(values), int(threads)))
