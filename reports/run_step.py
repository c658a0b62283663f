"""Snakemake's way into one run: a `script:` needs no shell, so no quoting. What a run is: lib/engine/kernel.py."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(snakemake.scriptdir).parent))  # noqa: F821

from lib.engine.kernel import run_job

job = snakemake  # noqa: F821
sys.exit(run_job(job.params.config, job.threads))
