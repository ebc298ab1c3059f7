"""
AdamW, and Muon for the matrices of the blocks, over a model's trainable parameters.

    optimizer = Optimizer(model, muon=True)
    loss.backward()
    norm = optimizer.grad_norm()
    optimizer.step(lr=1e-3, muon_lr=0.02, scale=(1.0 / norm).clamp(max=1.0))
    optimizer.zero_grad()

AdamW is Loshchilov and Hutter's (2019), through torch's fused kernel. Muon is Jordan's (2024,
https://kellerjordan.github.io/posts/muon): momentum whose matrix is replaced by the nearest one with orthogonal rows.
torch.optim has both; these two take gradients in bfloat16 beside float32 weights, hold their state under the
parameters' names, and do not import torch's compiler (60 MB).
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from training.parallel import gather_to_cpu, local_shard, shard_like

NUMBERS_PER_PIECE = 2**20  # converted to float32 at a time: 4 MB, which stay in the cache
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients
ROUNDS = 5  # which bring singular values near 1
QKV = "attn.c_attn.weight"  # three matrices in one


class Optimizer:
    """
    muon: the matrices of the blocks go to Muon, all else to AdamW. Matrices and embeddings decay, biases and norms do
    not. gradient_dtype: what gradients are kept in; first_moment_dtype: what AdamW's first moment is kept in;
    muon_dtype: what Muon multiplies in. A parameter's gradient stays allocated between steps.
    """

    def __init__(
        self,
        model: nn.Module,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.1,
        muon: bool = False,
        momentum: float = 0.95,
        gradient_dtype: torch.dtype = torch.float32,
        first_moment_dtype: torch.dtype = torch.float32,
        muon_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.matrices = {name: p for name, p in trainable.items() if muon and ".h." in name and p.dim() == 2}  # Muon's
        self.others = {name: p for name, p in trainable.items() if name not in self.matrices}  # AdamW's
        self.betas, self.weight_decay, self.momentum, self.muon_dtype = betas, weight_decay, momentum, muon_dtype
        self.steps = 0
        self.m = {name: torch.zeros_like(local_shard(p), dtype=first_moment_dtype) for name, p in self.others.items()}
        self.v = {name: torch.zeros_like(local_shard(p)) for name, p in self.others.items()}
        self.momentum_buffer: dict[str, Tensor] = {}
        self.stacks: list[tuple[list[str], Tensor]] = []  # the names of one shape, their momenta (n, rows, columns)
        for shape in dict.fromkeys(p.shape for p in self.matrices.values()):
            names = [name for name, p in self.matrices.items() if p.shape == shape]
            momenta = torch.zeros(len(names), *shape, device=self.matrices[names[0]].device)
            self.stacks.append((names, momenta))
            self.momentum_buffer |= zip(names, momenta.unbind(), strict=True)
        for p in trainable.values():
            if gradient_dtype != torch.float32:
                p.grad_dtype = gradient_dtype
            p.grad = torch.zeros_like(p, dtype=gradient_dtype)
        self.is_sharded = any(local_shard(p) is not p for p in trainable.values())

    @property
    def n_bytes(self) -> int:
        """Bytes of the gradients and of what is kept of them."""
        kept = [*self.m.values(), *self.v.values(), *self.momentum_buffer.values()]
        return sum(t.nbytes for t in [*kept, *self.gradients()])

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*self.matrices.values(), *self.others.values()]

    def gradients(self) -> list[Tensor]:
        """This rank's part of each parameter's gradient."""
        return [local_shard(gradient_of(p)) for p in self.parameters]

    def zero_grad(self) -> None:
        torch._foreach_zero_(self.gradients())  # pyright: ignore[reportPrivateImportUsage]

    def grad_norm(self) -> Tensor:
        """The norm of all gradients, a float32 scalar."""
        gradients = self.gradients()
        if gradients[0].is_cuda:  # few launches
            norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        else:
            pieces = [piece for gradient in gradients for piece in gradient.view(-1).split(NUMBERS_PER_PIECE)]
            norms = [torch.linalg.vector_norm(piece, dtype=torch.float32) for piece in pieces]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self.is_sharded:
            squares = norm.square()
            torch.distributed.all_reduce(squares)
            norm = squares.sqrt()
        return norm

    @torch.no_grad()
    def step(self, lr: float, muon_lr: float = 0.0, scale: Tensor | None = None, is_good: Tensor | None = None) -> None:
        """
        One step with the gradients times `scale`. Where is_good is false, it changes nothing but the count of steps.
        Both are scalars on the parameters' device: for a number of its own Python would wait until a GPU has it.
        """
        self.steps += 1
        for decays in (True, False):
            names = [name for name, p in self.others.items() if (p.dim() >= 2) == decays]
            self.adamw(names, lr, self.weight_decay if decays else 0.0, scale, is_good)
        self.muon(muon_lr, scale, is_good)

    def adamw(
        self, names: Sequence[str], lr: float, weight_decay: float, scale: Tensor | None, is_good: Tensor | None
    ) -> None:
        """A step of AdamW for the parameters of these names."""
        if not names:
            return
        params = [local_shard(self.others[name]) for name in names]
        grads = [local_shard(gradient_of(self.others[name])) for name in names]
        m, v = [self.m[name] for name in names], [self.v[name] for name in names]
        if all(grad.dtype == moment.dtype == torch.float32 for grad, moment in zip(grads, m, strict=True)):
            self.fused_adamw(params, grads, m, v, lr, weight_decay, scale, is_good)
            return
        for tensors in zip(params, grads, m, v, strict=True):
            pieces = zip(*(tensor.view(-1).split(NUMBERS_PER_PIECE) for tensor in tensors), strict=True)
            for p, grad, first_moment, second_moment in pieces:
                m32 = first_moment.float()
                self.fused_adamw([p], [grad.float()], [m32], [second_moment], lr, weight_decay, scale, is_good)
                first_moment.copy_(m32)

    def fused_adamw(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        m: list[Tensor],
        v: list[Tensor],
        lr: float,
        weight_decay: float,
        scale: Tensor | None,
        is_good: Tensor | None,
    ) -> None:
        """torch's fused kernel, on float32 tensors in place."""
        steps = torch.full((), float(self.steps), device=params[0].device)
        torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
            params,
            grads,
            m,
            v,
            [],
            [steps] * len(params),
            lr=lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            grad_scale=None if scale is None else 1 / scale,  # what gradients are divided by
            found_inf=None if is_good is None else (~is_good).float(),
        )

    def muon(self, lr: float, scale: Tensor | None, is_good: Tensor | None) -> None:
        """A step of Muon for the matrices; those of one shape are orthogonalized together."""
        groups: dict[torch.Size, list[tuple[Tensor, Sequence[Tensor]]]] = {}
        for names, momenta in self.stacks:
            update = torch.stack([gradient_of(self.matrices[name]) for name in names]).float()
            update = update if scale is None else update.mul_(scale)
            update = update if is_good is None else torch.where(is_good, update, momenta)  # which moves no momentum
            momenta.lerp_(update, 1 - self.momentum)
            update.lerp_(momenta, self.momentum)  # Nesterov's
            weights = [part for name in names for part in split_qkv(name, self.matrices[name])]
            update = update.view(len(weights), *weights[0].shape)
            groups.setdefault(weights[0].shape, []).append((update, weights))
        for shape, pairs in groups.items():
            updates = orthogonalize(torch.cat([update for update, _ in pairs]), self.muon_dtype)
            weights = [weight for _, weights in pairs for weight in weights]
            rate = torch.full((), lr, device=updates.device) if is_good is None else lr * is_good
            updates *= -rate * max(1, shape[0] / shape[1]) ** 0.5
            torch._foreach_mul_(weights, 1 - rate * self.weight_decay)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(weights, updates.unbind())  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict:
        """Whole tensors, by parameter name. Where they are sharded, all ranks call this and rank 0 gets them."""
        m, v = (gather_to_cpu(self.others, moments) for moments in (self.m, self.v))
        return {"steps": self.steps, "m": m, "v": v, "moving": self.momentum_buffer}

    def load_state_dict(self, state: dict) -> None:
        """Raises KeyError or ValueError for the state of other parameters."""
        parameters = {**self.others, **self.matrices}
        for kind, moments in (("m", self.m), ("v", self.v), ("moving", self.momentum_buffer)):
            if moments.keys() != state[kind].keys():
                raise ValueError(f"{kind} is of other parameters")
            for name, tensor in moments.items():
                tensor.copy_(shard_like(state[kind][name], parameters[name]))
        self.steps = state["steps"]


def gradient_of(p: nn.Parameter) -> Tensor:
    """The parameter's gradient, which Optimizer has allocated."""
    assert p.grad is not None
    return p.grad


def split_qkv(name: str, matrix: Tensor) -> Sequence[Tensor]:
    """The matrices that are kept as one: queries, keys and values, (n_embd, n_embd) each; any other one alone."""
    return matrix.chunk(3) if name.endswith(QKV) else [matrix]


def orthogonalize(matrices: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """(n, rows, columns): about U V^T of each one's singular value decomposition U S V^T, computed in dtype."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(dtype)
    is_tall = x.size(1) > x.size(2)
    if is_tall:
        x = x.transpose(1, 2)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    if dtype == torch.float32 and x.size(1) < x.size(2):
        x = small_factor(x @ x.transpose(1, 2)) @ x
    else:
        for _ in range(ROUNDS):
            gram = x @ x.transpose(1, 2)
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if is_tall else x).to(matrices.dtype)


def small_factor(gram: Tensor) -> Tensor:
    """
    What the rounds of orthogonalize multiply x by, from x x^T, (n, rows, rows): the long side is met twice in place of
    ten times. It takes float32's digits, for errors of small singular values grow from round to round.
    """
    a, b, c = NEWTON_SCHULZ
    factor: Tensor | None = None
    for _ in range(ROUNDS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        gram = polynomial @ gram @ polynomial
        factor = polynomial if factor is None else polynomial @ factor
    assert factor is not None
    return factor
