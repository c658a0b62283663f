"""A plan on a real SLURM: munge, slurmctld and slurmd of this machine, started for the test, with one pretended GPU."""
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from commands import own_environment, python_of
from ruamel.yaml import YAML
from toy import make_project

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
CONFIGURED = Path("/etc/slurm/slurm.conf")                  # the only place that the jobs' own commands know
OURS = "dreamingdatatest"                                   # the name of the test's cluster
missing = [tool for tool in TOOLS if not shutil.which(tool, path=PATH)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"SLURM is not installed (Debian: slurm-wlm, munge); missing: {missing}"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can start SLURM's daemons"),
    pytest.mark.skipif(CONFIGURED.exists() and OURS not in CONFIGURED.read_text(), reason=f"this machine has a SLURM of its own: {CONFIGURED}"),
    pytest.mark.skipif(importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
                       reason="snakemake-executor-plugin-slurm is not installed (pip install -e '.[slurm]')")]

CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
MinJobAge=3600
KillWait=5
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a SLURM cluster of this machine alone; its files lie in one folder, its daemons end with it."""
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    folder.chmod(0o755)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    os.mknod(folder / "gpu0", 0o20666, os.makedev(1, 3))
    (folder / "slurm.conf").write_text(CONF.format(name=OURS, host=host, ports=ports, folder=folder, cpus=os.cpu_count()))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder / 'gpu0'}\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    env, links = os.environ | {"PATH": PATH}, [CONFIGURED.with_name(f"{name}.conf") for name in ("slurm", "gres", "cgroup")]
    CONFIGURED.parent.mkdir(exist_ok=True)
    for link in links:
        link.unlink(missing_ok=True)                        # of a test that was killed
        link.symlink_to(folder / link.name)
    log, started = open(folder / "log", "w"), []

    def start(*words):
        started.append(subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=env))

    def words():
        return (folder / "log").read_text(errors="replace")[-3000:]

    try:
        start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
              f"--pid-file={folder}/munge/pid", f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed")
        wait_for((folder / "munge.socket").exists, words)
        start("slurmctld", "-D")
        start("slurmd", "-D")
        wait_for(lambda: subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, env=env).stdout.strip()
                 == "idle", words)
        yield env
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
        log.close()
        for link in links:
            link.unlink()


def jobs(env, state):
    """Numbers of the jobs in a state."""
    done = subprocess.run(["squeue", "-h", "-t", state, "-o", "%A"], capture_output=True, text=True, env=env)
    return done.stdout.split()


def test_a_run_that_is_cancelled_on_the_cluster_comes_back_and_the_plan_ends(slurm, tmp_path):
    project = make_project(tmp_path / "a clone #1 {x}")
    own_environment(project)
    yaml, profile = YAML(typ="safe"), project / "reports/profiles/slurm/config.yaml"
    config = yaml.load(profile)
    config["default-resources"] = {"slurm_partition": "main", "runtime": 10, "mem_mb": 0}       # what a user fills in
    config |= {"set-threads": ["run=1"], "latency-wait": 5, "slurm-no-account": True,
               "slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 2}
    yaml.dump(config, profile)
    (project / "slow").touch()
    env = slurm | {"PYTHONPATH": str(project)}
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen([python_of(project), "-m", "lib", "report", "one", "--profile", "slurm"], cwd=project, env=env,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    progress, snakemake = project / "reports/runs/one/train/one/progress.json", project / "reports/runs/one/snakemake.log"

    def words():
        return (tmp_path / "out").read_text() + snakemake.read_text()[-4000:]

    try:
        wait_for(lambda: progress.exists() or process.poll() is not None, words, 120)
        (first,) = jobs(slurm, "RUNNING")
        details = subprocess.run(["scontrol", "show", "job", first], capture_output=True, text=True, env=slurm).stdout
        assert "gres/gpu=1" in details or "gres:gpu:1" in details, details
        subprocess.run(["scancel", first], check=True, env=slurm)
        wait_for(lambda: first not in jobs(slurm, "RUNNING,COMPLETING"), words)
        progress.unlink(missing_ok=True)
        wait_for(progress.exists, words, 120)                                    # it came back by itself
        assert jobs(slurm, "RUNNING") != [first]
        (project / "slow").unlink()
        assert process.wait(180) == 0, words()
    finally:
        (project / "slow").unlink(missing_ok=True)
        process.terminate()
        process.wait(60)
    text = (tmp_path / "out").read_text()
    assert "train/one done in" in text and "report/default done in" in text, text
    assert (project / "reports/build/one/report.html").exists()
