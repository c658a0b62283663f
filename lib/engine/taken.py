"""Trainings that need not be made: their networks are published with those of a plan."""
import json
import os
import shutil

from lib import ROOT
from lib.engine import parameters
from lib.engine.parameters import STEPS
from lib.engine.plan import in_root
from lib.report import runs

FOLDER = ROOT / "reports" / "published"


def taken(plan):
    """{label: published Run} of the trainings of a plan that have no folder yet, and of which there is a published
    network: one that was trained with the same parameters, by whatever plan."""
    known = {}
    for file in sorted(FOLDER.glob("*/train/*/config.json")):
        if any(file.parent.glob("*.safetensors")):
            known.setdefault(learned_with(runs.read_json(file)), runs.Run(file.parent))
    found = {job.label: known.get(learned_with(job.values)) for job in plan.of("train")
             if not (job.folder / "config.json").exists()} if known else {}
    return {label: run for label, run in found.items() if run}


def learned_with(config):
    """As text what decides how a training's network comes out. config: its parameters."""
    values = parameters.defaults(STEPS["train"].file) | config
    return json.dumps({k: v for k, v in values.items() if k not in ("run_dir", "device", "data_dir")}, sort_keys=True)


def take(plan):
    """Copy the published trainings that `taken` finds to the plan's run folders, as finished ones. Returns these.

    Their networks are those that were published, in bfloat16.
    """
    found = taken(plan)
    for label, run in found.items():
        job = plan.job(*label.split("/"))
        new = job.folder.with_name(f".{job.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(run.folder, new)
        if rungs := job.values.get("rungs"):                # the last rung's network is also the training's
            from lib.diffusion.checkpoints import network_file  # torch takes seconds
            shutil.copyfile(new / network_file(rungs[-1]), new / network_file())
        runs.write_json(new / "config.json", job.values)
        files = {name: runs.sha256(new / name) for name in runs.Run(new).written()}
        runs.write_json(new / "provenance.json", run.provenance | {"files": files, "published": in_root(run.folder)})
        shutil.rmtree(job.folder, ignore_errors=True)
        os.replace(new, job.folder)
    return found
