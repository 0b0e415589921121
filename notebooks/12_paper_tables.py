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
# # 12 · The paper's tables
#
# **Does it work?** The paper answers with three tables: **1** CUHK03-NP (boxes from a detector, and boxes drawn by hand),
# **2** DukeMTMC-reID and Market-1501, **3** the ablation. Here you see them as published. Beside each number stands the one
# that *you* measured, if you have the pictures.
#
# ![Ranked galleries of three queries, from the hardest to the easiest: right matches in a solid frame, wrong ones in a
# dashed frame](../figures/rankings.webp)
#
# **You will learn** to read such tables critically, to fill one in with a single command, and to decide when a difference
# between two numbers is worth believing.
#
# **You need** `00_start_here`. **You do not need a benchmark**: what was not measured is shown as a dash.
# **Runtime** under a minute on two cores at `smoke`, `quick` and `paper` alike: the profile only says whose finished runs are
# read, and this lesson trains nothing but a toy. **Hardware** a laptop. To fill the tables at `paper` takes a GPU and hours.

# %% tags=["parameters"]
profile = "paper"  # whose runs to read: "paper" (the real tables), or "smoke" and "quick" for a try
if "google.colab" in str(get_ipython()):  # docs/elsewhere.md
    get_ipython().run_line_magic("pip", "install -q casnkit-*.whl")

# %%
import numpy as np
from IPython.display import Markdown
from PIL import Image

import casnkit as ck
from casnkit import evaluation, exercises, figures
from casnkit.experiments import report, tables

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
# The data set above is a toy: blocks of colour, stored and named like Market-1501. We use it in section 5.
#
# ## 1 · Fill a table with one command
#
# ```
# casnkit table 1 --root PATH
# casnkit table 2 --root PATH
# casnkit table 3 --root PATH
# ```
#
# `PATH` is any folder that contains the benchmark; the kit searches for it. Each command trains and tests every row that is
# missing. If you stop it, run the same command again to resume. `--seeds 3` trains three networks for each row, and `--rows
# ide ide-casn` trains only some rows. With several GPUs: `accelerate launch -m casnkit table 3 --root PATH`. The authors of
# DukeMTMC-reID have withdrawn it. The kit reads a copy that you have, and downloads none.

# %% [markdown]
# ## 2 · The three tables
#
# **Idea.** To read the tables you need neither pictures nor a GPU: a finished run stores its results beside its weights.

# %%
folder = ck.notebook.default_folder() / "tables"
read = {n: tables.read_table(tables.Plan(n, folder, session.profile, seeds=None)) for n in tables.TABLES}
measured = [(r["benchmark"], r["name"]) for t in read.values() for r in t["records"] if r["measured"]]
print(f"{len(measured)} measured rows below {folder}" if measured else f"Nothing is measured yet below {folder}.")

# %%
Markdown(tables.to_markdown(read[1]))

# %%
Markdown(tables.to_markdown(read[2]))

# %%
Markdown(tables.to_markdown(read[3]))

# %% [markdown]
# **Look.** A row of the paper's method can be ranked in two ways: by *features* alone, or by the *sum* of both distances. The
# paper uses the sum for every network with Siamese attention. We compare both with the same published number.
#
# A dash under *published* means that the paper prints no such number. `casnkit table 1 --published` prints a table as it
# stands in the paper, without any data.
#
# ## 3 · What is odd in the published numbers
#
# Five things deserve a second look before you compare anything with these tables. Where we can, we compute them from the
# published numbers.
#
# **1. The text and the table disagree.** Section 4.2 of the paper gives gains in rank-1 on CUHK03-NP (detected) that do not
# follow from table 3. (The gains in mAP do.)
#
# **2. Two baselines have the same name.** Tables 1 and 3 both have a row "IDE" for the same benchmark. They come from
# different papers (references 45 and 35), and the second is far better before any attention is added.

# %%
benchmark = "cuhk03-np-detected"
ide, ia, sa = (tables.published(row, benchmark) for row in ("ide", "ide+ia", "ide+sa"))
said = {"IA": (ia, 9.0, 9.2), "SA": (sa, 9.4, 10.2)}  # rank-1 and mAP, from the text of section 4.2
for name, (row, rank_1, mean_ap) in said.items():
    gains = f"rank-1 {row.rank_1 - ide.rank_1:+.1f}, mAP {row.mean_ap - ide.mean_ap:+.1f}"
    print(f"{name} over IDE: table 3 has {gains}; the text says {rank_1:+.1f} and {mean_ap:+.1f}")
other = tables.published("IDE", benchmark)
print(f"IDE, rank-1: {other.rank_1} in table 1, {ide.rank_1} in table 3 (mAP {other.mean_ap} and {ide.mean_ap})")

# %% [markdown]
# **3. The baselines of table 3 were not trained again.** Both are quoted from reference 35. The rows with attention come from
# the paper's own training. So a gain can come from attention, or from any other difference between the two recipes.
#
# **4. IA alone and SA alone each bring almost as much as both together.** If two independent improvements were at work, their
# gains should roughly add up. A common cause, such as a better recipe, would explain this pattern. (It does not prove it: two
# kinds of attention can also do the same job.)

# %%
rows = []
for benchmark in tables.TABLES[3][1]:
    for base in ("ide", "pcb"):
        start, *others = (tables.published(base + end, benchmark).mean_ap for end in ("", "+ia", "+sa", "-casn"))
        ia, sa, both = (mean_ap - start for mean_ap in others)
        if (base, benchmark) != ("pcb", "dukemtmc-reid"):  # exercise 2 asks for this one
            gains = {"IA": ia, "SA": sa, "both, if they added up": ia + sa, "both, published": both}
            rows.append({"benchmark": benchmark, "baseline": base.upper()} | {k: f"{v:+.1f}" for k, v in gains.items()})
evaluation.table(rows)

# %% [markdown]
# **5. CASN is not always the best row.** The text names the gain in rank-1 on CUHK03-NP over the best earlier system. Here is
# CASN (PCB) beside the best *other* system of each benchmark, by rank-1 and by mAP:

# %%
rows = []
for benchmark in ("cuhk03-np-detected", "cuhk03-np-labeled", "dukemtmc-reid", "market1501"):
    casn, rivals = tables.published("pcb-casn", benchmark), []
    rivals = [p for p in tables.PUBLISHED if p.benchmark == benchmark and p.system not in tables.ROWS]
    rows.append({"benchmark": benchmark})
    for key, short in {"rank_1": "rank-1", "mean_ap": "mAP"}.items():
        best = max((p for p in rivals if getattr(p, key) is not None), key=lambda p: getattr(p, key))
        rows[-1] |= {
            f"CASN (PCB), {short}": getattr(casn, key),
            f"best other, {short}": f"{getattr(best, key)} ({best.system})",
        }
evaluation.table(rows)

# %% [markdown]
# ## 4 · The same as a picture
#
# **Look** at the distance between the baseline's ring and CASN's ring. Then look how close the *other systems* are. Each of
# them had its own baseline, trunk, image size and training schedule.

# %%
records = [record for record in read[2]["records"] if record["benchmark"] == "market1501"]
with figures.figure_style():
    figure = figures.style.new_figure(
        9, 5, "Market-1501: published (rings) and measured (dots); blue: this paper's rows"
    )
    axes = figure.subplots(1, 2, sharey=True)
    for record in records:
        colour = "tab:blue" if record["row"] else "grey"
        for ax, number in zip(axes, ("rank_1", "mean_ap"), strict=True):
            for kind, fill in (("published", "none"), ("measured", "full")):
                if record[kind] and record[kind][number] is not None:
                    ax.plot(record[kind][number], record["name"], "o", color=colour, fillstyle=fill)
            ax.set(xlabel={"rank_1": "rank-1 (%)", "mean_ap": "mAP (%)"}[number])
            ax.grid(visible=True)
figure

# %% [markdown]
# How much does the better *baseline* contribute? Published gains, in points:

# %%
gains = []
for benchmark in ("cuhk03-np-detected", "dukemtmc-reid", "market1501"):
    ide, pcb, casn = (tables.published(row, benchmark) for row in ("ide", "pcb", "pcb-casn"))
    gains.append({"benchmark": benchmark})
    for name, short in {"rank_1": "rank-1", "mean_ap": "mAP"}.items():
        for step, before, after in (("PCB over IDE", ide, pcb), ("CASN over PCB", pcb, casn)):
            gains[-1][f"{short}, {step}"] = f"{getattr(after, name) - getattr(before, name):+.1f}"
evaluation.table(gains)

# %% [markdown]
# ## 5 · From a folder of pictures to a table
#
# Now the toy goes the whole way: it is recognised, a network is trained and tested, and the table is printed. We train two
# rows at `smoke` for a few epochs each. The command line does the same with
# `casnkit table 3 --root TOY --profile smoke --rows ide ide-casn --set epochs=4`.

# %%
plan = tables.Plan(3, ck.notebook.default_folder() / "toy-tables", "smoke", ["ide", "ide-casn"], changes={"epochs": 4})
problems = tables.measure(plan, toy, device=str(session.device), progress=False)
result = tables.read_table(plan, problems)
Markdown(tables.to_markdown(result))

# %% [markdown]
# **Look at the lines below the table**, not at the numbers. They say that this is not the benchmark, not the paper's setting,
# and only one seed. A difference from a published number means something only if none of these lines is there.

# %%
rows = [r for r in result["records"] if r["measured"]]
assert {r["ranked_by"] for r in rows if r["row"] == "ide-casn"} == {"features", "sum"}
assert any("not the whole benchmark" in note for note in result["notes"]), "a toy must never pass for the benchmark"

# %% [markdown]
# What does a second call do? Everything is there, so it trains nothing and reads the numbers back.

# %%
assert tables.measure(plan, toy, device=str(session.device), progress=False) == problems
again = tables.read_table(plan)
assert [r["measured"] for r in again["records"]] == [r["measured"] for r in result["records"]]
ck.notebook.say(f"read back: {', '.join(sorted({folder for r in rows for folder in r['folders']}))}")

# %% [markdown]
# ## 6 · A first answer on photographs
#
# The benchmarks cannot come with the kit. But the paper's rows can be trained on any photographs. We used a small trunk
# that was pretrained on ImageNet, and a shortened schedule. The learning rate was chosen with `ide` and on the test
# pictures. So the level of all rows is a little too good, but the differences between rows were not chosen. *Frozen* is the
# mAP of that trunk's features before any training here, *chance* the mAP of a random order. In brackets: the smallest and
# the largest result over seeds.

# %%
trainings, shown = report.read_results("photographs"), []
settings = ["data", "pooling", "variant"]
for (name, pooling, variant), own in trainings.groupby(settings, sort=False) if trainings is not None else ():
    spread = f"{own['mean_ap'].mean():.1f} ({own['mean_ap'].min():.1f} to {own['mean_ap'].max():.1f})"
    shown.append({"data": name, "variant": f"{variant} ({pooling})", "seeds": len(own), "rank-1": own["rank_1"].mean()})
    shown[-1] |= {"mAP": spread} | {level: own[f"{level}_mean_ap"].iloc[0] for level in ("frozen", "chance")}
todo = "python figures/make/photographs.py FOLDER WEIGHTS --name NAME"
evaluation.table(shown) if shown else print(f"Not measured yet; this command makes the table: {todo}")

# %% [markdown]
# If there is a table, compare each row with `ide` of the same pooling and the same data, never with a row of another set. Ask
# the questions of this lesson: is the gain larger than the range over seeds? Did the baseline get the same schedule and the
# same number of tries? And does training beat the frozen features at all?
#
# ## 7 · Before you say "reproduced"
#
# - **Is it the same baseline?** Public versions of the IDE baseline reach much higher numbers than the one that the paper
#   starts from. A gain over a weak baseline is not a gain over a strong one, so train both rows yourself.
# - **Is it the same mAP?** The mean of the precision at each hit and the trapezoid of Market-1501's official script differ by
#   about a point. Both are in the table's JSON file.
# - **Are they the same boxes?** CUHK03-NP *detected* and *labeled* are two different benchmarks.
# - **Is it luck?** One seed is a sample of one. Notebook `06_casn_and_ablation` measures how much the result changes with the
#   seed.

# %% [markdown]
# ## Exercises
#
# Write your answer into the first cell of each exercise; the second cell checks it. Solutions:
# [solutions/12_paper_tables](solutions/12_paper_tables.ipynb).
#
# **1. Predict.** You ask for table **1** (CUHK03-NP) and give `toy` as its folder. Will the kit train on the toy's pictures
# (`"trained"`), or will it say that the benchmark is missing (`"missing"`)?
#
# <details><summary>Hint</summary>
#
# The toy's files are named like Market-1501's. Which published numbers would stand beside its results?
#
# </details>

# %% tags=["exercise"]
my_prediction = None  # "trained" or "missing"

# %% tags=["check"]
wrong_set = tables.Plan(1, plan.out, "smoke", ["ide"], changes={"epochs": 1})
refused = tables.measure(wrong_set, toy, device=str(session.device), progress=False)["missing"]
reasons = {
    "trained": "the results would stand beside published ones, so a set that only resembles the benchmark is refused",
    "missing": f"it is refused, and told why: {refused.get('cuhk03-np-detected', 'no reason')}",
}
exercises.check_choice(my_prediction, "missing" if refused else "trained", reasons)

# %% [markdown]
# **2. Work it out.** Take the PCB rows of table 3 on DukeMTMC-reID, and mAP. Suppose the gains of IA and SA over PCB added
# up. By how many *points* would the gain of both then exceed the gain that the paper prints for CASN (PCB)?
#
# <details><summary>Hint</summary>
#
# `tables.published("pcb+ia", "dukemtmc-reid").mean_ap` is one of the four numbers that you need; the other rows are `"pcb"`,
# `"pcb+sa"` and `"pcb-casn"`.
#
# </details>

# %% tags=["exercise"]
my_points = None  # a number

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
# **3. Write it.** A method and its baseline were each trained with the same $n$ seeds. Return the mean $\bar d$ of the
# differences seed by seed (method minus baseline) and half the width of its 95 % interval, $t\, s / \sqrt n$. Here $s$ is the
# standard deviation of the differences (divide by $n - 1$), and $t$ is given: Student's quantile for $n - 1$ degrees of
# freedom.
#
# <details><summary>Hint</summary>
#
# `numpy.subtract(method, baseline)` gives the differences, and `.std(ddof=1)` divides by $n - 1$.
#
# </details>


# %% tags=["exercise"]
def compare(method: list[float], baseline: list[float], t: float) -> tuple[float, float] | None:
    return None  # your two numbers here


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

# %% [markdown]
# **4. Explain.** You are asked whether the paper's attention works. You may use the published tables, the tables of this kit,
# and what you measured in this course. Write eight to ten sentences.
#
# <details><summary>What a good answer says</summary>
#
# - It separates three claims: better ranking, better maps, better explanations. (1 point)
# - Ranking: it compares with a baseline of the same recipe, over several seeds, with an interval. (1 point)
# - Ranking with attention: it names the control, a plain mean with a weight of its own. (1 point)
# - Maps and explanations: it refers to tests (hiding, random weights) and not to pictures. (1 point)
# - Published numbers: it names at least one oddity of section 3 and says what it does and does not prove. (1 point)
# - It says what is still open, and which experiment would decide it. (1 point)
#
# </details>
#
# **To go on.** Train the toy's baseline with three seeds: `tables.Plan(3, plan.out, "smoke", ["ide"], seeds=3,
# changes={"epochs": 4})`, then `measure` and `read_table`. How far apart are three results of the *same* network?
#
# ## Recap
#
# 1. Why does a gain over a quoted baseline not show that attention helps?
#
# <details><summary>Answer</summary>The recipes can differ in other ways. The baseline has to be trained with the same
# one.</details>
#
# 2. IA and SA each gain almost as much as both together. Name two possible reasons.
#
# <details><summary>Answer</summary>A common cause such as a better recipe, or two kinds of attention with the same
# effect.</details>
#
# 3. One seed is 1.5 points better than the published number. What do you need before you believe it?
#
# <details><summary>Answer</summary>More seeds, an interval, and the same data, boxes, definition of mAP and
# schedule.</details>

# %% [markdown]
# ## References
#
# - M. Zheng, S. Karanam, Z. Wu, R. J. Radke: *Re-Identification with Consistent Attentive Siamese Networks*, CVPR 2019.
# - Y. Sun, L. Zheng, Y. Yang, Q. Tian, S. Wang: *Beyond Part Models: Person Retrieval with Refined Part Pooling*, ECCV 2018.
# - Z. Zhong, L. Zheng, D. Cao, S. Li: *Re-ranking Person Re-identification with k-reciprocal Encoding*, CVPR 2017 (the
#   protocol CUHK03-NP).
