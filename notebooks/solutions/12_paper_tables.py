# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 12 · The paper's tables
#
# For each exercise of [notebook 12](../12_paper_tables.ipynb): an answer, the reason, and the same checking cell. (What a
# good answer to the essay question says stands in the notebook.)

# %% tags=["parameters"]
profile = "paper"  # whose runs to read: "paper" (the real tables), or "smoke" and "quick" for a try

# %%
import numpy as np
from PIL import Image

import casnkit as ck
from casnkit import exercises
from casnkit.experiments import tables

# %%
toy, rng = ck.notebook.default_folder() / "toy", np.random.default_rng(0)
for pid, camera, k in np.ndindex(14, 2, 2):  # eight people for the training, six for the test
    folder = toy / ("bounding_box_train" if pid < 8 else "bounding_box_test" if k else "query")
    folder.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(pid).integers(20, 236, (4, 1, 3))  # a person is four blocks of colour
    pixels = np.repeat(colours, 16, axis=0) + rng.integers(-20, 20, (64, 32, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{pid + 1:04d}_c{camera + 1}s1_{100 * k + 1:06d}_00.jpg")
session = ck.notebook.start(profile, str(toy))

# %% [markdown]
# The exercises start from this: the folder of the toy's table.

# %%
plan = tables.Plan(3, ck.notebook.default_folder() / "toy-tables", "smoke", ["ide"], changes={"epochs": 4})

# %% [markdown]
# ## 1 · Predict
#
# The toy's files are named like those of Market-1501, and its folder holds nothing else. `ck.open_dataset` would open it and
# print a note. A table refuses it, because its results would stand beside published numbers of another benchmark.

# %% tags=["exercise"]
my_prediction = "missing"

# %% tags=["check"]
wrong_set = tables.Plan(1, plan.out, "smoke", ["ide"], changes={"epochs": 1})
refused = tables.measure(wrong_set, toy, device=str(session.device), progress=False)["missing"]
reasons = {
    "trained": "the results would stand beside published ones, so a set that only resembles the benchmark is refused",
    "missing": f"it is refused, and told why: {refused.get('cuhk03-np-detected', 'no reason')}",
}
exercises.check_choice(my_prediction, "missing" if refused else "trained", reasons)

# %% [markdown]
# ## 2 · Work it out
#
# The gain of IA is $m_{IA} - m_{PCB}$, and that of SA and CASN likewise. The sum of the first two less the third is
# $m_{IA} + m_{SA} - m_{CASN} - m_{PCB}$. It is almost as large as the gain itself: together they bring hardly more than one.

# %% tags=["exercise"]
pcb, ia, sa, both = (tables.published(row, "dukemtmc-reid").mean_ap for row in ("pcb", "pcb+ia", "pcb+sa", "pcb-casn"))
my_points = (ia - pcb) + (sa - pcb) - (both - pcb)

# %% tags=["check"]
pcb, ia, sa, casn = (tables.published(row, "dukemtmc-reid") for row in ("pcb", "pcb+ia", "pcb+sa", "pcb-casn"))
mistakes = {
    "that is the gain of IA and SA together; subtract CASN's": ia.mean_ap + sa.mean_ap - 2 * pcb.mean_ap,
    "subtract the baseline from every row, CASN's too": ia.mean_ap + sa.mean_ap - 2 * pcb.mean_ap - casn.mean_ap,
    "that is rank-1": ia.rank_1 + sa.rank_1 - casn.rank_1 - pcb.rank_1,
    "the other way round": casn.mean_ap + pcb.mean_ap - ia.mean_ap - sa.mean_ap,
}
exercises.check_number(my_points, ia.mean_ap + sa.mean_ap - casn.mean_ap - pcb.mean_ap, mistakes, tolerance=6e-2)

# %% [markdown]
# ## 3 · Write it
#
# The two networks of one seed saw the same pictures in the same order, so we compare them seed by seed. With three seeds the
# interval is wide: $t$ is more than four. A difference is clear if the interval does not contain zero.


# %% tags=["exercise"]
def compare(method: list[float], baseline: list[float], t: float) -> tuple[float, float] | None:
    differences = [m - b for m, b in zip(method, baseline, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    deviation = (sum((d - mean) ** 2 for d in differences) / (n - 1)) ** 0.5
    return mean, t * deviation / n**0.5


# %% tags=["check"]
def reference(method: list[float], baseline: list[float], t: float) -> tuple[float, float]:
    d = np.subtract(method, baseline)
    return d.mean(), t * d.std(ddof=1) / len(d) ** 0.5


cases = {
    "three seeds": ([85.5, 87.0, 84.5], [84.0, 83.0, 86.0], 4.303),
    "five seeds": ([70.0, 71.0, 73.0, 70.5, 72.0], [69.0, 69.5, 72.5, 69.0, 71.5], 2.776),
}
mistakes = {
    "method minus baseline": lambda m, b, t: (-reference(m, b, t)[0], reference(m, b, t)[1]),
    "divide the variance by n - 1": lambda m, b, t: (
        reference(m, b, t)[0],
        t * np.subtract(m, b).std() / len(m) ** 0.5,
    ),
    "divide by the root of n": lambda m, b, t: (reference(m, b, t)[0], reference(m, b, t)[1] * len(m) ** 0.5),
    "use t, with few seeds 1.96 is too small": lambda m, b, t: (reference(m, b, t)[0], reference(m, b, 1.96)[1]),
    "compare seed by seed: the spread of the differences": lambda m, b, t: (
        reference(m, b, t)[0],
        t * (np.var(m, ddof=1) / len(m) + np.var(b, ddof=1) / len(b)) ** 0.5,
    ),
}


def as_tuple(*case):
    return None if (found := compare(*case)) is None else tuple(np.atleast_1d(found))


exercises.check_function(as_tuple, reference, cases, mistakes)
