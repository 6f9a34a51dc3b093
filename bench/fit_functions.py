"""Makes the coefficients of passes/kernel/legalize.c (needs numpy).

Lawson's method: least squares whose weights are multiplied by the errors they leave, until the
largest weighted error stops falling. Every fit is weighted to make the finished function's relative
error small. Prints the largest weighted error and the coefficients rounded to float, lowest first.
"""
import math

import numpy as np

erf = np.vectorize(math.erf)


def chebyshev_points(low, high, count=2001):
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)


def lawson(basis, target, weight, rounds=60):
    share = np.ones(len(target)) / len(target)
    best = None
    for _ in range(rounds):
        root = np.sqrt(share) * weight
        fit = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
        error = np.abs(weight * (basis @ fit - target))
        if best is None or error.max() < best[0]:
            best = (error.max(), fit)
        share *= error / error.max() + 1e-3
        share /= share.sum()
    return best


def show(name, error, coefficients):
    print(name, error, [float(np.float32(c)) for c in coefficients])


def powers(x, count):
    return np.stack([x**k for k in range(count)], 1)


def fit_exp():  # (exp(r) - 1 - r) / r^2
    half = math.log(2) / 2 * 1.0005
    r = chebyshev_points(-half, half)
    target = sum(r**k / math.factorial(k + 2) for k in range(24))
    show("exp", *lawson(powers(r, 5), target, r * r / np.exp(r)))


def fit_log():  # (log(1 + f) - f + f^2 / 2) / f^3
    f = chebyshev_points(math.sqrt(0.5) - 1, math.sqrt(2) - 1)
    series = sum((-1) ** k * f**k / (k + 3) for k in range(40))
    direct = (np.log1p(f) - f + f**2 / 2) / f**3
    target = np.where(np.abs(f) > 0.15, direct, series)
    show("log", *lawson(powers(f, 9), target, np.abs(f**3 / np.log1p(f))))


def fit_tanh():  # (tanh(x) / x - 1) / u with u = x^2
    u = chebyshev_points(1e-8, 0.625**2 * 1.001)
    x = np.sqrt(u)
    target = (np.tanh(x) / x - 1) / u
    target = np.where(u < 1e-3, -1 / 3 + 2 * u / 15 - 17 * u**2 / 315, target)
    show("tanh", *lawson(powers(u, 5), target, u * x / np.tanh(x)))


def fit_erf(end=3.75, count=15):  # erf(x) / x in t = 2 x^2 / end^2 - 1
    u = chebyshev_points(1e-10, end * end, 4001)
    x = np.sqrt(u)
    t = np.clip(u * 2 / end**2 - 1, -1, 1)
    lift = 1 + 1.2e-7 * np.clip((x - 3.2) / (end - 3.2), 0, 1)
    basis = np.stack([np.cos(k * np.arccos(t)) for k in range(count)], 1)
    error, fit = lawson(basis, erf(x) / x * lift, x / erf(x))
    show("erf", error, np.polynomial.chebyshev.cheb2poly(fit))


fit_exp()
fit_log()
fit_tanh()
fit_erf()
