"""The evaluation under its former name; to be removed."""

from casnkit.evaluation import RANKED_BY, SIDES, Retrieval, pair_probability  # noqa: F401
