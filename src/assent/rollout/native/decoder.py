"""A decoder for CPUs, in kernels of our own: a step is one call, and no logits are ever stored.

PyTorch's operations lose half of a step's time on a CPU, to launches of small operations, to copies of the cache, and
to passes over the logits; and bfloat16 more than it gains, to casts.  Here a step is two parallel regions: products
with weights packed in panels (AMX or AVX-512 where the processor has them), attention that reads each row's own columns
only, and a head that weighs its logits while they are in the processor's cache (``kernels/draw.h``).  A prompt is read
by the same code, its tokens as the rows of a step.

Each row's numbers are the same, bit for bit, whatever the other rows are and however many threads there are, in float32
and in bfloat16.  In bfloat16 weights, cache and the inputs of products are rounded; the residual stream, norms,
softmax, sums and log-probabilities are float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from assent.rollout.decoders.weights import Affine, Layer, Norm, Weights
from assent.rollout.native.build import kernels
from assent.rollout.sampling import bias_of, draw, truncates
from assent.types import SamplingSettings

_ACTIVATIONS = {"silu": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "gelu_fast": 1, "gelu": 2, "relu": 3}
_VECTORS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
"""Vectors of a head that the kernels have code for."""
_READ = 512
"""Tokens of prompts that are read at once."""
_TILE = 32
_BLOCK = 64

_pointer, _int64, _int32, _float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class _Norm(ctypes.Structure):
    _fields_ = [("weight", _pointer), ("bias", _pointer), ("eps", _float), ("centred", _int32)]


class _Matrix(ctypes.Structure):
    _fields_ = [("weight", _pointer), ("bias", _pointer), ("n", _int64), ("k", _int64)]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Norm) for name in ("attention_norm", "mlp_norm")),
        *((name, _Matrix) for name in ("qkv", "out", "up", "down")),
        ("head_norm", _pointer),
        *((name, _float) for name in ("head_eps", "scale")),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        ("norm", _Norm),
        ("head", _Matrix),
        *((name, _pointer) for name in ("turns", "cache", "qkv", "up", "x", "y", "scores")),
        *((name, _int64) for name in ("depth", "width", "heads", "kv_heads", "head_dim", "slots", "length")),
        *((name, _int32) for name in ("half", "activation", "gated", "parallel", "threads")),
    ]


class _Draw(ctypes.Structure):
    _fields_ = [
        *((name, _pointer) for name in ("states", "uniforms", "young", "banned", "bias", "tokens")),
        *((name, _pointer) for name in ("logprobs", "sampling_logprobs", "tops", "sums", "kept_tops", "kept_sums")),
        *((name, _pointer) for name in ("logits", "weights")),
        *((name, _int64) for name in ("count", "bans")),
        ("temperature", _float),
    ]


def runs_natively(weights: Weights, dtype: torch.dtype) -> bool:
    """Whether the kernels are there and know all that these weights, in this precision, ask for."""
    library = kernels() if weights.device.type == "cpu" else None
    if library is None or (dtype == torch.bfloat16 and not library.has_bfloat16()):
        return False
    vectors = -(-weights.head_dim // library.vector_length())
    return vectors in _VECTORS and all(layer.activation.name in _ACTIVATIONS for layer in weights.layers)


class NativeDecoder:
    """Decodes up to ``slots`` rows of up to ``length`` tokens with a packed copy of the weights as they are now.

    ``dtype``: float32 or bfloat16, whatever the weights themselves are in.
    """

    def __init__(self, weights: Weights, slots: int, length: int, dtype: torch.dtype) -> None:
        self.w, self.dtype = weights, dtype
        self.half = dtype == torch.bfloat16
        self.threads = torch.get_num_threads()
        self._library: Any = kernels()
        self._kept: list[Tensor] = []
        w, first = weights, weights.layers[0]
        vector = int(self._library.vector_length())
        self.length = -(-length // vector) * vector
        rows = -(-max(slots, _READ) // _TILE) * _TILE + _TILE
        d, heads = len(first.attention_norm.weight), w.heads * w.head_dim
        widest = _padded(max(d, heads, first.down.weight.shape[1]))
        numbers = int(self._library.head_numbers(w.head_dim))
        self.states = torch.zeros(rows, _padded(d))
        self.cache = torch.zeros(len(w.layers), slots, w.kv_heads, self.length * numbers, dtype=dtype)
        self._layers = (_Layer * len(w.layers))(*map(self._layer, w.layers))
        self._model = _Model(
            layers=self._layers,
            norm=self._norm(w.norm),
            head=self._matrix(w.head),
            turns=self._turns(),
            cache=self._keep(self.cache),
            qkv=self._keep(torch.zeros(rows, _padded((w.heads + 2 * w.kv_heads) * w.head_dim))),
            up=self._keep(torch.zeros(rows, _padded(len(first.up.weight)))),
            x=self._keep(torch.zeros(rows, widest, dtype=dtype)),
            y=self._keep(torch.zeros(rows, widest, dtype=dtype)),
            scores=self._keep(torch.zeros(self.threads, self.length)),
            depth=len(w.layers),
            width=d,
            heads=w.heads,
            kv_heads=w.kv_heads,
            head_dim=w.head_dim,
            slots=slots,
            length=self.length,
            half=self.half,
            activation=_ACTIVATIONS[first.activation.name],
            gated=first.gated,
            parallel=first.parallel,
            threads=self.threads,
        )
        blocks = _padded(-(-len(w.head.weight) // _BLOCK))
        # A block that is not there weighs nothing.
        tops = [self._keep(torch.full((slots, blocks), -torch.inf)) for _ in range(2)]
        sums = [self._keep(torch.zeros(slots, blocks)) for _ in range(2)]
        self._draw = _Draw(
            states=self.states.data_ptr(),
            tops=tops[0],
            kept_tops=tops[1],
            sums=sums[0],
            kept_sums=sums[1],
            logits=self._keep(torch.zeros(self.threads, slots + _TILE, _BLOCK)),
            weights=self._keep(torch.zeros(self.threads, blocks)),
        )

    @staticmethod
    def slot_bytes(weights: Weights, length: int, dtype: torch.dtype) -> int:
        """Memory of one slot's keys and values."""
        numbers = int(kernels().head_numbers(weights.head_dim))  # pyright: ignore[reportOptionalMemberAccess]
        return len(weights.layers) * weights.kv_heads * numbers * length * dtype.itemsize

    def rows(self, count: int) -> int:
        """Rows that a step of ``count`` takes."""
        return count

    def advance(self, work: Callable[[], Tensor], rows: int, reach: int) -> Tensor:
        """Do ``work``, which samples once after the first ``rows`` slots, their last tokens at ``reach`` at most."""
        return work()

    def sample(
        self,
        tokens: Tensor,
        positions: Tensor,
        uniforms: Tensor,
        sampling: SamplingSettings,
        stop: Tensor,
        young: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What :func:`assent.rollout.sampling.draw` gives after tokens [N] at ``positions`` [N] of the first N slots.

        ``stop``: ids that are not drawn in the rows where ``young`` [N] is true.
        """
        if truncates(sampling):
            logits = self.step(tokens, positions)
            return draw(logits, uniforms, sampling, stop if sampling.min_new_tokens else None, young)
        n, d = len(tokens), self._draw
        self._forward(tokens, torch.arange(n), positions)
        drawn, logprobs, sampled = torch.empty(n, dtype=torch.long), torch.empty(n), torch.empty(n)
        bias = bias_of(sampling, len(self.w.head.weight), tokens.device) if sampling.logit_bias else None
        d.uniforms, d.young, d.banned = uniforms.data_ptr(), young.data_ptr(), stop.data_ptr()
        d.bias = None if bias is None else bias.data_ptr()
        d.tokens, d.logprobs, d.sampling_logprobs = drawn.data_ptr(), logprobs.data_ptr(), sampled.data_ptr()
        d.count, d.bans, d.temperature = n, len(stop), sampling.temperature
        self._library.draw(ctypes.byref(self._model), ctypes.byref(d))
        return drawn, logprobs, sampled

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits [N, V] after tokens [N] at ``positions`` [N] of the first N slots."""
        self._forward(tokens, torch.arange(len(tokens)), positions)
        out = torch.empty(len(tokens), len(self.w.head.weight))
        self._library.logits(ctypes.byref(self._model), len(tokens), self.states.data_ptr(), out.data_ptr())
        return out

    def read(self, prompts: Sequence[tuple[int, ...]], slots: Sequence[int]) -> None:
        """Keys and values of each prompt into its slot."""
        tokens = torch.tensor([token for prompt in prompts for token in prompt])
        places = torch.tensor([slot for prompt, slot in zip(prompts, slots, strict=True) for _ in prompt])
        positions = torch.tensor([position for prompt in prompts for position in range(len(prompt))])
        for start in range(0, len(tokens), _READ):
            part = slice(start, start + _READ)
            self._forward(tokens[part], places[part], positions[part])

    def copy(self, source: Sequence[int], target: Sequence[int], width: int) -> None:
        """Copy the first ``width`` places of slots ``source`` to slots ``target``."""
        for one, other in zip(source, target, strict=True):
            self._library.copy_slot(ctypes.byref(self._model), one, other, width)

    def _forward(self, tokens: Tensor, slots: Tensor, positions: Tensor) -> None:
        self.states[: len(tokens), : self._model.width] = self.w.embed(tokens, positions)
        self._library.forward(
            ctypes.byref(self._model), len(tokens), slots.data_ptr(), positions.data_ptr(), self.states.data_ptr()
        )

    def _keep(self, tensor: Tensor) -> int:
        """The address of a tensor that lives as long as this decoder."""
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _turns(self) -> int | None:
        if self.w.rotary is None:
            return None
        return self._keep(torch.view_as_real(self.w.rotary(self.length)).flatten().contiguous())

    def _vector(self, numbers: Tensor) -> int:
        return self._keep(F.pad(numbers.detach().float(), (0, _padded(len(numbers)) - len(numbers))).contiguous())

    def _norm(self, norm: Norm) -> _Norm:
        bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
        return _Norm(self._vector(norm.weight), self._vector(bias), norm.eps, norm.centred)

    def _matrix(self, affine: Affine) -> _Matrix:
        weight = affine.weight.detach().float()
        n, k = weight.shape
        panel = 2 * int(self._library.vector_length())
        deep = _padded(k) if self.half else k
        packed = torch.empty(-(-n // panel) * panel * deep, dtype=self.dtype)
        self._library.pack(weight.data_ptr(), *weight.stride(), n, k, self._keep(packed), self.half, self.threads)
        return _Matrix(packed.data_ptr(), None if affine.bias is None else self._vector(affine.bias), n, k)

    def _layer(self, layer: Layer) -> _Layer:
        norm = layer.head_norm
        return _Layer(
            *map(self._norm, (layer.attention_norm, layer.mlp_norm)),
            *map(self._matrix, (layer.qkv, layer.out, layer.up, layer.down)),
            None if norm is None else self._keep(norm.weight.detach().float().contiguous()),
            0.0 if norm is None else norm.eps,
            layer.scale,
        )


def _padded(count: int) -> int:
    """Rows of the kernels' work space are this long: a multiple of 32 numbers."""
    return -(-count // 32) * 32
