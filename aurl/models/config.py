"""What a model is made of, checked before it is built. The mode is read here once; later code asks for the part."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

FFN_MULTIPLE = 32
"""The feed-forward width is rounded up to a multiple of this, which keeps matrix kernels on their fast path."""

CONDITIONS = ("key", "chords")
"""What a prior can be told of each bar (aurl/models/conditions.py)."""
LARGEST_LATENT = 1024
"""Most dimensions of a latent."""


class Mode(str, Enum):
    """Which objective the one model is trained with."""

    transformer = "transformer"
    vae = "vae"
    """A transformer whose every bar is steered by a latent, learned with an encoder (variational autoencoder)."""
    vae_gan = "vae_gan"
    """The same, with a discriminator that judges what the model writes by itself."""


class Prior(str, Enum):
    """What latents of bars are expected to be before any music is seen, given the latent of the piece."""

    autoregressive = "autoregressive"
    """Each bar follows from the bars before it and from the piece."""
    normal = "normal"
    """Every bar is a standard normal, whatever the piece."""
    mixture = "mixture"
    """Every bar is drawn from a learned mixture of Gaussians whose shares follow from the piece."""


class Sees(str, Enum):
    """What the discriminator looks at."""

    latents = "latents"
    """Latents of bars."""
    states = "states"
    """The decoder's states, one for each token (Lamb et al. 2016, arXiv:1610.09038)."""
    tokens = "tokens"
    """Tokens."""
    music = "music"
    """Piano roll, pitch classes, onsets and number of notes of each bar."""


class Positions(str, Enum):
    """How a token knows where it is."""

    musical = "musical"
    """Rotary: some head dimensions turn with the token index, some with the onset in beats, some with the bar."""
    token = "token"
    """Rotary over the token index only."""
    absolute = "absolute"
    """Learned embedding of the token index, the plain baseline."""


class Attention(str, Enum):
    """What a token sees of its past."""

    full = "full"
    """Every earlier token of the sequence."""
    local = "local"
    """The last tokens one by one, and a learned summary of every earlier bar: memory grows linearly with length."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Size and shape of :class:`aurl.models.music_transformer_vae_gan.MusicTransformerVAEGAN`.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    mode: Mode = Mode.transformer
    """Objective; ``transformer`` is a decoder-only language model."""
    hidden_dim: int = 256
    """Width D of the residual stream."""
    layers: int = 6
    """Decoder blocks."""
    heads: int = 4
    """Query heads H."""
    kv_heads: int | None = None
    """Key/value heads shared by groups of query heads; unset means one for each query head."""
    ffn_dim: int | None = None
    """Inner width of the feed-forward part; unset means 8/3 of hidden_dim (SwiGLU)."""
    dropout: float = 0.1
    """Probability of dropping a unit of the residual branches."""
    token_dropout: float = 0.0
    """Probability, in training, that the decoder is not told which token stood at a place of the past (word dropout:
    Bowman et al. 2016, arXiv:1511.06349): it has to go by the rest, by latents and by what it hears.
    """
    context: int = 2048
    """Longest sequence in tokens that one attention window sees."""
    positions: Positions = Positions.musical
    """How a token knows where it is."""
    attention: Attention = Attention.full
    """full, or local for long pieces."""
    window: int = 512
    """With local attention: tokens that are seen one by one, the token itself included."""
    hearing: bool = False
    """Give each token the notes that sound with it, and judge the next pitch of a voice by its intervals."""
    hearing_dropout: float = 0.0
    """Probability, in training, that a token does not hear one of the notes that sound."""
    tie_embeddings: bool = True
    """Use the input embedding as output projection."""
    gradient_checkpointing: bool = False
    """Recompute each block in the backward pass: less memory, about a third more time."""
    latent_dim: int = 0
    """Width Z of the latent of a bar, in modes vae and vae_gan; 0 without latents."""
    piece_latent_dim: int = 32
    """Width of the latent of a piece, from which those of its bars follow."""
    hierarchy: bool = True
    """Give each bar a latent; false gives one latent of latent_dim to all bars of a segment, the flat baseline."""
    encoder_layers: int = 2
    """Blocks of the encoder that reads each bar."""
    prior: Prior = Prior.autoregressive
    """What latents of bars are expected to be."""
    prior_layers: int = 1
    """Blocks of the autoregressive prior."""
    prior_conditions: list[str] = field(default_factory=list)
    """What the autoregressive prior is told of each bar: key, chords."""
    prior_components: int = 16
    """Gaussians of the mixture prior."""
    attributes: list[str] = field(default_factory=list)
    """What the first dimensions of a bar's latent stand for, in this order (see aurl.music.attributes)."""
    critic_dim: int = 128
    """Width C of the discriminator, in mode vae_gan."""
    critic_layers: int = 2
    """Layers of windows over tokens in the discriminator."""
    spectral_norm: bool = True
    """Divide every matrix of the discriminator by its largest singular value."""

    def __post_init__(self) -> None:
        for key, low in (("hidden_dim", 8), ("layers", 1), ("heads", 1), ("context", 16), ("window", 1)):
            value = getattr(self, key)
            if value < low:
                raise ValueError(f"model.{key}={value} is too small; allowed: {low} or more")
        if self.hidden_dim % self.heads:
            raise ValueError(
                f"model.hidden_dim={self.hidden_dim} must be a multiple of model.heads={self.heads}; change one of them"
            )
        if self.head_dim % 4:
            raise ValueError(
                f"model.hidden_dim={self.hidden_dim} with model.heads={self.heads} gives heads of {self.head_dim}; "
                "rotary positions need a multiple of 4"
            )
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise ValueError(f"model.kv_heads={self.kv_heads} must divide model.heads={self.heads}")
        if self.ffn_dim is not None and self.ffn_dim < 1:
            raise ValueError(
                f"model.ffn_dim={self.ffn_dim} is too small; allowed: 1 or more, or null for 8/3 of hidden_dim"
            )
        for key in ("dropout", "token_dropout", "hearing_dropout"):
            value = getattr(self, key)
            if not 0.0 <= value < 1.0:
                raise ValueError(f"model.{key}={value} is out of range; allowed: 0 up to, not including, 1")

        self._check_latent()
        for key, low in (("critic_dim", 1), ("critic_layers", 1)):
            value = getattr(self, key)
            if value < low:
                raise ValueError(f"model.{key}={value} is too small; allowed: {low} or more")

    def _check_latent(self) -> None:
        if not self.has_latent:
            if self.latent_dim:
                raise ValueError(
                    f"model.latent_dim={self.latent_dim} needs model=vae or vae_gan, got model.mode={self.mode.value}"
                )
            return
        for key, low, high in (
            ("latent_dim", 1, LARGEST_LATENT),
            ("piece_latent_dim", 1, LARGEST_LATENT),
            ("encoder_layers", 1, None),
            ("prior_layers", 1, None),
            ("prior_components", 1, None),
        ):
            value = getattr(self, key)
            if value < low or (high is not None and value > high):
                allowed = f"{low} or more" if high is None else f"{low} to {high}"
                raise ValueError(f"model.{key}={value} is out of range; allowed: {allowed}")
        for name in self.prior_conditions:
            if name not in CONDITIONS:
                raise ValueError(f"model.prior_conditions: there is no '{name}'; allowed: {', '.join(CONDITIONS)}")
        if self.prior_conditions and self.prior is not Prior.autoregressive:
            raise ValueError(
                f"model.prior_conditions={list(self.prior_conditions)} needs model.prior=autoregressive, "
                f"got {self.prior.value}"
            )
        self._check_flat()
        if len(self.attributes) > self.latent_dim:
            raise ValueError(
                f"model.attributes names {len(self.attributes)} dimensions, model.latent_dim={self.latent_dim} has "
                "fewer; name fewer or raise it"
            )
        if len(set(self.attributes)) != len(self.attributes):
            raise ValueError(f"model.attributes={list(self.attributes)} names one twice")

    def _check_flat(self) -> None:
        """Refuse what needs latents of bars where there are none."""
        if self.hierarchy:
            return
        if self.mode is Mode.vae_gan:
            raise ValueError("model.hierarchy=false needs model=vae: a discriminator judges latents of bars")
        for key in ("attributes", "prior_conditions"):
            if getattr(self, key):
                raise ValueError(
                    f"model.{key}={list(getattr(self, key))} are of bars, which have no latents with "
                    f'model.hierarchy=false; set "model.{key}=[]"'
                )

    @property
    def has_latent(self) -> bool:
        """Whether bars have latents, and so an encoder and a prior."""
        return self.mode is not Mode.transformer

    @property
    def has_discriminator(self) -> bool:
        """Whether a discriminator judges what the model writes."""
        return self.mode is Mode.vae_gan

    @property
    def head_dim(self) -> int:
        """Width K of one head."""
        return self.hidden_dim // self.heads

    @property
    def key_value_heads(self) -> int:
        """Number of key/value heads actually built."""
        return self.kv_heads or self.heads

    @property
    def feed_forward_dim(self) -> int:
        """Inner feed-forward width actually built: 8/3 of the width keeps SwiGLU at the parameters of a 4x MLP."""
        return self.ffn_dim or -(-8 * self.hidden_dim // 3 // FFN_MULTIPLE) * FFN_MULTIPLE
