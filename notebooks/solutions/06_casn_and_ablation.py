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
# Each exercise of [notebook 06](../06_casn_and_ablation.ipynb), with an answer,
# why it is one, and the same checking cell.

# %% tags=["parameters"]
profile = "quick"  # "smoke" for seconds, "quick" for minutes, "paper" for a GPU
data = "people"  # or the folder of a benchmark, or of your own pictures

# %%
import math

import numpy as np

import casnkit as ck
from casnkit import exercises
from casnkit.experiments import ablation

session = ck.notebook.start(profile, data)

# %% [markdown]
# ## 1 · Predict
#
# $1 - 0.95^{10} \approx 0.40$. Who tries many settings and reports the one that "works" finds one often, and it is worth
# nothing. Choose on some people, report on others, and say how much was tried.

# %% tags=["exercise"]
my_prediction = "four times in ten"

# %% tags=["check"]
rng = np.random.default_rng(0)
studies = [[ablation.estimate(rng.normal(0, 1, 4)).is_clear for _ in range(10)] for _ in range(300)]
share = np.mean([any(study) for study in studies])
print(f"in {share:.0%} of 300 simulated studies at least one was clear")
reason = "each comparison errs one time in twenty, and ten comparisons err together far more often"
exercises.check_choice(
    my_prediction,
    "four times in ten",
    dict.fromkeys(("one time in twenty", "four times in ten", "almost never"), reason),
)

# %% [markdown]
# ## 2 · Work it out
#
# $4.303 \cdot 0.5 / \sqrt 3 = 1.24$: the difference of 1.5 is clear, although both methods scatter by as much as two
# points. Unpaired, it would not be.

# %% tags=["exercise"]
half_width = 4.303 * 0.5 / math.sqrt(3)

# %% tags=["check"]
paired = ablation.estimate([1.5, 1.0, 2.0])
unpaired = 4.303 * np.sqrt((1.0 + 0.75) / 3)
mistakes = {"this forgets to divide by the root of the number of seeds": 4.303 * 0.5}
mistakes["seeds were not paired: the scatter that both share does not matter"] = unpaired
exercises.check_number(half_width, (paired.high - paired.low) / 2, mistakes, tolerance=0.02)

# %% [markdown]
# ## 3 · Write it
#
# Half the difference needs four times the trainings. That is why small gains are expensive to show, and often claimed
# without.


# %% tags=["exercise"]
def needed(s, d):
    """The number of paired seeds that makes the half width at most d."""
    return math.ceil((2 * s / d) ** 2)


# %% tags=["check"]
cases = {"a loud difference": (1.0, 2.0), "a quiet one": (2.0, 1.0), "in between": (1.5, 0.8)}
mistakes = {"round up: a part of a training cannot be run": lambda s, d: int((2 * s / d) ** 2) or 1}
mistakes["four times the seeds halve the width: square it"] = lambda s, d: np.ceil(2 * s / d)
exercises.check_function(needed, lambda s, d: np.ceil((2 * s / d) ** 2), cases, mistakes)
