"""A second implementation of two-layer descent, in NumPy and for one network at a time."""

import numpy as np

FUNCTIONS = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "quadratic": (lambda z: z * z, lambda z: 2 * z),
}


class NumpyTwoLayer:
    """θ_i ← θ_i − η ∇Ψ(θ_i), Ψ = γ Σ_p χ_p·aφ(w·x_p + b) + γ²(λ/2)|θ|², square loss, weights m_i.

    With momentum, v ← μv + ∇Ψ and θ ← θ − ηv. Everything in the precision of the arrays given.
    """

    def __init__(self, points, weights, activation, *, richness=1.0, weight_decay=0.0, momentum=0.0):
        self.points = {name: np.array(value) for name, value in points.items()}
        self.weights, self.function, self.slope = weights, *FUNCTIONS[activation]
        self.gamma, self.decay, self.momentum = richness, weight_decay, momentum
        self.velocity = {name: np.zeros_like(value) for name, value in self.points.items()}

    def preactivation(self, x):
        h = self.points["w"] @ x.T
        return h + self.points["b"][:, None] if "b" in self.points else h  # (n, P)

    def predict(self, x):
        phi = self.function(self.preactivation(x))
        return phi.T @ (self.weights[:, None] * self.points["a"]) / self.gamma  # (P, k)

    def data_gradient(self, x, y):
        """∇Ψ without weight decay."""
        chi = self.gamma * (self.predict(x) - y) / len(x)  # (P, k)
        h = self.preactivation(x)
        back = self.slope(h) * (self.points["a"] @ chi.T)  # (n, P)
        gradient = {"a": self.function(h) @ chi, "w": back @ x}
        if "b" in self.points:
            gradient["b"] = back.sum(1)
        return gradient

    def descend(self, x, y, learning_rate):
        gradient = self.data_gradient(x, y)
        for name, value in self.points.items():
            full = gradient[name] + self.gamma**2 * self.decay * value
            self.velocity[name] = self.momentum * self.velocity[name] + full
            self.points[name] = value - learning_rate * self.velocity[name]
