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
# # Solutions to 06 · CASN, and which of its parts earns its place
#
# Each exercise of [notebook 06](../06_casn_and_ablation.ipynb) with an answer, the reason, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import numpy as np

import casnkit as ck
from casnkit import exercises
from casnkit.experiments import ablation

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Predict
#
# $1 - 0.95^{10} \approx 0.40$. If you try many settings and report the one that "works", you will often find one, and it may
# mean nothing. Choose on some people, report on others, and say how many settings you tried.

# %% tags=["exercise"]
my_prediction = "four times in ten"

# %% tags=["check"]
rng = np.random.default_rng(0)
studies = [[ablation.estimate(rng.normal(0, 1, 4)).is_clear for _ in range(10)] for _ in range(300)]
if my_prediction is not None:
    print(f"in {np.mean([any(study) for study in studies]):.0%} of 300 simulated studies at least one was clear")
reason = "each comparison is wrong one time in twenty, and ten comparisons give ten chances to be wrong"
exercises.check_choice(
    my_prediction,
    "four times in ten",
    dict.fromkeys(("one time in twenty", "four times in ten", "almost never"), reason),
)

# %% [markdown]
# ## 2 · Holm's correction
#
# The smallest of $n$ p values has to survive $n$ comparisons, the next one $n - 1$, and so on. The running maximum keeps the
# order of the values.


# %% tags=["exercise"]
def my_holm(p):
    """Holm's corrected p values, in the order of p: (n,) -> (n,)."""
    order, result = np.argsort(p), np.empty(len(p))
    result[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return result


# %% tags=["check"]
def in_order(p, correct):
    order = np.argsort(p)
    return correct(p[order], np.arange(len(p), 0, -1))[np.argsort(order)]


cases = {"sorted": [0.001, 0.02, 0.03], "not sorted": [0.04, 0.01, 0.03, 0.02], "large ones": [0.6, 0.004, 0.7]}
cases = {name: (np.array(p),) for name, p in cases.items()}
mistakes = {
    "all were multiplied by n, that is Bonferroni; Holm takes n, n - 1, ...": lambda p: np.minimum(len(p) * p, 1),
    "a corrected value may not be smaller than the one before it": lambda p: np.minimum(in_order(p, np.multiply), 1),
    "a p value is at most 1": lambda p: in_order(p, lambda s, k: np.maximum.accumulate(k * s)),
    "put the values back into the order of the input": lambda p: np.sort(ablation.report.holm(p)),
    "the smallest is multiplied by n, the largest by 1": lambda p: np.minimum(in_order(p, lambda s, k: s * k[::-1]), 1),
}
exercises.check_function(my_holm, lambda p: ablation.report.holm(p).copy(), cases, mistakes)

# %% [markdown]
# ## 3 · How many seeds
#
# Half the difference needs four times as many trainings. This is why small gains are expensive to show.


# %% tags=["exercise"]
def needed(s, d):
    """The number of paired seeds that makes the half width at most d."""
    return int(np.ceil((2 * s / d) ** 2))


# %% tags=["check"]
cases = {"a large difference": (1.0, 2.0), "a small one": (2.0, 1.0), "in between": (1.5, 0.8)}
mistakes = {"round up: a part of a training cannot be run": lambda s, d: int((2 * s / d) ** 2) or 1}
mistakes["four times the seeds halve the width: square it"] = lambda s, d: np.ceil(2 * s / d)
exercises.check_function(needed, lambda s, d: np.ceil((2 * s / d) ** 2), cases, mistakes)
