"""The infinite-width limit of a perceptron with φ(z) = c_0 + c_1 z under the maximal update parametrization.

Every field is an affine function of Gaussians, so that nothing is sampled: a field is the row of its
coefficients on (1, bias, what runs forward, what runs backward) of its layer, averages are quadratic forms in
the covariance of these, and the responses A = ∂x_t/∂r_s and B = ∂g_t/∂u_s are coefficients. One Gaussian
u^l_{t,p} and one r^l_{t,p} for every step and sample, with covariances E[x_t x_s] and E[g_t g_s], as they
stand in THEORY 3.2: no bases, no orthogonalisation. NumPy only.
"""

import numpy as np


def decays(steps, eta, momentum, decay):
    """α_t and β_t with w_t = α_t w_0 − η Σ_{s<t} β_{t−s} ∇_s, THEORY 3.2."""
    alpha, beta = [1.0], [0.0, 1.0]
    a, b = 0.0, 1.0
    for _ in range(steps):
        a = momentum * a + decay * alpha[-1]
        alpha.append(alpha[-1] - eta * a)
        b = momentum * b - eta * decay * beta[-1]
        beta.append(beta[-1] + b)
    return alpha, beta


class AffineLimit:
    """f_0 … f_T on the training samples, square loss.

    Args: x (P, d), y (P, k); c_0, c_1; `batches`, the samples that every step sees; `rates`, factors of the
    learning rates of the L + 1 layers, biases with those of the first; the settings of `MLP` and of
    `GradientDescent`.
    """

    def __init__(self, c, layers, x, y, eta, steps, *, batches=None, rates=None, **settings):
        model, momentum, decay = settings, settings.get("momentum", 0.0), settings.get("decay", 0.0)
        self.batches = batches or [np.arange(len(x))] * (steps + 1)
        self.rates = rates or [1.0] * (layers + 1)
        self.c0, self.c1 = c
        self.x, self.y, self.layers, self.eta, self.steps = x, y, layers, eta, steps
        self.gamma = model.get("richness", 1.0)
        self.weight, self.bias = model.get("weight_variance", 1.0), model.get("bias_variance", 0.0)
        self.alpha, self.beta = decays(steps, eta, momentum, decay)

    def predictions(self):
        """(T + 1, P, k)."""
        (P, d), k, L = self.x.shape, self.y.shape[1], self.layers
        count = (self.steps + 1) * P
        low = {layer: slice(2, 2 + (d if layer == 1 else count)) for layer in range(1, L + 1)}
        high = {n: slice(low[n].stop, low[n].stop + (k if n == L else count)) for n in low}
        cov = {n: np.zeros((high[n].stop, high[n].stop)) for n in low}
        for n in low:
            cov[n][:2, :2] = np.eye(2)  # 1 and the bias
        cov[1][low[1], low[1]], cov[L][high[L], high[L]] = np.eye(d), np.eye(k)
        X, G, residuals, found = {n: [] for n in low}, {n: [] for n in low}, [], []
        sigma, gain, own = np.sqrt(self.weight), self.eta * self.gamma, np.arange(P)

        def at(part, step):  # the Gaussians of one step
            return slice(part.start + step * P, part.start + (step + 1) * P)

        def mean(n, a, b):
            return a @ cov[n] @ b.T

        def fresh(n, part, t, fields, below):  # covariance of new Gaussians with all before
            for s in range(t + 1):
                block = mean(below, fields[t], fields[s])
                cov[n][at(part, t), at(part, s)], cov[n][at(part, s), at(part, t)] = block, block.T

        for t in range(self.steps + 1):
            alpha = self.alpha[t]
            for n in range(1, L + 1):
                h = np.zeros((P, len(cov[n])))
                if n == 1:
                    h[:, low[1]] = alpha * sigma * self.x / np.sqrt(d)
                else:
                    fresh(n, low[n], t, X[n - 1], n - 1)
                    h[own, at(low[n], t).start + own] = alpha * sigma
                    for s in range(t):  # A
                        h += alpha * sigma * X[n - 1][t][:, at(high[n - 1], s)] @ G[n][s]
                h[:, 1] += alpha * np.sqrt(self.bias)
                for s in range(t):
                    inner = self.x @ self.x.T / d if n == 1 else mean(n - 1, X[n - 1][t], X[n - 1][s])
                    moved = self.rates[n - 1] * self.weight * inner + self.rates[0] * self.bias
                    h -= gain * self.beta[t - s] * moved @ G[n][s]
                h *= self.c1
                h[:, 0] += self.c0
                X[n].append(h)
            v, c = np.zeros((k, len(cov[L]))), np.zeros(k)
            v[:, high[L]] = alpha * sigma * np.eye(k)
            for s in range(t):
                v -= gain * self.beta[t - s] * self.rates[L] * self.weight * residuals[s].T @ X[L][s]
                c -= gain * self.beta[t - s] * self.bias * residuals[s].sum(0)
            f = (mean(L, X[L][t], v) + c) / self.gamma
            found.append(f)
            seen = self.batches[t]
            residuals.append(np.zeros_like(f))
            residuals[t][seen] = (f - self.y)[seen] / len(seen)
            G[L].append(self.c1 * residuals[t] @ v)
            for n in range(L - 1, 0, -1):
                fresh(n, high[n], t, G[n + 1], n + 1)
                g = np.zeros((P, len(cov[n])))
                g[own, at(high[n], t).start + own] = alpha * sigma
                for s in range(t + 1):  # B
                    g += alpha * sigma * G[n + 1][t][:, at(low[n + 1], s)] @ X[n][s]
                for s in range(t):
                    moved = self.rates[n] * self.weight * mean(n + 1, G[n + 1][t], G[n + 1][s])
                    g -= gain * self.beta[t - s] * moved @ X[n][s]
                G[n].append(self.c1 * g)
        return np.stack(found)
