"""Systems that carry their solution; each derivation stands in the docstring. NumPy and SciPy only."""

import math

import numpy as np
import scipy.integrate
import scipy.optimize
import scipy.special


def with_one(x):
    """x̃ = (x, 1), (P, d + 1)."""
    return np.concatenate([x, np.ones((len(x), 1))], 1)


class IdentityTwoLayer:
    """φ = identity closes on second moments, at every width, for descent with everything that is linear.

    Let z = (a, w̃) ∈ R^{k+D}, w̃ = w, D = d, or w̃ = (w, b), x̃ = (x, 1), D = d + 1. Then ψ = a (w̃·x̃) and

        f(x) = (1/γ) E[a w̃ᵀ] x̃,    Ψ(z) = γ Σ_p χ_p·a (w̃·x̃_p) + γ²(λ/2)|z|²,

    so ∂_aΨ = γ Gᵀw̃ + γ²λ a and ∂_w̃Ψ = γ G a + γ²λ w̃ with G = Σ_p x̃_p χ_pᵀ (D, k): ∇Ψ = Q z,

        Q = γ [[0, Gᵀ], [G, 0]] + γ²λ I          (rows of a zero if the readout does not move).

    A step is z ← (I − ηQ) z for every neuron alike, hence S = E zzᵀ ← (I − ηQ) S (I − ηQ)ᵀ, whatever the
    number of neurons and their weights, and f depends on S only. Mini-batches and schedules change G and η
    from step to step and nothing else. With momentum the pair (z, m) moves linearly,

        m ← μm + Qz,  z ← z − ηm:    (z, m) ← [[I − ηQ, −ημI], [Q, μI]] (z, m),

    so the second moment of the pair closes. At γ = 1: THEORY 1.2.
    """

    def __init__(self, moment, x, y, *, bias=False, richness=1.0, weight_decay=0.0, train_readout=True):
        self.x = with_one(x) if bias else np.asarray(x)
        self.y = y
        self.bias, self.gamma, self.decay, self.train_readout = bias, richness, weight_decay, train_readout
        self.outputs, self.size = y.shape[1], len(moment)
        self.joint = np.zeros((2 * self.size, 2 * self.size))
        self.joint[: self.size, : self.size] = moment

    @classmethod
    def moment_of(cls, points, weights):
        """S of weighted neurons {a (n, k), w (n, d), b (n,)}."""
        columns = [points["a"], points["w"]] + ([points["b"][:, None]] if "b" in points else [])
        z = np.concatenate(columns, 1)
        return np.einsum("n,ni,nj->ij", weights, z, z)

    @property
    def moment(self):
        return self.joint[: self.size, : self.size]

    def prediction(self, x):
        """f(x), (P, k)."""
        x = with_one(x) if self.bias else x
        return x @ self.moment[: self.outputs, self.outputs :].T / self.gamma

    def descend(self, learning_rate, momentum=0.0, rows=slice(None)):
        """One step on the samples `rows`, weight 1/B each."""
        x, y, k = self.x[rows], self.y[rows], self.outputs
        f = x @ self.moment[:k, k:].T / self.gamma
        G = x.T @ (f - y) / len(x)  # (D, k)
        Q = np.zeros((self.size, self.size))
        Q[:k, k:], Q[k:, :k] = self.gamma * G.T, self.gamma * G
        Q += self.gamma**2 * self.decay * np.eye(self.size)
        if not self.train_readout:
            Q[:k] = 0
        unit = np.eye(self.size)
        move = np.block([[unit - learning_rate * Q, -learning_rate * momentum * unit], [Q, momentum * unit]])
        self.joint = move @ self.joint @ move.T


class IdentityFlow:
    """The infinite-width flow of φ = identity, k = 1, λ = 0, from (a, w) ~ N(0, I), in d numbers.

    dS/dt = −(QS + SQ), Q = γ [[0, gᵀ], [g, 0]], g = Σ_p χ_p x_p. Write r = E a², u = E[aw], W = E wwᵀ:

        r' = −2γ g·u,    u' = −γ(r g + W g),    W' = −γ(g uᵀ + u gᵀ).

    S = MMᵀ with M' = −QM, M_0 = I. Q anticommutes with J = diag(1, −I), so MᵀJM is constant and equal to J;
    then MJMᵀ = J too, and SJS = M(MᵀJM)Mᵀ = J. Blockwise: r² − |u|² = 1, W u = r u, W² = I + uuᵀ, hence
    r = √(1+|u|²) and W = I + uuᵀ/(1+r). So

        u' = −γ [(1 + r) g + u (u·g)/(1 + r)],    f(x) = u·x/γ,    THEORY 1.2 at γ = 1.
    """

    def __init__(self, x, y, *, richness=1.0):
        self.x, self.y, self.gamma = x, y[:, 0], richness

    def pull(self, u):
        """g = Σ_p χ_p x_p, square loss."""
        return self.x.T @ (self.x @ u / self.gamma - self.y) / len(self.x)

    def velocity(self, u):
        r, g = math.sqrt(1 + u @ u), self.pull(u)
        return -self.gamma * ((1 + r) * g + u * (u @ g) / (1 + r))

    def moment(self, u):
        """S = [[r, uᵀ], [u, W]]."""
        r = math.sqrt(1 + u @ u)
        W = np.eye(u.size) + np.outer(u, u) / (1 + r)
        return np.block([[np.array([[r]]), u[None]], [u[:, None], W]])

    def solve(self, times):
        """u at the times, (T, d), and ∫_0^t γ|g| ds, (T,): the logarithm of how much errors can grow.

        The Hessian of the objective along a displacement δ of the particles is δᵀQδ plus the square of a
        change of f: d|δ|/dt ≤ ‖Q‖ |δ| = γ|g| |δ| in L²(ρ).
        """

        def velocity(_, state):
            u = state[:-1]
            return np.append(self.velocity(u), self.gamma * np.linalg.norm(self.pull(u)))

        start = np.zeros(self.x.shape[1] + 1)
        options = dict(method="DOP853", rtol=1e-13, atol=1e-14)
        found = scipy.integrate.solve_ivp(velocity, (0, times[-1]), start, t_eval=times, **options)
        return found.y[:-1].T, found.y[-1]

    def prediction(self, u, x):
        return x @ u / self.gamma

    def prediction_slope(self, u, x):
        """|δf(x)| ≤ this · |δ|_{L²(ρ)}: √K(x, x)/γ, K = E(w·x)² + E a² |x|², by Cauchy–Schwarz."""
        S = self.moment(u)
        kernel = np.einsum("pi,ij,pj->p", x, S[1:, 1:], x) + S[0, 0] * (x * x).sum(1)
        return np.sqrt(kernel) / self.gamma


class QuadraticTwoLayer:
    """φ(z) = z², a = 1 fixed: ψ = (w·x)², f(x) = xᵀSx/γ, S = E wwᵀ.

    ∇_wΨ = 2γ Σ_p χ_p (w·x_p) x_p + γ²λ w = (2γQ + γ²λ) w, Q = Σ_p χ_p x_p x_pᵀ, so
    S ← (I − η(2γQ + γ²λ)) S (I − η(2γQ + γ²λ)), at every width. THEORY 1.2.
    """

    def __init__(self, moment, x, y, *, richness=1.0, weight_decay=0.0):
        self.moment, self.x, self.y = moment, x, y
        self.gamma, self.decay = richness, weight_decay

    def prediction(self, x):
        return np.einsum("pi,ij,pj->p", x, self.moment, x)[:, None] / self.gamma

    def descend(self, learning_rate):
        chi = (self.prediction(self.x) - self.y)[:, 0] / len(self.x)
        Q = np.einsum("p,pi,pj->ij", chi, self.x, self.x)
        unit = np.eye(len(Q))
        move = unit - learning_rate * (2 * self.gamma * Q + self.gamma**2 * self.decay * unit)
        self.moment = move @ self.moment @ move


class OrnsteinUhlenbeck:
    """Inputs x = 0, no bias, φ(0) = 0: ψ = aφ(0) = 0, ∂_aψ = φ(0) = 0, ∂_wψ = aφ'(0)·0 = 0: data never act.

    What is left is dθ = −cθ dt + √(2τ) dB, c = γ²λ, every coordinate by itself: mean m e^{−ct}, variance
    v e^{−2ct} + (τ/c)(1 − e^{−2ct}). The Euler step θ ← (1 − ηc)θ + √(2ητ)ξ has exactly
    m ← (1 − ηc)m, v ← (1 − ηc)²v + 2τη, stationary at τ/(c(1 − ηc/2)). THEORY 1.2.
    """

    def __init__(self, temperature, weight_decay, richness=1.0):
        self.tau, self.c = temperature, richness**2 * weight_decay

    def moments(self, time, mean, variance):
        """(mean, variance) of the continuous process."""
        shrink = math.exp(-self.c * time)
        return mean * shrink, variance * shrink**2 + self.tau / self.c * (1 - shrink**2)

    def descend(self, learning_rate, mean, variance):
        """(mean, variance) after one Euler step."""
        shrink = 1 - learning_rate * self.c
        return shrink * mean, shrink**2 * variance + 2 * self.tau * learning_rate

    def stationary(self, learning_rate):
        return self.tau / (self.c * (1 - learning_rate * self.c / 2))


class NoisyStationaryState:
    """ρ* ∝ exp(−Ψ(θ; ρ*)/τ) for d = 1, k = 1, no bias, square loss, λ > 0. THEORY 1.2.

    Ψ = a s(w) + (λ/2)(a² + w²), s(w) = Σ_p χ_p φ(w x_p). In a this is a Gaussian of mean −s/λ and variance
    τ/λ; integrated out, ρ*(w) ∝ exp(−λw²/2τ + s²/2λτ) and f(x) = −E[s(w) φ(w x)]/λ. With
    χ_p = (f(x_p) − y_p)/P these are P equations in χ. They are the stationarity of
    D(χ) = −τ log∫e^{−Ψ_χ/τ} − R*(χ), R* = Σ_p (Pχ_p²/2 + y_pχ_p), which is strictly concave: the solution
    is unique. Integrals over w by the trapezoidal rule, whose error is e^{−c/h} for these analytic
    integrands that vanish at both ends.
    """

    def __init__(self, x, y, function, temperature, weight_decay, nodes=1201):
        self.x, self.y, self.function = x[:, 0], y[:, 0], function
        self.tau, self.decay = temperature, weight_decay
        spread = math.sqrt(temperature / weight_decay)
        self.w = np.linspace(-14 * spread, 14 * spread, nodes)
        self.phi = function(self.w[:, None] * self.x)  # (nodes, P)
        self.chi = np.zeros(len(self.x))
        found = scipy.optimize.root(lambda chi: chi - self.updated(chi), self.chi, tol=1e-14)
        self.chi = found.x

    def exponent(self, chi):
        s = self.phi @ chi
        return (-self.decay * self.w**2 + s**2 / self.decay) / (2 * self.tau)

    def density(self, chi):
        """Probabilities of the nodes."""
        return scipy.special.softmax(self.exponent(chi))

    def predictions(self, chi, phi):
        return -(self.density(chi) * (self.phi @ chi)) @ phi / self.decay

    def updated(self, chi):
        return (self.predictions(chi, self.phi) - self.y) / len(self.x)

    def prediction(self, x):
        """f(x), (P,), in the stationary state."""
        return self.predictions(self.chi, self.function(self.w[:, None] * x[:, 0]))

    def free_energy(self):
        """F(ρ*) = R + (λ/2)E|θ|² + τE log ρ*, term by term."""
        rho, h = self.density(self.chi), self.w[1] - self.w[0]
        s = self.phi @ self.chi
        risk = 0.5 * np.mean((self.predictions(self.chi, self.phi) - self.y) ** 2)
        penalty = 0.5 * self.decay * (rho @ self.w**2 + rho @ (s / self.decay) ** 2 + self.tau / self.decay)
        positive = rho > 0
        entropy = -rho[positive] @ np.log(rho[positive] / h)
        entropy += 0.5 * math.log(2 * math.pi * math.e * self.tau / self.decay)
        return risk + penalty - self.tau * entropy

    def dual(self, chi):
        """D(χ), at most F* and equal to it at the solution."""
        h = self.w[1] - self.w[0]
        log_mass = scipy.special.logsumexp(self.exponent(chi)) + math.log(h)
        log_mass += 0.5 * math.log(2 * math.pi * self.tau / self.decay)
        conjugate = np.sum(len(self.x) * chi**2 / 2 + self.y * chi)
        return -self.tau * log_mass - conjugate


class KernelDescent:
    """f ← f − ηKχ, χ = (f − y)/P: the limit γ → 0 of descent, K frozen, from f = 0; k = 1. THEORY 1."""

    def __init__(self, kernel, y):
        self.kernel, self.y, self.f = kernel, y, np.zeros_like(y)

    def descend(self, learning_rate):
        self.f = self.f - learning_rate * self.kernel @ (self.f - self.y) / len(self.y)
