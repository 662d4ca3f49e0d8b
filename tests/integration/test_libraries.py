"""Libraries find in a stage's container what they expect of a machine; what would exhaust it is walled."""

import json
import re
from collections.abc import Iterator

import pytest
from tests.support.engines import Engine
from tests.support.ways import STAGE, Way

from dvc_runner.errors import EngineError
from dvc_runner.model import Limits

pytestmark = pytest.mark.engine
INSTALL = """\
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir numba joblib matplotlib
ENV PATH=/venv/bin:$PATH
"""

USE = """
import getpass, json, os, pathlib, tempfile, time

import joblib, matplotlib, numba, numpy
from matplotlib import pyplot

@numba.njit(cache=True, parallel=True)
def total(values):
    found = 0.0
    for n in numba.prange(values.size):
        found += values[n]
    return found

def slow(n):
    return n * n, os.getpid()

found = {'user': getpass.getuser(), 'numba': total(numpy.ones(1000)), 'backend': matplotlib.get_backend()}
squares = joblib.Parallel(n_jobs=2)(joblib.delayed(slow)(n) for n in range(20))
found['joblib'] = [square for square, _ in squares]
found['joblib is parallel'] = os.getpid() not in {pid for _, pid in squares}
shared = joblib.Parallel(n_jobs=2)(joblib.delayed(numpy.sum)(values) for values in [numpy.ones(10**6)] * 2)
found['shared'] = [float(one) for one in shared]
memory = joblib.Memory(pathlib.Path.home() / '.cache' / 'joblib', verbose=0)
found['memory'] = memory.cache(slow)(3)[0]
figure = pyplot.figure()
figure.gca().plot([1, 2], [3, 4])
figure.savefig('plot.png')
found['plot'] = pathlib.Path('plot.png').read_bytes()[:4] == b'\\x89PNG'
found['settings'] = matplotlib.get_configdir().startswith(str(pathlib.Path.home()))
found['cached'] = any(path.suffix == '.nbi' for path in [*pathlib.Path.home().rglob('*'), *pathlib.Path().rglob('*')])
found['left'] = sorted(name for name in os.listdir('.') if name not in ('plot.png', 'stages', '__pycache__'))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def equipped(lab: Way) -> Iterator[Way]:
    """The executor of containers, in an image with those libraries."""
    dockerfile, code = lab.root / "stages/lab/Dockerfile", lab.root / "stages/lab/lab.py"
    former = dockerfile.read_text(), code.read_text()
    head, copy, rest = former[0].partition("COPY")
    dockerfile.write_text(f"{head}{INSTALL}{copy}{rest}")
    code.write_text(USE)
    yield Way(lab.executor, lab.root, lab.executor.prepare(STAGE, print))
    dockerfile.write_text(former[0])
    code.write_text(former[1])


def test_numba_joblib_and_matplotlib_work(equipped: Way) -> None:
    ran = equipped.run(["python3", "-m", "lab"], limits=Limits(timeout_s=300))
    assert ran.ended.code == 0, "\n".join(ran.lines)
    assert not [line for line in ran.lines if re.search("warning|temporary|permission", line, re.IGNORECASE)]
    assert json.loads(ran.lines[-1]) == {
        "user": "stage",
        "numba": 1000.0,
        "backend": "agg",
        "joblib": [n * n for n in range(20)],
        "joblib is parallel": True,
        "shared": [10.0**6] * 2,
        "memory": 9,
        "plot": True,
        "settings": True,
        "cached": True,
        "left": [],
    }


def test_shared_memory_has_the_size_that_was_asked_for(lab: Way) -> None:
    code = "import os; found = os.statvfs('/dev/shm'); print(found.f_frsize * found.f_blocks)"
    assert lab.python(code).said == Limits().shm_bytes
    assert lab.python(code, limits=Limits(shm_bytes=2**27)).said == 2**27


BREED = """
import os, signal, time
children = []
try:
    while len(children) < 500:
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        children.append(pid)
except OSError as error:
    print(type(error).__name__)
print(len(children))
"""


def test_processes_that_breed_meet_a_wall(lab: Way) -> None:
    ran = lab.python(BREED, limits=Limits(pids=50))
    assert ran.lines[0] == "BlockingIOError"
    assert int(ran.lines[1]) < 50
    assert ran.ended.code == 0


def test_a_fork_bomb_ends_with_its_stage(lab: Way) -> None:
    code = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    ran = lab.python(code, limits=Limits(pids=30, timeout_s=2))
    assert ran.ended.code != 0


def test_gpus_that_the_engine_lacks_are_named(lab: Way, containers: Engine) -> None:
    if "nvidia" in containers.api.info()["Runtimes"]:
        pytest.skip("this engine has GPUs")
    with pytest.raises(EngineError, match="asks for GPUs") as raised:
        lab.python("pass", limits=Limits(gpus=1))
    assert "meta.container.gpus" in raised.value.remedy


def test_the_default_is_a_wall_too(lab: Way) -> None:
    code = "import glob; print(*[open(p).read() for p in glob.glob('/sys/fs/cgroup/**/pids.max', recursive=True)][:1])"
    assert str(Limits().pids) in lab.python(code).lines[0]
