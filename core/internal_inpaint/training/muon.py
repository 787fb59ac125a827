"""Muon for the hidden convolution filters, Adam for the rest, in one optimiser.

Muon replaces the momentum of a weight matrix by the nearest semi-orthogonal matrix, found with a few
Newton-Schulz iterations (K. Jordan and others, "Muon: an optimizer for hidden layers in neural
networks", 2024); a convolution filter ``[out, in, k, k]`` is the matrix ``[out, in * k * k]``. PyTorch's
own ``torch.optim.Muon`` takes two-dimensional parameters only and orthogonalises one at a time in
bfloat16; here filters of one shape are orthogonalised together, in float32 where bfloat16 is slow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Quintic whose iteration takes every singular value from (0, 1] to about 1 within five rounds.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly: singular values end between 0.7 and 1.2.

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


def hidden_filters(network: nn.Module) -> set[str]:
    """Names of the filters Muon takes: every gated convolution but the first of each stage.

    The first layer reads RGB and mask, the output block writes RGB: their rows are few and mean
    something by themselves, which orthogonalisation would destroy.
    """
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim == 4
        and ".output." not in name
        and not name.endswith(("encoder.0.conv.weight", "branch.0.conv.weight"))
    }


class MuonAdam(torch.optim.Optimizer):
    """One optimiser, two rules.

    Args:
        network: whose parameters are trained.
        lr: step of Muon: the root mean square of a filter's change is about ``0.2 * lr`` a step.
        adam_lr: step of Adam for the first and last layers and all biases.
        momentum, betas: decay of Muon's and Adam's averages.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        adam_lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        hidden = hidden_filters(network)
        by_shape: dict[tuple, list[Tensor]] = {}
        others: list[Tensor] = []
        for name, parameter in network.named_parameters():
            if name in hidden:
                by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            else:
                others.append(parameter)
        groups: list[dict] = [{"params": group, "lr": lr, "muon": True} for group in by_shape.values()]
        groups.append({"params": others, "lr": adam_lr, "muon": False})
        super().__init__(groups, {"momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):  # the base class's signature
        loss = None if closure is None else closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._muon if group["muon"] else self._adam)(group, parameters)
        return loss

    def _muon(self, group: dict, parameters: list[Tensor]) -> None:
        momentum = group["momentum"]
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in parameters]
        grads = [p.grad for p in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        # Nesterov: look ahead along the momentum by one more gradient.
        ahead = torch._foreach_lerp(grads, buffers, momentum)
        stacked = torch.stack([u.flatten(1) for u in ahead])
        low = torch.bfloat16 if stacked.is_cuda else torch.float32
        updates = orthogonalise(stacked.to(low)).to(stacked.dtype)
        rows, columns = stacked.shape[-2:]
        # An orthogonal matrix has rms 1 / sqrt(max(rows, columns)): bring it to 0.2, as Adam's is.
        scale = 0.2 * max(rows, columns) ** 0.5
        torch._foreach_add_(
            parameters,
            [u.view_as(p) for u, p in zip(updates.unbind(0), parameters, strict=True)],
            alpha=-group["lr"] * scale,
        )

    def _adam(self, group: dict, parameters: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        for p in parameters:
            if "step" not in self.state[p]:
                # The step count stays on the host: reading it must not wait for the device.
                self.state[p].update(step=torch.zeros(()), mean=torch.zeros_like(p), square=torch.zeros_like(p))
            self.state[p]["step"] += 1
        step = float(self.state[parameters[0]]["step"])
        grads = [p.grad for p in parameters]
        means = [self.state[p]["mean"] for p in parameters]
        squares = [self.state[p]["square"] for p in parameters]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        spread = torch._foreach_div(squares, 1 - beta2**step)
        torch._foreach_sqrt_(spread)
        torch._foreach_add_(spread, 1e-8)
        torch._foreach_addcdiv_(parameters, means, spread, -group["lr"] / (1 - beta1**step))
