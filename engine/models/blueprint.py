"""Which tensors a network of a given description has. Their names are diffusers' and transformers'; their shapes are given too.

Recognition compares a file with this, so that missing, extra and misshapen tensors are named before anything is loaded. Tests hold it equal
to the networks that diffusers and transformers build. Pure; imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.models.specs import ClipSpec, Shape, Spec, UnetSpec, VaeSpec

Named = tuple[str, Shape]


def tensors(spec: Spec) -> dict[str, Shape]:
    """Name -> shape of every tensor of the network."""
    if isinstance(spec, UnetSpec):
        return dict(_unet(spec))
    return dict(_vae(spec)) if isinstance(spec, VaeSpec) else dict(_clip(spec))


def positions(spec: Spec) -> int:
    """Positions 0, 1, 2, ... that the loaded network holds besides, each 8 bytes in any number format; no file has them."""
    return spec.positions if isinstance(spec, ClipSpec) else 0


def _conv(name: str, into: int, out: int, kernel: int = 3) -> Iterator[Named]:
    yield f"{name}.weight", (out, into, kernel, kernel)
    yield f"{name}.bias", (out,)


def _linear(name: str, into: int, out: int, bias: bool = True) -> Iterator[Named]:
    yield f"{name}.weight", (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def _norm(name: str, width: int) -> Iterator[Named]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _resnet(name: str, into: int, out: int, time: int = 0) -> Iterator[Named]:
    """A residual block; `time` is the width of the time embedding, 0 in a VAE."""
    yield from _norm(f"{name}.norm1", into)
    yield from _conv(f"{name}.conv1", into, out)
    if time:
        yield from _linear(f"{name}.time_emb_proj", time, out)
    yield from _norm(f"{name}.norm2", out)
    yield from _conv(f"{name}.conv2", out, out)
    if into != out:
        yield from _conv(f"{name}.conv_shortcut", into, out, 1)


def _transformer(name: str, width: int, depth: int, spec: UnetSpec) -> Iterator[Named]:
    """A spatial transformer: projections around `depth` blocks of self-attention, cross-attention and a gated feed-forward."""
    yield from _norm(f"{name}.norm", width)
    for end in ("proj_in", "proj_out"):
        yield from _linear(f"{name}.{end}", width, width) if spec.linear_projection else _conv(f"{name}.{end}", width, width, 1)
    for index in range(depth):
        block = f"{name}.transformer_blocks.{index}"
        for number in (1, 2, 3):
            yield from _norm(f"{block}.norm{number}", width)
        for attention, context in (("attn1", width), ("attn2", spec.context)):
            yield from _linear(f"{block}.{attention}.to_q", width, width, bias=False)
            yield from _linear(f"{block}.{attention}.to_k", context, width, bias=False)
            yield from _linear(f"{block}.{attention}.to_v", context, width, bias=False)
            yield from _linear(f"{block}.{attention}.to_out.0", width, width)
        yield from _linear(f"{block}.ff.net.0.proj", width, 8 * width)
        yield from _linear(f"{block}.ff.net.2", 4 * width, width)


def _unet(spec: UnetSpec) -> Iterator[Named]:
    base, time = spec.widths[0], 4 * spec.widths[0]
    last = len(spec.widths) - 1
    yield from _conv("conv_in", spec.in_channels, base)
    yield from _linear("time_embedding.linear_1", base, time)
    yield from _linear("time_embedding.linear_2", time, time)
    if spec.label_width:
        yield from _linear("add_embedding.linear_1", spec.label_width, time)
        yield from _linear("add_embedding.linear_2", time, time)
    skips, width = [base], base
    for level, out in enumerate(spec.widths):
        for layer in range(spec.layers):
            yield from _resnet(f"down_blocks.{level}.resnets.{layer}", width, out, time)
            if spec.depths[level]:
                yield from _transformer(f"down_blocks.{level}.attentions.{layer}", out, spec.depths[level], spec)
            width = out
            skips.append(out)
        if level < last:
            yield from _conv(f"down_blocks.{level}.downsamplers.0.conv", out, out)
            skips.append(out)
    for index in (0, 1):
        yield from _resnet(f"mid_block.resnets.{index}", width, width, time)
    yield from _transformer("mid_block.attentions.0", width, spec.mid_depth, spec)
    for block, level in enumerate(reversed(range(last + 1))):
        out = spec.widths[level]
        for layer in range(spec.layers + 1):
            yield from _resnet(f"up_blocks.{block}.resnets.{layer}", width + skips.pop(), out, time)
            if spec.depths[level]:
                yield from _transformer(f"up_blocks.{block}.attentions.{layer}", out, spec.depths[level], spec)
            width = out
        if level:
            yield from _conv(f"up_blocks.{block}.upsamplers.0.conv", out, out)
    yield from _norm("conv_norm_out", base)
    yield from _conv("conv_out", base, spec.out_channels)


def _vae_middle(side: str, width: int) -> Iterator[Named]:
    yield from _resnet(f"{side}.mid_block.resnets.0", width, width)
    yield from _norm(f"{side}.mid_block.attentions.0.group_norm", width)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from _linear(f"{side}.mid_block.attentions.0.{name}", width, width)
    yield from _resnet(f"{side}.mid_block.resnets.1", width, width)


def _vae(spec: VaeSpec) -> Iterator[Named]:
    last = len(spec.widths) - 1
    width = spec.widths[0]
    yield from _conv("encoder.conv_in", spec.in_channels, width)
    for level, out in enumerate(spec.widths):
        for layer in range(spec.layers):
            yield from _resnet(f"encoder.down_blocks.{level}.resnets.{layer}", width, out)
            width = out
        if level < last:
            yield from _conv(f"encoder.down_blocks.{level}.downsamplers.0.conv", out, out)
    yield from _vae_middle("encoder", width)
    yield from _norm("encoder.conv_norm_out", width)
    yield from _conv("encoder.conv_out", width, 2 * spec.latent_channels)
    yield from _conv("quant_conv", 2 * spec.latent_channels, 2 * spec.latent_channels, 1)
    yield from _conv("post_quant_conv", spec.latent_channels, spec.latent_channels, 1)
    yield from _conv("decoder.conv_in", spec.latent_channels, width)
    yield from _vae_middle("decoder", width)
    for block, out in enumerate(reversed(spec.widths)):
        for layer in range(spec.layers + 1):
            yield from _resnet(f"decoder.up_blocks.{block}.resnets.{layer}", width, out)
            width = out
        if block < last:
            yield from _conv(f"decoder.up_blocks.{block}.upsamplers.0.conv", out, out)
    yield from _norm("decoder.conv_norm_out", width)
    yield from _conv("decoder.conv_out", width, spec.in_channels)


def _clip(spec: ClipSpec) -> Iterator[Named]:
    yield "text_model.embeddings.token_embedding.weight", (spec.vocabulary, spec.width)
    yield "text_model.embeddings.position_embedding.weight", (spec.positions, spec.width)
    for index in range(spec.layers):
        layer = f"text_model.encoder.layers.{index}"
        yield from _norm(f"{layer}.layer_norm1", spec.width)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{name}", spec.width, spec.width)
        yield from _norm(f"{layer}.layer_norm2", spec.width)
        yield from _linear(f"{layer}.mlp.fc1", spec.width, spec.mlp)
        yield from _linear(f"{layer}.mlp.fc2", spec.mlp, spec.width)
    yield from _norm("text_model.final_layer_norm", spec.width)
    if spec.projection:
        yield "text_projection.weight", (spec.projection, spec.width)
