"""What was published: rank-1 and mAP in percent, and for each number where else it stands, so that it can be checked.

A number counts as *confirmed* where a second text says the same, and for the two baselines, which the paper takes from
PCB's. Others are kept with ``confirmed=False`` for whoever has the paper at hand; the tables show a dash for them. No
number is an estimate. All are single-query results without re-ranking.
"""

from __future__ import annotations

from dataclasses import dataclass

CASN_PAPER = "Zheng, Karanam, Wu, Radke, CVPR 2019"
_PCB_PAPER = "Sun, Zheng, Yang, Tian, Wang, ECCV 2018"

# Where a number was read beside the paper that reports it.
_MDRS = (
    "quoted with 'Joint multi-scale discrimination and region segmentation for person re-ID', Pattern Recognition "
    "Letters 2020 (github.com/nickhuang1996/HJL-re-id, README.md)"
)
_CUHK = "list of the CUHK03-NP protocol's authors (github.com/zhunzhong07/person-re-ranking, CUHK03-NP/README.md)"
_DUKE = "list of DukeMTMC-reID's evaluation code (layumi/DukeMTMC-reID_evaluation and its copies, State-of-the-art/README.md)"
_MARKET = (
    "leaderboard of Market-1501 (jingdongwang2017.github.io/Projects/ReID/Datasets/result_market1501.html), as copied in "
    "public reading notes"
)
_BPM = "quoted as the PCB paper's in github.com/huanghoujing/beyond-part-models, README.md"
_WIZWAND = "quoted in wizwand.com/paper/68fa643f1e209131cea0368e"
_BASELINE = "baseline that the CASN paper quotes, from notes of it; no second text was found"
_NOTES = "notes of the CASN paper only"


@dataclass(frozen=True)
class Published:
    """One number pair of one system on one benchmark.

    Attributes:
        system: name in the table; for our rows the key of :data:`casnkit.tables.plan.ROWS`.
        benchmark: as :func:`casnkit.open_dataset` calls it.
        rank_1, mean_ap: percent.
        paper: who published the system.
        confirmed_in: where the number was read beside that paper, or what it rests on.
        confirmed: whether the tables show it.
    """

    system: str
    benchmark: str
    rank_1: float
    mean_ap: float
    paper: str
    confirmed_in: str
    confirmed: bool = True


_SETS = {
    "detected": "cuhk03-np-detected",
    "labeled": "cuhk03-np-labeled",
    "duke": "dukemtmc-reid",
    "market": "market1501",
}


def _rows(
    system: str, paper: str, source: str, confirmed: bool = True, **numbers: tuple[float, float]
) -> list[Published]:
    return [Published(system, _SETS[key], *pair, paper, source, confirmed) for key, pair in numbers.items()]


_BASELINES = [
    *_rows("ide", _PCB_PAPER, _BASELINE, detected=(43.8, 38.9), duke=(73.2, 52.8), market=(85.3, 68.5)),
    *_rows("pcb", _PCB_PAPER, _BPM, detected=(61.3, 54.2), market=(92.4, 77.3)),
    *_rows("pcb", _PCB_PAPER, _BASELINE, duke=(81.7, 66.1)),
]
_CASN = [
    *_rows("pcb-casn", CASN_PAPER, _MDRS, detected=(71.5, 64.4), labeled=(73.7, 68.0), duke=(87.7, 73.7)),
    *_rows("pcb-casn", CASN_PAPER, _MDRS, market=(94.4, 82.8)),
    *_rows("ide-casn", CASN_PAPER, _NOTES, False, detected=(57.4, 50.7), labeled=(58.9, 52.2)),
    *_rows("ide-casn", CASN_PAPER, _NOTES, False, duke=(84.5, 67.0), market=(92.0, 78.0)),
    *_rows("ide+ia", CASN_PAPER, _NOTES, False, detected=(54.8, 48.1), duke=(83.2, 66.0), market=(91.0, 76.9)),
    *_rows("ide+sa", CASN_PAPER, _NOTES, False, detected=(55.2, 49.1), duke=(83.5, 66.0), market=(91.6, 77.7)),
    *_rows("pcb+ia", CASN_PAPER, _NOTES, False, detected=(68.5, 62.4), duke=(87.3, 73.4), market=(93.9, 81.8)),
    *_rows("pcb+sa", CASN_PAPER, _NOTES, False, detected=(69.9, 64.2), duke=(86.8, 73.5), market=(94.1, 82.6)),
]
_OTHERS = [
    *_rows("SVDNet", "Sun et al., ICCV 2017", _CUHK, detected=(41.5, 37.3), labeled=(40.9, 37.8)),
    *_rows("SVDNet", "Sun et al., ICCV 2017", _DUKE, duke=(76.7, 56.8)),
    *_rows("SVDNet", "Sun et al., ICCV 2017", _MDRS, market=(82.3, 62.1)),
    *_rows("DPFL", "Chen, Zhu, Gong, ICCV workshops 2017", _CUHK, detected=(40.7, 37.0), labeled=(43.0, 40.5)),
    *_rows("DPFL", "Chen, Zhu, Gong, ICCV workshops 2017", _DUKE, duke=(79.2, 60.6)),
    *_rows("DPFL", "Chen, Zhu, Gong, ICCV workshops 2017", _MDRS, market=(88.9, 73.1)),
    *_rows("HA-CNN", "Li, Zhu, Gong, CVPR 2018", _CUHK, detected=(41.7, 38.6), labeled=(44.4, 41.0)),
    *_rows("HA-CNN", "Li, Zhu, Gong, CVPR 2018", _DUKE, duke=(80.5, 63.8)),
    *_rows("HA-CNN", "Li, Zhu, Gong, CVPR 2018", _MARKET, market=(91.2, 75.7)),
    *_rows("MLFN", "Chang, Hospedales, Xiang, CVPR 2018", _CUHK, detected=(52.8, 47.8), labeled=(54.7, 49.2)),
    *_rows("MLFN", "Chang, Hospedales, Xiang, CVPR 2018", _DUKE, duke=(81.2, 62.8)),
    *_rows("MLFN", "Chang, Hospedales, Xiang, CVPR 2018", _WIZWAND, market=(90.0, 74.3)),
    *_rows("TriNet + Random Erasing", "Zhong et al., 2017", _CUHK, detected=(55.5, 50.7), labeled=(58.1, 53.8)),
    *_rows("PSE", "Sarfraz et al., CVPR 2018", _DUKE, duke=(79.8, 62.0)),
    *_rows("DuATM", "Si et al., CVPR 2018", _DUKE, duke=(81.8, 64.6)),
    *_rows("DuATM", "Si et al., CVPR 2018", _MARKET, market=(91.4, 76.6)),
    *_rows("PCB+RPP", _PCB_PAPER, _MDRS, detected=(63.7, 57.5), duke=(83.3, 69.2), market=(93.8, 81.6)),
    *_rows("Part-aligned", "Suh et al., ECCV 2018", _DUKE, duke=(84.4, 69.3)),
    *_rows("Part-aligned", "Suh et al., ECCV 2018", _MARKET, market=(91.7, 79.6)),
    *_rows("SPReID", "Kalayeh et al., CVPR 2018", _MDRS, duke=(86.0, 73.3), market=(93.7, 83.4)),
    *_rows("Mancs", "Wang et al., ECCV 2018", _MARKET, market=(93.1, 82.3)),
    *_rows(
        "MGN", "Wang et al., ACM Multimedia 2018", _MDRS, labeled=(68.0, 67.4), duke=(88.7, 78.4), market=(95.7, 86.9)
    ),
]
PUBLISHED: tuple[Published, ...] = (*_BASELINES, *_CASN, *_OTHERS)


def published(system: str, benchmark: str, unconfirmed: bool = False) -> Published | None:
    """What is known of a system on a benchmark; None where nothing is, or nothing confirmed."""
    found = [p for p in PUBLISHED if (p.system, p.benchmark) == (system, benchmark) and (p.confirmed or unconfirmed)]
    return found[0] if found else None


def other_systems(benchmark: str) -> list[Published]:
    """Other people's systems on a benchmark, in rising order of mAP."""
    return sorted((p for p in _OTHERS if p.benchmark == benchmark), key=lambda p: p.mean_ap)
