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
# Each exercise of [notebook 12](../12_paper_tables.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "paper"  # whose runs to read: "paper" (section 4.1), or "smoke" and "quick" for a try

# %%
import casnkit as ck
from casnkit import exercises
from casnkit.data.imitate import Shape, imitate
from casnkit.experiments import tables

toy = imitate("market1501", ck.notebook.default_folder() / "imitated", shape=Shape(num_train=8, num_test=6))
session = ck.notebook.start(profile, str(toy))

# %% [markdown]
# What the exercises start from: the folder of the toy's table.

# %%
plan = tables.Plan(3, ck.notebook.default_folder() / "toy-table", "smoke", ["ide"], changes={"epochs": 4})

# %% [markdown]
# ## 1 · Predict
#
# The toy's files are called like Market-1501's, and its folder holds nothing else. `ck.open_dataset` opens what it is
# told to and notes its doubt; a table refuses, because its numbers would stand beside those of another benchmark.

# %% tags=["exercise"]
my_prediction = "missing"

# %% tags=["check"]
wrong_set = tables.Plan(1, plan.out, "smoke", ["ide"], changes={"epochs": 1})
refused = tables.measure(wrong_set, toy, device=str(session.device), progress=False)["missing"]
ck.notebook.say(refused.get("cuhk03-np-detected", "trained"))
reasons = {
    "trained": "a table sets numbers beside published ones, so what only looks like another benchmark is refused",
    "missing": "the file names are Market-1501's: it is refused, and the folder that was looked for is named",
}
exercises.check_choice(my_prediction, "missing" if refused else "trained", reasons)

# %% [markdown]
# ## 2 · Read a table
#
# CASN (PCB) is built on PCB, so PCB is what it has to be compared with.

# %% tags=["exercise"]
my_points = tables.published("pcb-casn", "dukemtmc-reid").mean_ap - tables.published("pcb", "dukemtmc-reid").mean_ap

# %% tags=["check"]
casn, pcb, ide = (tables.published(row, "dukemtmc-reid") for row in ("pcb-casn", "pcb", "ide"))
mistakes = {
    "that is rank-1": casn.rank_1 - pcb.rank_1,
    "that is the gain over IDE, which is not what CASN (PCB) is built on": casn.mean_ap - ide.mean_ap,
    "that is relative to the baseline; points are a plain difference": 100 * (casn.mean_ap / pcb.mean_ap - 1),
}
exercises.check_number(my_points, casn.mean_ap - pcb.mean_ap, mistakes, tolerance=6e-2)

# %% [markdown]
# ## 3 · Write it
#
# The mean of all seeds is compared, never the best of them, and the range stands beside it: a difference that is smaller
# than the range may be luck.


# %% tags=["exercise"]
def compare(measured: list[float], published: float) -> tuple[float, float] | None:
    mean = sum(measured) / len(measured)
    return mean - published, max(measured) - min(measured)


# %% tags=["check"]
def reference(measured: list[float], published: float) -> tuple[float, float]:
    return sum(measured) / len(measured) - published, max(measured) - min(measured)


cases = {"not reached": ([84.0, 83.0, 86.0], 85.3), "surpassed": ([88.0, 90.0], 85.3), "one seed": ([85.3], 85.3)}
mistakes = {
    "the table has measured minus published": lambda m, p: (-reference(m, p)[0], reference(m, p)[1]),
    "take the mean of the seeds, not the best of them": lambda m, p: (max(m) - p, reference(m, p)[1]),
}
exercises.check_function(compare, reference, cases, mistakes)
