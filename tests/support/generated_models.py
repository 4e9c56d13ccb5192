"""Small models with random weights, one for each architecture, saved in the layout of sentence-transformers.

No weights can be downloaded where the tests run. Random weights are enough to compare the vectors of two libraries.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = (
    *("a", "an", "the", "of", "in", "on", "and", "dog", "cat", "beach", "bird", "fish", "bank", "river", "money"),
    *("city", "capital", "finance", "star", "light", "doctor", "eye", "cake", "query", "passage", "document"),
    *("title", "none", "task", "search", "result", "red", "green", "blue", "photo", "text"),
)

LONG_TEXT = "the dog of the city and the bank of the river " * 12
TEXTS = ["a dog on the beach", "", "bank", "Tokyo 東京 42!", LONG_TEXT, "the eye of a cat and a fish in the river"]


def tokenizer(max_length: int = 64, *, padding_side: str = "right", ends_with: str = "") -> Any:
    """Return a small tokenizer that knows some words and the letters of others."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?|-_/"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: position for position, token in enumerate(dict.fromkeys(tokens))}
    model = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    model.normalizer = BertNormalizer(lowercase=True)
    model.pre_tokenizer = BertPreTokenizer()
    single = f"$A {ends_with}" if ends_with else "[CLS] $A [SEP]"
    special = [(ends_with, vocabulary[ends_with])] if ends_with else [("[CLS]", 2), ("[SEP]", 3)]
    model.post_processor = TemplateProcessing(single=single, special_tokens=special)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=model,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        padding_side=padding_side,
        model_input_names=["input_ids", "attention_mask"],
    )


def bert(folder: Path, width: int = 32, layers: int = 2) -> None:
    """BERT with mean pooling and normalization."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**_size(width, layers), intermediate_size=2 * width, max_position_embeddings=64)
    _save(folder, BertModel(config), modules=("mean", "normalize"), similarity="cosine")


def cross_encoder(folder: Path, width: int = 32, layers: int = 2, labels: int = 1) -> None:
    """A cross-encoder on BERT, which returns numbers for a pair of texts; in the layout of transformers."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(**_size(width, layers), intermediate_size=2 * width, max_position_embeddings=64)
    config.num_labels = labels
    model = BertForSequenceClassification(config)
    _scatter(model)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def causal_reranker(folder: Path, width: int = 32, layers: int = 2) -> None:
    """A cross-encoder on Qwen3, which returns how much more probable the word "yes" is than "no"."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    own_tokenizer = tokenizer(padding_side="left")
    own_tokenizer.add_tokens(["yes", "no"])
    config = Qwen3Config(
        **{**_size(width, layers), "vocab_size": len(own_tokenizer)}, intermediate_size=2 * width,
        max_position_embeddings=64, num_key_value_heads=2, head_dim=width // 4, pad_token_id=0,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    _scatter(model)
    model.save_pretrained(folder)
    own_tokenizer.save_pretrained(folder)


def mpnet(folder: Path, width: int = 32, layers: int = 2) -> None:
    """MPNet with mean pooling and normalization."""
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(
        **_size(width, layers), intermediate_size=2 * width, max_position_embeddings=66, pad_token_id=0
    )
    _save(folder, MPNetModel(config), modules=("mean", "normalize"))


def xlm_r(folder: Path, width: int = 32, layers: int = 2) -> None:
    """XLM-R with the prompts of E5."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        **_size(width, layers), intermediate_size=2 * width, max_position_embeddings=66, pad_token_id=0
    )
    prompts = {"query": "query: ", "document": "passage: "}
    _save(folder, XLMRobertaModel(config), modules=("mean", "normalize"), prompts=prompts)


def distilbert(folder: Path, width: int = 32, layers: int = 2) -> None:
    """DistilBERT with the vector of the first token, not normalized, for the inner product."""
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(
        vocab_size=_vocabulary(), dim=width, n_layers=layers, n_heads=4, hidden_dim=2 * width,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    _save(folder, DistilBertModel(config), modules=("cls",), similarity="dot")


def modernbert(folder: Path, width: int = 32, layers: int = 2) -> None:
    """ModernBERT with mean pooling."""
    from transformers import ModernBertConfig, ModernBertModel

    configuration: Any = ModernBertConfig
    config = configuration(
        **_size(width, layers), intermediate_size=2 * width, max_position_embeddings=64, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, local_attention=16,
        global_attn_every_n_layers=2,
    )  # fmt: skip
    _save(folder, ModernBertModel(config), modules=("mean", "normalize"))


def qwen3(folder: Path, width: int = 32, layers: int = 2) -> None:
    """Qwen3 with the vector of the last token, and a prompt for queries."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        **_size(width, layers), num_key_value_heads=2, head_dim=width // 4, intermediate_size=2 * width,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    own = tokenizer(padding_side="left", ends_with="[SEP]")
    prompts = {"query": "task: search | query: ", "document": ""}
    _save(folder, Qwen3Model(config), modules=("lasttoken", "normalize"), prompts=prompts, own_tokenizer=own)


def t5(folder: Path, width: int = 32, layers: int = 2) -> None:
    """A T5 encoder with mean pooling, a Dense module and normalization."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=_vocabulary(), d_model=width, d_kv=width // 4, num_heads=4, num_layers=layers, d_ff=2 * width,
        pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    own = tokenizer(ends_with="[SEP]")
    _save(folder, T5EncoderModel(config), modules=("mean", "dense", "normalize"), own_tokenizer=own)


def embedding_gemma(folder: Path, width: int = 32, layers: int = 2) -> None:
    """A model like EmbeddingGemma: bidirectional Gemma 3, two Dense modules, prompts for titles and queries."""
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(
        **_size(width, layers), num_key_value_heads=1, head_dim=width // 4, intermediate_size=2 * width,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, sliding_window=16,
        use_bidirectional_attention=True, query_pre_attn_scalar=width // 4,
    )  # fmt: skip
    prompts = {"query": "task: search result | query: ", "document": "title: none | text: "}
    modules = ("mean", "dense", "dense", "normalize")
    _save(folder, Gemma3TextModel(config), modules=modules, prompts=prompts)


def static(folder: Path, width: int = 32, layers: int = 2) -> None:
    """A static model: the mean of one vector per token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    _seed()
    module = StaticEmbedding(tokenizer().backend_tokenizer, embedding_dim=width)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(folder), create_model_card=False)


def router(folder: Path, width: int = 32, layers: int = 2) -> None:
    """A router: a static model for queries, BERT for documents."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Router, StaticEmbedding

    bert(folder / "document", width, layers)
    document: Any = SentenceTransformer(str(folder / "document"), device="cpu", local_files_only=True)
    static_module = StaticEmbedding(tokenizer().backend_tokenizer, embedding_dim=width)
    both = Router.for_query_document([static_module], [document[0], document[1]])
    whole = folder / "whole"
    SentenceTransformer(modules=[both, Normalize()], device="cpu").save_pretrained(str(whole), create_model_card=False)
    _replace(folder, whole)


def plain_bert(folder: Path, width: int = 32, layers: int = 2) -> None:
    """A folder of transformers, without modules.json."""
    from transformers import BertConfig, BertModel

    _seed()
    config = BertConfig(**_size(width, layers), intermediate_size=2 * width, max_position_embeddings=64)
    BertModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def clip(folder: Path, width: int = 32, layers: int = 2) -> None:
    """CLIP: a tower for texts and one for pictures of 32 pixels per side."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPProcessor,
        CLIPTextConfig,
        CLIPVisionConfig,
    )

    text = CLIPTextConfig(
        **_size(width, layers), intermediate_size=2 * width, max_position_embeddings=24, projection_dim=width,
        pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        **_size(width, layers, vocabulary=False), intermediate_size=2 * width, image_size=32, patch_size=8,
        projection_dim=width,
    )  # fmt: skip
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=width)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor: Any = CLIPProcessor
    _save_towers(folder, CLIPModel(config), processor(pictures, tokenizer(24)))


def siglip(folder: Path, width: int = 32, layers: int = 2) -> None:
    """SigLIP, whose text tower needs texts that are padded to its full length."""
    from transformers import (
        SiglipConfig,
        SiglipImageProcessorPil,
        SiglipModel,
        SiglipProcessor,
        SiglipTextConfig,
        SiglipVisionConfig,
    )

    text = SiglipTextConfig(
        **_size(width, layers), intermediate_size=2 * width, max_position_embeddings=24, projection_size=width,
        pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        **_size(width, layers, vocabulary=False), intermediate_size=2 * width, image_size=32, patch_size=8
    )
    config = SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    pictures = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    padding = {"text": {"padding": "max_length", "max_length": 24}}
    processor: Any = SiglipProcessor
    _save_towers(folder, SiglipModel(config), processor(pictures, tokenizer(24)), processing=padding)


TEXT_MODELS: dict[str, Callable[..., None]] = {
    "bert": bert,
    "mpnet": mpnet,
    "xlm_r": xlm_r,
    "distilbert": distilbert,
    "modernbert": modernbert,
    "qwen3": qwen3,
    "t5": t5,
    "embedding_gemma": embedding_gemma,
    "static": static,
    "router": router,
    "plain_bert": plain_bert,
}
PICTURE_MODELS: dict[str, Callable[..., None]] = {"clip": clip, "siglip": siglip}


def _vocabulary() -> int:
    return len(tokenizer())


def _size(width: int, layers: int, *, vocabulary: bool = True) -> dict[str, Any]:
    size: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4}
    return {**size, "vocab_size": _vocabulary()} if vocabulary else size


def _seed() -> None:
    import torch

    torch.manual_seed(7)


def _save(
    folder: Path,
    model: Any,
    *,
    modules: tuple[str, ...],
    prompts: dict[str, str] | None = None,
    similarity: Any = None,
    own_tokenizer: Any = None,
) -> None:
    """Save a model of transformers with the modules of sentence-transformers that follow it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    _scatter(model)
    plain = folder / "plain"
    model.save_pretrained(plain)
    (own_tokenizer or tokenizer()).save_pretrained(plain)
    transformer = Transformer(str(plain))
    width = transformer.get_embedding_dimension()
    steps: list[Any] = [transformer]
    for name in modules:
        if name == "dense":
            steps.append(Dense(width, width, bias=False, activation_function=torch.nn.Identity()))
        else:
            steps.append(Normalize() if name == "normalize" else Pooling(width, name))
    whole = folder / "whole"
    built = SentenceTransformer(modules=steps, device="cpu", prompts=prompts, similarity_fn_name=similarity)
    built.save_pretrained(str(whole), create_model_card=False)
    _replace(folder, whole)


def _save_towers(folder: Path, model: Any, processor: Any, processing: dict[str, Any] | None = None) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    _scatter(model)
    plain = folder / "plain"
    model.save_pretrained(plain)
    processor.save_pretrained(plain)
    whole = folder / "whole"
    transformer = Transformer(str(plain), processing_kwargs=processing)
    SentenceTransformer(modules=[transformer], device="cpu").save_pretrained(str(whole), create_model_card=False)
    _replace(folder, whole)


def _scatter(model: Any) -> None:
    """Give a model weights large enough that the vectors of different texts differ as those of a trained model do."""
    import torch

    _seed()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.0 if "embed" in name else 1.5 * parameter.shape[-1] ** -0.5)


def _replace(folder: Path, whole: Path) -> None:
    """Make the content of a folder that of one of its subfolders."""
    import shutil

    content = folder.with_name(f"{folder.name}-content")
    whole.rename(content)
    shutil.rmtree(folder)
    content.rename(folder)
