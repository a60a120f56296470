"""Expectations E[φ(u)φ(v)] of two jointly Gaussian numbers, in terms of one minus their correlation.

(u, v) ~ N(0, [[a, c], [c, b]]), c = √(ab) (1 − δ). Deep kernels drive δ to zero, where a correlation in
floating point has forgotten it: everything here takes δ ∈ [0, 2] and gives it back without a difference of
nearly equal numbers. What an activation contributes is its dual, an object with three methods:

    second(a)               E[φ(√a z)²], z standard normal, for variances a (n,)
    side(a)                 arrays that belong to one variance each
    pair(left, right, δ)    of two sides (n, m) and δ (n, m):
                            1 − E[φ(u)φ(v)]/√(E[φ(u)²] E[φ(v)²]) and E[φ'(u)φ'(v)], (n, m) each

There are duals in closed form, `Mehler` series for smooth φ, `Logistic` mixtures for tanh and the logistic
function at variances where their series is long, `BrokenLine` for straight lines between kinks, and
`Quadrature` for everything.
"""
