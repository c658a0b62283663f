"""What is published of a finished plan: its site, and a network to draw with."""
import importlib.metadata
import json
import os
import shutil
import sys

import torch

from lib import ROOT, InputError
from lib.diffusion.checkpoints import load_model, network_file, save_model
from lib.engine.plan import in_root, read_plan
from lib.engine.stale import stale
from lib.engine.taken import FOLDER
from lib.report import runs
from lib.report.card import card
from lib.report.front import write_data_page, write_front
from lib.report.site import drop_dead_links

LARGEST = 60e6      # bytes of a published network


def publish(plan, network="", networks=False):
    """Copy a finished plan's site to reports/published/PLAN/, with requirements.txt and the trained network named
    `network` in bfloat16. The pages of replicates other than the first stay behind. networks: whether all trained
    networks go along (see `lib.engine.taken`). Returns the folder.

    Where the runs are not here, a page that `report PLAN --tell` made from what is published replaces the old page; the
    network stays. The folder is replaced as a whole or not at all. InputError where a run is not finished or was made
    by code that no commit holds, for an unknown network, and for one that is too large.
    """
    if not finished(plan) and (FOLDER / plan / "plan.json").is_file():
        return publish_page(plan)
    plan = read_plan(plan)
    check(plan)
    known = {job.name: job for job in plan.of("train")}
    if network and network not in known:
        raise InputError(f"network {network!r}: expected one of {', '.join(known)}")
    folder = FOLDER / plan.name
    mend(folder)
    new = folder.with_name(f".{plan.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        shutil.copytree(plan.html.parent, new)
        leave_out_pages(new, {job.label for job in plan.jobs if job.replicate in ("", ".0")})
        runs.write_atomic(new / "requirements.txt", requirements())
        if network:
            save_network(known[network].folder / "model.safetensors", new / "network.safetensors")
            runs.write_atomic(new / "network.md", model_card(plan, known[network]))
            runs.write_json(new / "plan.json", runs.read_json(new / "plan.json") | {"network": network})
        for job in plan.of("train") if networks else ():
            save_networks(job, new / job.label)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    replace(folder, new)
    return folder


def publish_page(name):
    """Publish a page that was told again. InputError where there is none."""
    folder, built = FOLDER / name, ROOT / "reports" / "build" / name
    if not (built / "report.pdf").is_file():
        raise InputError(f"plan {name!r}: its runs are not finished; to publish a new page of what is published, call "
                         f"`python3 -m lib report {name} --tell` first")
    new = folder.with_name(f".{name}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(built, new)
    patterns = ("**/*.safetensors", "network.md", "requirements.txt", "*/*/notebook.*")
    for kept in (file for pattern in patterns for file in folder.glob(pattern)):
        if not (new / kept.relative_to(folder)).exists():
            shutil.copyfile(kept, new / kept.relative_to(folder))
    about = {file: runs.read_json(file / "plan.json") for file in (folder, new)}
    runs.write_json(new / "plan.json", about[new] | {k: about[folder][k] for k in ("network",) if k in about[folder]})
    leave_out_pages(new, {run.parent.relative_to(new).as_posix() for run in new.glob("*/*/notebook.html")})
    replace(folder, new)
    return folder


def check(plan):
    """InputError where a run of the plan is not current, or was not made by a commit."""
    for label, reason in stale(plan).items():
        raise InputError(f"{label} is not up to date ({reason}): `python3 -m lib report {plan.name}` makes it")
    for job in plan.jobs:
        made = runs.run_at(job.config.run_dir).provenance
        if made["commit"] in ("unknown", "none") or made["uncommitted_changes"] is not False:
            how = "with changes that are in no commit" if made["uncommitted_changes"] is True else \
                "where git could not tell its commit"
            raise InputError(f"{job.label} was made {how}: commit all changes, delete its result.json and make it "
                             "again")


def save_network(source, file):
    """Save a trained network in bfloat16. InputError for one that is too large."""
    save_model(file, load_model(source)[0], torch.bfloat16)
    if file.stat().st_size > LARGEST:
        raise InputError(f"network {source.parent.name!r} has {file.stat().st_size / 1e6:.0f} MB: expected at most "
                         f"{LARGEST / 1e6:.0f} MB")


def save_networks(job, folder):
    """Save a training's networks in `folder`, as `save_network` does: that of each rung, or its only one."""
    for rung in job.values.get("rungs") or [0]:
        save_network(job.folder / network_file(rung), folder / network_file(rung))


def model_card(plan, job):
    """The model card of a training's network."""
    drawn = [g for g in plan.of("generate") if job in g.upstream and g.config.rung in (0, *job.config.rungs[-1:])]
    results = [runs.load(one.config.run_dir, whole=False).result for one in (job, *drawn[:1])]
    return card(plan.name, load_model(job.folder / "model.safetensors")[0], *results)


def leave_out_pages(folder, kept):
    """Remove the pages of runs but those of `kept`, and the links to them; and of notebooks for JupyterLab all but one
    for each step."""
    shown = {}
    for run in runs.read_json(folder / "plan.json")["runs"]:
        if run in kept and (folder / run / "notebook.ipynb").is_file():
            shown.setdefault(run.partition("/")[0], run)
    for page in folder.glob("*/*/notebook.*"):
        if page.parent.relative_to(folder).as_posix() not in (shown.values() if page.suffix == ".ipynb" else kept):
            page.unlink()
    drop_dead_links(folder / "report.html")
    write_data_page(folder)


def replace(folder, new):
    """Put the folder `new` in the place of `folder`, which is kept until the new one is there."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
    write_front(folder.parent)


def mend(folder):
    """Bring back what a publication that was killed has set aside, and say so."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            os.replace(old, folder)
            print(f"an earlier publication was killed: {in_root(folder)} is as it was before it", file=sys.stderr)


def requirements():
    """The exact versions of this environment's packages, as pip reads them."""
    versions = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()) if name != "dreaming-data")


# ---------------------------------------------------------------- told again
def tell(name):
    """Make the page of a plan again without running anything: from its finished runs, or, where some are not here, from
    what was published. Returns (exit code, the page).

    InputError where neither is there.
    """
    from lib.engine.kernel import run_job
    folders, about = finished_or_published(name)
    values = {"plan": about["plan"], "runs": folders, "missing": about["missing"], "title": about["title"],
              "about": about["about"], "run_dir": f"reports/runs/{about['plan']}/report/default"}
    (ROOT / "reports" / "runs" / about["plan"]).mkdir(parents=True, exist_ok=True)
    return run_job(values), ROOT / "reports" / "build" / about["plan"] / "report.html"


def finished_or_published(name):
    """(folders of a plan's runs, {plan, title, about, missing}). InputError where neither is there."""
    return finished(name) or published(name)


def finished(name):
    """(folders of a plan's runs, {plan, title, about, missing}), or None where a run is not finished."""
    plan = read_plan(name)
    folders = [job.config.run_dir for job in plan.jobs if job.step != "report"]
    if not all(runs.run_at(folder).finished for folder in folders):
        return None
    return folders, {"plan": plan.name, "title": plan.title, "about": plan.about, "missing": []}


def published(name):
    """The same of what is published."""
    file = FOLDER / name / "plan.json"
    if not file.is_file():
        names = ", ".join(sorted(path.parent.name for path in FOLDER.glob("*/plan.json")))
        raise InputError(f"plan {name!r}: its runs are not finished, and it is not among the published ones ({names})")
    about = json.loads(file.read_text(encoding="utf-8"))
    return [f"reports/published/{name}/{run}" for run in about["runs"]], about
