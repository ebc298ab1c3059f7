"""
AdamW, and Muon for the matrices of the blocks, over a model's trainable parameters.

    optimizer = Optimizer(model, muon=True)
    loss.backward()
    norm = optimizer.grad_norm()
    optimizer.step(lr=1e-3, muon_lr=0.02, scale=min(1.0, 1.0 / norm))
    optimizer.zero_grad()

AdamW is Loshchilov and Hutter's (2019), through torch's fused kernel; Muon is Jordan's (2024): momentum whose matrix is
replaced by the nearest one with orthogonal rows. torch.optim has both; these two take gradients in bfloat16 beside
float32 weights, hold their state under the parameters' names, and do not import torch's compiler (60 MB).
"""

import torch

from training.parallel import gather_to_cpu, local_shard, shard_like

NUMBERS_PER_PIECE = 2**20  # numbers that are converted at a time
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients: five rounds bring singular values near 1
QKV = "attn.c_attn.weight"  # three matrices in one


class Optimizer:
    """
    muon: the matrices of the blocks go to Muon, all else to AdamW. Matrices and embeddings decay, biases and norms do
    not. `gradients`: the dtype that gradients are kept in. A parameter's gradient stays allocated between steps.
    """

    def __init__(
        self,
        model,
        betas=(0.9, 0.99),
        weight_decay=0.1,
        muon=False,
        momentum=0.95,
        gradients=torch.float32,
        first_moment=torch.float32,
    ):
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.matrices = {name: p for name, p in named.items() if muon and ".h." in name and p.dim() == 2}
        self.others = {name: p for name, p in named.items() if name not in self.matrices}
        self.betas, self.weight_decay, self.momentum = betas, weight_decay, momentum
        self.steps = 0
        self.m = {name: torch.zeros_like(local_shard(p), dtype=first_moment) for name, p in self.others.items()}
        self.v = {name: torch.zeros_like(local_shard(p)) for name, p in self.others.items()}
        self.moving = {name: torch.zeros_like(local_shard(p)) for name, p in self.matrices.items()}
        for p in named.values():
            if gradients != torch.float32:
                p.grad_dtype = gradients
            p.grad = torch.zeros_like(p, dtype=gradients)
        self.shared = any(local_shard(p) is not p for p in named.values())  # among ranks

    @property
    def bytes(self):
        """Bytes of the gradients and of what is kept of them."""
        kept = [*self.m.values(), *self.v.values(), *self.moving.values()]
        return sum(t.nbytes for t in [*kept, *(local_shard(p.grad) for p in self.parameters)])

    @property
    def parameters(self):
        return [*self.matrices.values(), *self.others.values()]

    def zero_grad(self):
        torch._foreach_zero_([local_shard(p.grad) for p in self.parameters])

    def grad_norm(self):
        """The norm of all gradients, a float32 tensor."""
        pieces = [piece for p in self.parameters for piece in local_shard(p.grad).view(-1).split(NUMBERS_PER_PIECE)]
        norms = [torch.linalg.vector_norm(piece, dtype=torch.float32) for piece in pieces]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self.shared:
            squares = norm.square()
            torch.distributed.all_reduce(squares)
            norm = squares.sqrt()
        return norm

    @torch.no_grad()
    def step(self, lr, muon_lr=0.0, scale=1.0):
        """One step with the gradients times `scale`."""
        self.steps += 1
        steps = torch.tensor(float(self.steps))
        for decays in (True, False):
            chosen = [name for name, p in self.others.items() if (p.dim() >= 2) == decays]
            self.adamw(chosen, lr, self.weight_decay if decays else 0.0, steps, scale)
        self.muon(muon_lr, scale)

    def adamw(self, names, lr, weight_decay, steps, scale):
        how = dict(lr=lr, beta1=self.betas[0], beta2=self.betas[1], weight_decay=weight_decay, eps=1e-8)
        how |= dict(amsgrad=False, maximize=False)
        four = [
            [local_shard(self.others[name]), local_shard(self.others[name].grad), self.m[name], self.v[name]]
            for name in names
        ]
        if not four:
            return
        if all(grad.dtype == m.dtype == torch.float32 for _, grad, m, _ in four):
            if scale != 1.0:
                torch._foreach_mul_([grad for _, grad, *_ in four], scale)
            self.fused(four, steps, how)
            return
        for each in four:
            for p, grad, m, v in zip(*(tensor.view(-1).split(NUMBERS_PER_PIECE) for tensor in each), strict=True):
                full = m.float()
                self.fused([(p, grad.float().mul_(scale), full, v)], steps, how)
                m.copy_(full)

    def fused(self, four, steps, how):
        p, grad, m, v = (list(tensors) for tensors in zip(*four, strict=True))
        torch._fused_adamw_(p, grad, m, v, [], [steps.to(p[0].device)] * len(p), **how)

    def muon(self, lr, scale):
        groups = {}  # matrices of one shape go together
        for name, p in self.matrices.items():
            moving = self.moving[name]
            moving.lerp_(p.grad.float().mul_(scale), 1 - self.momentum)
            update = (p.grad.float() * scale).lerp_(moving, self.momentum)  # Nesterov's
            for each, weight in zip(split_qkv(name, update), split_qkv(name, p), strict=True):
                groups.setdefault(each.shape, []).append((each, weight))
        for shape, pairs in groups.items():
            updates = orthogonalize(torch.stack([update for update, _ in pairs]))
            rate = lr * max(1, shape[0] / shape[1]) ** 0.5
            for update, (_, weight) in zip(updates, pairs, strict=True):
                weight.mul_(1 - lr * self.weight_decay).add_(update, alpha=-rate)

    def state_dict(self):
        """Whole tensors; where they are shared among ranks, all ranks call this, and rank 0 gets them."""
        m, v = (gather_to_cpu(self.others, moments) for moments in (self.m, self.v))
        return {"steps": self.steps, "m": m, "v": v, "moving": self.moving}

    def load_state_dict(self, state):
        """Raises KeyError, or ValueError, for the state of other parameters."""
        named = {**self.others, **self.matrices}
        for kind, mine in (("m", self.m), ("v", self.v), ("moving", self.moving)):
            if mine.keys() != state[kind].keys():
                raise ValueError(f"{kind} is of other parameters")
            for name, tensor in mine.items():
                tensor.copy_(shard_like(state[kind][name], like=named[name]))
        self.steps = state["steps"]


def split_qkv(name, matrix):
    """The matrices that are kept as one: queries, keys and values."""
    return matrix.chunk(3) if name.endswith(QKV) else [matrix]


def orthogonalize(matrices):
    """(n, rows, columns): for each U V^T of its singular value decomposition U S V^T, about, in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    if tall := x.size(1) > x.size(2):
        x = x.transpose(1, 2)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)
