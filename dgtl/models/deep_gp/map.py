"""Tuning a trained deep GP to a target task by maximum a posteriori (Sun et al. eq. 2).

The source model's parameters are the centre of the prior. With ~ for the source's values, v_l
the whitened inducing outputs of layer l and psi every other parameter in unconstrained form,

    J = - sum_i E_q[log p(y_i | f(x_i))]
        + sum_l KL(q(v_l) || N(m~_l, S~_l S~_l^T + tau^2 I))
        + 1/2 sum_j ((psi_j - psi~_j) / s_j)^2

is minimised. Data are summed and the prior is never scaled, so it fades as trials arrive. The
plain ELBO would not do: its KL pulls q(v) back to an empty GP and forgets the source.

With the lower layers and psi held, the optimum of the last layer has a closed form (this file,
numpy); everything else goes through Adam (train.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

from dgtl.models.deep_gp.predict import CachedPredictor, inducing_cholesky, kernel_matrix

if TYPE_CHECKING:
    from collections.abc import Collection

    from dgtl.models.deep_gp.state import Array, DGPState

PARTS = ("lower_layers", "kernels", "inducing", "noise", "mean", "variational")

_LEAST_SLOPE = 0.1
"""A task on which predictions rank backwards tells of noise, not of a reversed machine."""


@dataclass(frozen=True)
class OffsetPrior:
    """Prior of the affine map y = a + (1 + b) f(x) from the source tasks to a target.

    Args:
        offset_scale: standard deviation of a, in units of the source's standard deviation of log2
            throughput.
        slope_scale: standard deviation of b.
    """

    offset_scale: float = 1.0
    slope_scale: float = 0.05

    def __post_init__(self) -> None:
        _check_positive(self, "offset_scale", "slope_scale")


@dataclass(frozen=True)
class ClosedFormMAP:
    """MAP of the last layer's q(v) alone, in closed form: milliseconds.

    Args:
        tau: how far the target's inducing outputs may lie from the source's: standard deviation
            added to their posterior, in whitened units.
        explain_residual: count what the inducing points cannot explain, k(x, x) - |phi(x)|^2, as
            noise of that trial. Without it the closed form is the exact optimum of J; with it,
            trials far from every inducing point move the model less.
        offset: first fit a scale and an offset of the target task; None leaves that out.
    """

    tau: float = 0.3
    explain_residual: bool = True
    offset: OffsetPrior | None = field(default_factory=OffsetPrior)

    def __post_init__(self) -> None:
        if self.tau < 0.0:
            raise ValueError(f"ClosedFormMAP.tau must not be negative, got {self.tau}")


@dataclass(frozen=True)
class AdamMAP:
    """MAP of whatever is not frozen, by Adam: seconds.

    Args:
        tau: as in `ClosedFormMAP`.
        kernel_scale, inducing_scale, noise_scale, mean_scale: prior standard deviations s of the
            unconstrained parameters of each part.
        frozen: what is held, any of `PARTS`.
        steps, learning_rate: of Adam; the rate falls to zero along a cosine.
        offset: as in `ClosedFormMAP`.
    """

    tau: float = 0.3
    kernel_scale: float = 0.05
    inducing_scale: float = 0.02
    noise_scale: float = 0.05
    mean_scale: float = 0.05
    frozen: Collection[str] = ("lower_layers",)
    steps: int = 200
    learning_rate: float = 0.01
    offset: OffsetPrior | None = field(default_factory=OffsetPrior)

    def __post_init__(self) -> None:
        if not set(self.frozen) <= set(PARTS):
            raise ValueError(f"AdamMAP.frozen must be of {PARTS}, got {self.frozen}")
        if set(PARTS) - {"lower_layers"} <= set(self.frozen):
            raise ValueError(f"AdamMAP.frozen leaves nothing to tune: {self.frozen}")
        if self.tau <= 0.0:
            raise ValueError(f"AdamMAP.tau must be positive, got {self.tau}")
        _check_positive(self, "kernel_scale", "inducing_scale", "noise_scale", "mean_scale")
        _check_positive(self, "steps", "learning_rate")


def _check_positive(config: object, *names: str) -> None:
    for name in names:
        if not (value := getattr(config, name)) > 0:
            raise ValueError(f"{type(config).__name__}.{name} must be positive, got {value}")


def prior_cholesky(q_sqrt: Array, tau: float) -> Array:
    """Lower factor [R, M, M] of S~ S~^T + tau^2 I, for q_sqrt [R, M, M]; no Cholesky to fail."""
    m = q_sqrt.shape[-1]
    wide = np.concatenate([q_sqrt, np.repeat(tau * np.eye(m)[None], len(q_sqrt), 0)], axis=2)
    return _lower(wide)


def _lower(root: Array) -> Array:
    """Lower triangular T [..., M, M], positive diagonal, T T^T = root root^T, by QR."""
    r = np.linalg.qr(np.swapaxes(root, -1, -2), mode="r")
    sign = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0)
    return np.asarray(np.swapaxes(r * sign[..., None], -1, -2))


def fit_offset(
    state: DGPState, features: Array, log2_gflops: Array, prior: OffsetPrior
) -> DGPState:
    """Rescale the outputs to the target task: y = a + (1 + b) f(x).

    MAP of a ~ N(0, offset_scale^2), b ~ N(0, slope_scale^2), each trial weighted by the source
    model's predictive variance; one linear system of two unknowns.
    """
    scaler = state.scaler
    mean, var = CachedPredictor(state, linearise=False).latent(scaler.inputs(features))
    weight = 1.0 / (var + state.noise)
    design = np.stack([np.ones_like(mean), mean], axis=1)
    precision = np.diag([prior.offset_scale**-2.0, prior.slope_scale**-2.0])
    gap = scaler.targets(log2_gflops) - mean
    a, b = np.linalg.solve(
        precision + design.T @ (weight[:, None] * design), design.T @ (weight * gap)
    )
    slope = max(1.0 + b, _LEAST_SLOPE)
    rescaled = dataclasses.replace(
        scaler,
        y_mean=scaler.y_mean + scaler.y_std * float(a),
        y_std=scaler.y_std * float(slope),
    )
    return dataclasses.replace(state, scaler=rescaled)


def closed_form(
    state: DGPState, features: Array, log2_gflops: Array, prior: ClosedFormMAP
) -> DGPState:
    """The minimum of J over q(v) of the last layer, all else held.

    With phi = L^-1 k(Z, h(x)), P = S~ S~^T + tau^2 I and the noise R of each trial,
    m = m~ + P Phi^T (Phi P Phi^T + R)^-1 (y - mean_fn - Phi m~), and the covariance is
    P - P Phi^T (Phi P Phi^T + R)^-1 Phi P. Both are computed in the space of the inducing points
    with I + B B^T, B = T^T Phi^T R^-1/2, T T^T = P, whose eigenvalues are at least 1: no jitter,
    and any number of trials.
    """
    layer = state.layers[-1]
    predictor = CachedPredictor(state, linearise=False)
    h = predictor.hidden(state.scaler.inputs(features))
    chol = inducing_cholesky(layer, state.kernel, state.jitter)
    cross = kernel_matrix(layer, state.kernel, layer.inducing, h)
    phi = solve_triangular(chol, cross, lower=True)  # [M, n]
    noise = np.full(phi.shape[1], state.noise)
    if prior.explain_residual:
        noise += np.maximum(layer.variance - (phi * phi).sum(axis=0), 0.0)
    mean = phi.T @ layer.q_mu[:, 0] + (h @ layer.mean_a + layer.mean_b)[:, 0]
    gap = (state.scaler.targets(log2_gflops) - mean) / np.sqrt(noise)

    factor = prior_cholesky(layer.q_sqrt, prior.tau)[0]
    b = factor.T @ phi / np.sqrt(noise)
    inner = np.linalg.cholesky(np.eye(len(b)) + b @ b.T)
    root = solve_triangular(inner, factor.T, lower=True).T  # root root^T is the covariance
    moved = root @ solve_triangular(inner, b @ gap, lower=True)
    tuned = dataclasses.replace(layer, q_mu=layer.q_mu + moved[:, None], q_sqrt=_lower(root)[None])
    return dataclasses.replace(state, layers=(*state.layers[:-1], tuned))
