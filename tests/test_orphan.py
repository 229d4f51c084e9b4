"""A stage ends with the process that ordered it, and only with that."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from lvdm.orphan import DIES_WITH, OF_DVC

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the means")
STAGE = "from lvdm.orphan import watch_over_orderer; watch_over_orderer(); print('working', flush=True); input()"


def test_killing_whoever_ordered_a_stage_ends_it_through_a_shell():
    orderer = subprocess.Popen(["sleep", "60"])
    environment = os.environ | {DIES_WITH: str(orderer.pid)}
    command = f'"{sys.executable}" -c "{STAGE}"; exit $?'  # the shell stays between the two
    with subprocess.Popen(
        ["sh", "-c", command], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout.readline() == "working\n"
        orderer.kill()
        assert shell.wait(30) == 128 + signal.SIGKILL
        orderer.wait()


def test_a_stage_ordered_by_a_process_that_is_gone_ends_at_once():
    gone = subprocess.Popen(["true"])
    gone.wait()
    environment = os.environ | {DIES_WITH: str(gone.pid)}
    stage = subprocess.run([sys.executable, "-c", STAGE], env=environment, input="", capture_output=True, timeout=60)
    assert stage.returncode == -signal.SIGKILL
    assert stage.stdout == b""


@pytest.mark.parametrize("stays", ["", "; exit $?"])
def test_killing_the_dvc_that_runs_a_stage_ends_it_through_the_shell_between(stays):
    """As DVC does it: a shell whose environment names the stage."""
    command = f"'{sys.executable}' -c '{STAGE.replace(chr(39), chr(34))}'{stays}"
    dvc = f"import os, subprocess as s; s.run(['sh', '-c', {command!r}], env=os.environ | {{{OF_DVC!r}: 'sample'}})"
    environment = {key: value for key, value in os.environ.items() if key not in (DIES_WITH, OF_DVC)}
    with subprocess.Popen(
        [sys.executable, "-c", dvc], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as orderer:
        assert orderer.stdout.readline() == "working\n"
        below = psutil.Process(orderer.pid).children(recursive=True)
        orderer.kill()
        ended, alive = psutil.wait_procs(below, timeout=60)
        assert ended and not alive


def test_a_stage_that_nobody_ordered_is_on_its_own():
    environment = {key: value for key, value in os.environ.items() if key not in (DIES_WITH, OF_DVC)}
    stage = subprocess.run(
        [sys.executable, "-c", STAGE], env=environment, input="\n", capture_output=True, text=True, timeout=60
    )
    assert (stage.returncode, stage.stdout) == (0, "working\n")
