"""Snakemake's way into one run: a `script:` needs no shell, so no quoting. What a run is stands in lib/plans.py."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(snakemake.scriptdir).parent))  # noqa: F821

from lib.engine import plan as plans

job = snakemake  # noqa: F821
sys.exit(plans.run_job(job.params.config, job.threads, job.params.get("title")))
