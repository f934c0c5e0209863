#!/usr/bin/env python3
"""Write tests/vectors/stats/vectors.json: statistics as SciPy and statsmodels have them.

    python3 -m venv venv && venv/bin/pip install scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python tools/make_stats_vectors.py > tests/vectors/stats/vectors.json

Nothing here shares code or closed forms with results/stats*.c. Tango's interval, which neither library has, is
found from its definition: the multinomial likelihood is maximised numerically under the hypothesis, and the score
statistic is solved by Brent's method. The gate's power sums trinomial probabilities of SciPy over all outcomes.
"""
import json
import math
import sys
import warnings
from fractions import Fraction

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

warnings.simplefilter("error")


def restricted_gains(b, c, n, loss):
    """The likeliest share of gains when losses are `loss` more frequent: maximise b log(q + loss) + c log q +
    (n - b - c) log(1 - 2q - loss) over q. The derivative has one root inside, or the maximum is at an end."""
    low, high = max(0.0, -loss), (1 - loss) / 2

    def slope(q):
        total = 0.0
        for count, share, sign in [(b, q + loss, 1), (c, q, 1), (n - b - c, 1 - 2 * q - loss, -2)]:
            if count:
                total += sign * count / share
        return total

    eps = 1e-15
    left, right = low + eps, high - eps
    if slope(left) <= 0:
        return low
    if slope(right) >= 0:
        return high
    return optimize.brentq(slope, left, right, xtol=1e-16, rtol=1e-15)


def tango_score(b, c, n, loss):
    q = restricted_gains(b, c, n, loss)
    var = n * (2 * q + loss - loss * loss)
    num = b - c - n * loss
    return num / math.sqrt(var) if var > 0 else math.copysign(math.inf, num) if num else 0.0


def tango_bound(b, c, n, z):
    d = (b - c) / n
    if z > 0 and d == -1:
        return -1.0
    if z < 0 and d == 1:
        return 1.0
    ends = (-1 + 1e-12, d) if z > 0 else (d, 1 - 1e-12)
    return optimize.brentq(lambda x: tango_score(b, c, n, x) - z, *ends, xtol=1e-14)


def gate(b, c, n, margin):
    low, high = tango_bound(b, c, n, stats.norm.isf(0.01)), tango_bound(b, c, n, -stats.norm.isf(0.05))
    return "pass" if high < margin else "fail" if low > 0 else "undecided"


def power(n, p_loss, p_gain, margin, cache):
    total = {"pass": 0.0, "fail": 0.0, "undecided": 0.0}
    churn = p_loss + p_gain
    most = int(stats.binom.isf(1e-12, n, churn)) + 1 if churn else 0
    for m in range(most + 1):
        p_m = stats.binom.pmf(m, n, churn)
        for b, p in enumerate(stats.binom.pmf(np.arange(m + 1), m, p_loss / churn) if churn else [1.0]):
            if p_m * p < 1e-15:
                continue
            key = (b, m - b, n, margin)
            if key not in cache:
                cache[key] = gate(b, m - b, n, margin)
            total[cache[key]] += p_m * p
    return [total["pass"], total["fail"], total["undecided"]]


def clustered(rng, n_clusters, size, n_strata):
    """Values in clusters: as the sandwich estimator of an OLS fit on the strata alone has their error."""
    rows = []
    for k in range(n_clusters):
        shared = rng.random()
        for i in range(size if k % 3 else 1):
            rows.append((float(rng.random() < 0.3 + 0.6 * shared), i % n_strata, k))
    x = np.array([r[0] for r in rows])
    strata = np.array([r[1] for r in rows])
    groups = np.array([r[2] for r in rows])
    n = len(rows)
    design = np.array([[s == k for k in range(n_strata)] for s in strata], float)
    fit = sm.OLS(x, design).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    weights = design.mean(axis=0)  # the mean over all is this combination of the strata's means
    se = math.sqrt(weights @ fit.cov_params() @ weights)
    clt = math.sqrt(sum(np.var(x[strata == k], ddof=1) * (strata == k).sum() for k in range(n_strata))) / n
    naive = math.sqrt(sum(np.var(x[strata == k]) * (strata == k).sum() for k in range(n_strata))) / n
    sizes = np.bincount(groups)
    return {"rows": rows, "n_strata": n_strata, "mean": x.mean(), "se_clt": clt,
            # the sandwich has sum e^2 where ours has n/(n-1) sum e^2 within a stratum
            "se": math.sqrt(se * se - naive * naive + clt * clt), "deff_max": float((sizes * sizes).sum() / n)}


def boot(rng, n, fn, base, cand):
    """SciPy's percentile interval of a paired statistic; long enough for a Monte Carlo error below 1 % of it."""
    res = stats.bootstrap((base, cand), fn, paired=True, vectorized=True, n_resamples=200000, batch=2000,
                          confidence_level=0.95, method="percentile", rng=rng)
    return {"base": base.tolist(), "cand": cand.tolist(), "low": res.confidence_interval.low,
            "high": res.confidence_interval.high}


def main():
    rng = np.random.default_rng(20261122)
    out = {"made_with": {"python": sys.version.split()[0], "numpy": np.__version__, "scipy": scipy.__version__,
                         "statsmodels": statsmodels.__version__}}
    out["normal"] = [[p, stats.norm.isf(p)] for p in
                     [1e-300, 1e-100, 1e-20, 1e-6, 0.005, 0.01, 0.025, 0.05, 0.2, 0.5, 0.8, 0.975, 0.999999]]
    out["wilson"] = [[k, n, alpha, *proportion_confint(k, n, alpha, method="wilson")]
                     for n in [1, 7, 10, 164, 500, 1319, 100000] for alpha in [0.01, 0.05, 0.3]
                     for k in sorted({0, 1, n // 3, n - 1, n})]
    out["pass_at_k"] = [[n, c, k, float(1 - Fraction(math.comb(n - c, k), math.comb(n, k)))]
                        for n in [1, 2, 10, 64, 200] for c in sorted({0, 1, n // 3, n}) for k in [1, 2, 10, 100]
                        if k <= n]
    quantiles = sorted(rng.normal(size=17).tolist())
    out["quantile"] = {"x": quantiles, "q": [[q, float(np.quantile(quantiles, q))]
                                             for q in [0, 0.01, 0.025, 0.3, 0.5, 0.95, 0.999, 1]]}
    out["mcnemar"] = []
    for b, c in [(0, 0), (1, 0), (0, 5), (5, 0), (4, 4), (8, 2), (2, 8), (10, 0), (15, 5), (16, 6), (32, 18), (59, 41),
                 (40, 60), (300, 251), (700, 800), (1600, 1400), (3000, 100)]:
        m = b + c
        worse, better = stats.binom.sf(b - 1, m, 0.5), stats.binom.cdf(b, m, 0.5)
        two = mcnemar([[0, b], [c, 0]], exact=True).pvalue if m else 1.0
        half = stats.binom.pmf(b, m, 0.5) / 2 if m else 0.0
        midp = [worse - half, better - half] if m else [1.0, 1.0]
        out["mcnemar"].append([b, c, worse, better, two, *midp, min(1.0, 2 * min(midp))])
    zs = [stats.norm.isf(p) for p in [0.01, 0.05, 0.025]]
    cases = [(0, 0, 10), (0, 0, 164), (0, 0, 2647), (1, 0, 50), (0, 1, 50), (7, 1, 21), (1, 7, 21), (16, 6, 161),
             (40, 20, 160), (5, 5, 500), (12, 3, 500), (30, 10, 1319), (70, 60, 2647), (10, 0, 10), (0, 10, 10),
             (6, 4, 10), (3, 2, 5), (2.5, 1.25, 82.5), (0.5, 0, 100)]
    out["tango"] = [[b, c, n, sign * z, tango_bound(b, c, n, sign * z)] for b, c, n in cases for z in zs
                    for sign in [1, -1]]
    out["tango_score"] = [[b, c, n, d, tango_score(b, c, n, d)] for b, c, n in cases
                          for d in [-0.3, -0.02, 0.0, 0.01, 0.02, 0.5] if abs(d) < 1]
    cache = {}
    out["power"] = [[n, pl, pg, margin, *power(n, pl, pg, margin, cache)] for n, pl, pg, margin in
                    [(10, 0.0, 0.0, 0.02), (10, 0.1, 0.1, 0.02), (210, 0.01, 0.01, 0.03), (400, 0.01, 0.01, 0.02),
                     (1370, 0.01, 0.01, 0.01), (500, 0.06, 0.01, 0.02), (500, 0.03, 0.01, 0.02),
                     (640, 0.025, 0.025, 0.02)]]
    out["holm"] = []
    for p in [[0.01, 0.04, 0.03, 0.005], [0.5], [0.02, 0.02, 0.02], [0.9, 0.2, 0.001, 0.04, 0.04, 1.0]]:
        out["holm"].append([p, multipletests(p, method="holm")[1].tolist()])
    out["clustered"] = [clustered(rng, 40, 2, 1), clustered(rng, 40, 2, 2), clustered(rng, 25, 5, 1)]
    n = 120
    base = (rng.random(n) < 0.7).astype(float)
    cand = np.where(rng.random(n) < 0.1, 1 - base, base)
    out["boot_ratio"] = boot(rng, n, lambda x, y, axis=-1: y.sum(axis=axis) / x.sum(axis=axis), base, cand)
    x = rng.gamma(3.0, 10.0, n)
    y = x * rng.uniform(0.6, 1.0, n)
    out["boot_rate"] = boot(rng, n, lambda x, y, axis=-1: y.mean(axis=axis) / x.mean(axis=axis), x, y)
    json.dump(out, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
