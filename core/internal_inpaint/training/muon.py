"""Muon for the hidden convolution filters, Adam for the rest, in one optimiser.

Muon replaces the momentum of a weight matrix by the nearest semi-orthogonal matrix, found with a few
Newton-Schulz iterations (K. Jordan and others, "Muon: an optimizer for hidden layers in neural
networks", 2024); a convolution filter ``[out, in, k, k]`` is the matrix ``[out, in * k * k]``. PyTorch's
own ``torch.optim.Muon`` takes two-dimensional parameters only and orthogonalises one at a time in
bfloat16; here filters of one shape are orthogonalised together, in float32 where bfloat16 is slow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from internal_inpaint.methods.base import Parameters

# Quintic whose iteration takes every singular value from (0, 1] to about 1 within five rounds.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximate the nearest semi-orthogonal matrices: singular values end up between 0.7 and 1.2.

    Args:
        matrices: ``[B, rows, columns]``.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class MuonAdam:
    """Muon and Adam in one optimiser, with the interface of ``torch.optim``.

    It is not a subclass of ``torch.optim.Optimizer``: constructing one loads ``torch._dynamo``, which costs 1.5 s
    of CPU time and 60 MiB at the start of every run.

    Args:
        parameters: the parameters to train.
        lr: learning rate of Muon: the root mean square of a filter's change is about ``0.2 * lr`` per step.
        adam_lr: learning rate of Adam, for the first and last layers and all biases.
        momentum, betas: decay rates of Muon's and Adam's moving averages.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        adam_lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        by_shape: dict[tuple, list[Tensor]] = {}
        for parameter in parameters.filters:
            by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
        self.momentum, self.betas = momentum, betas
        self.param_groups: list[dict] = [{"params": group, "lr": lr, "muon": True} for group in by_shape.values()]
        self.param_groups.append({"params": parameters.others, "lr": adam_lr, "muon": False})
        self.state: dict[Tensor, dict[str, Tensor]] = {p: {} for p in parameters.all()}

    def zero_grad(self) -> None:
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._muon if group["muon"] else self._adam)(group, parameters)

    def state_dict(self) -> dict:
        """``state``: averages by parameter number, in the order of the groups; ``param_groups``: learning rates."""
        state = {number: dict(self.state[p]) for number, p in enumerate(self._parameters()) if self.state[p]}
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict) -> None:
        """Restore the result of ``state_dict``. Raises ``KeyError`` if it belongs to other parameters."""
        parameters = dict(enumerate(self._parameters()))
        self.state = {p: {} for p in parameters.values()}
        for number, averages in saved["state"].items():
            p = parameters[number]
            # The step count stays on the host, so that reading it does not synchronise with the device.
            self.state[p] = {name: value if name == "step" else value.to(p) for name, value in averages.items()}
        for group, values in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update(values)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _muon(self, group: dict, parameters: list[Tensor]) -> None:
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in parameters]
        grads = [p.grad for p in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - self.momentum)
        # Nesterov momentum.
        nesterov = torch._foreach_lerp(grads, buffers, self.momentum)
        stacked = torch.stack([u.flatten(1) for u in nesterov])
        compute_type = torch.bfloat16 if stacked.is_cuda else torch.float32
        updates = orthogonalise(stacked.to(compute_type)).to(stacked.dtype)
        rows, columns = stacked.shape[-2:]
        # An orthogonal matrix has rms 1 / sqrt(max(rows, columns)): scale it to 0.2, which is Adam's.
        scale = 0.2 * max(rows, columns) ** 0.5
        torch._foreach_add_(
            parameters,
            [u.view_as(p) for u, p in zip(updates.unbind(0), parameters, strict=True)],
            alpha=-group["lr"] * scale,
        )

    def _adam(self, group: dict, parameters: list[Tensor]) -> None:
        beta1, beta2 = self.betas
        for p in parameters:
            if "step" not in self.state[p]:
                self.state[p].update(step=torch.zeros(()), mean=torch.zeros_like(p), square=torch.zeros_like(p))
            self.state[p]["step"] += 1
        step = float(self.state[parameters[0]]["step"])
        grads = [p.grad for p in parameters]
        means = [self.state[p]["mean"] for p in parameters]
        squares = [self.state[p]["square"] for p in parameters]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        denominators = torch._foreach_div(squares, 1 - beta2**step)
        torch._foreach_sqrt_(denominators)
        torch._foreach_add_(denominators, 1e-8)
        torch._foreach_addcdiv_(parameters, means, denominators, -group["lr"] / (1 - beta1**step))
