"""The tokenizer taken from a checkpoint tokenizes as transformers does, and never truncates or pads."""

import io
import json
import sys

import pytest
import sentencepiece
import transformers
from tokenizers import Tokenizer, processors
from tokenizers.implementations import ByteLevelBPETokenizer

from pyqrt.errors import ModelError
from pyqrt.models import family, roberta, xlm_roberta
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.runtime.tokenization import Tokenizer as RuntimeTokenizer

TEXTS = [
    "The cats sat on the MAT.",
    "Café, unable 漢字",
    "",
    "the [MASK] cat",
    "dog  cat\tmat\u0000 ",
    "CAFÉ",
]
PAIRS = [("the cat", "sat on the mat"), ("", "cats")]


def tokenizer_of(saved):
    return Tokenizer.from_str(load_checkpoint(saved.path)[1].tokenizer_json)


def assert_tokenizes_as(tokenizer, reference):
    for text in [*((text,) for text in TEXTS), *PAIRS]:
        ours, expected = tokenizer.encode(*text), reference(*text)
        assert ours.ids == expected["input_ids"], text
        # without them, transformers' encoders take zeros
        assert ours.type_ids == expected.get("token_type_ids", [0] * len(ours)), text


OPTIONS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False},
    {"cls_token": {"content": "the"}, "sep_token": ".", "unk_token": "cat"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_vocabulary(saved, options):
    saved.json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **options})
    texts = {name: v["content"] if isinstance(v, dict) else v for name, v in options.items()}
    reference = transformers.BertTokenizer(vocab=str(saved.path / "vocab.txt"), **texts)
    assert_tokenizes_as(tokenizer_of(saved), reference)


def test_pair_has_types(saved):
    encoding = tokenizer_of(saved).encode("the cat", "sat")
    assert encoding.tokens == ["[CLS]", "the", "cat", "[SEP]", "sat", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 0, 1, 1]


PROCESSORS = {
    "none": None,
    "template": processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS]:1 $B:1 [SEP] $A:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    ),
    "bert": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "roberta": processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "bytes": processors.ByteLevel(),
    "sequence": processors.Sequence([processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))]),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_tokenizer_that_is_said_to_give_no_types(saved, name):
    tokenizer = tokenizer_of(saved)
    if (processor := PROCESSORS[name]) is not None:
        tokenizer.post_processor = processor
    content = json.loads(tokenizer.to_str())
    saved.json("tokenizer.json", content if processor is not None else content | {"post_processor": None})
    given = tokenizer_of(saved).encode(*PAIRS[0])
    assert (1 in given.type_ids) == (name != "roberta")
    options = {"tokenizer_class": "PreTrainedTokenizerFast"}
    saved.json("tokenizer_config.json", options | {"model_input_names": ["input_ids", "attention_mask"]})
    assert_tokenizes_as(tokenizer_of(saved), transformers.AutoTokenizer.from_pretrained(saved.path))
    encoding = tokenizer_of(saved).encode(*PAIRS[0])
    assert encoding.tokens == given.tokens
    assert set(encoding.type_ids) == {0}
    saved.options("tokenizer_config.json", model_input_names=["input_ids", "token_type_ids"])
    assert tokenizer_of(saved).encode(*PAIRS[0]).type_ids == given.type_ids


@pytest.mark.parametrize("task", ["ForSequenceClassification", "ForQuestionAnswering"])
def test_types_that_only_a_head_makes(saved, task):
    """BigBird's question answering makes them from where the question ends; nothing else gives it any."""
    saved.json("tokenizer.json", json.loads(tokenizer_of(saved).to_str()))
    saved.json("tokenizer_config.json", {"tokenizer_class": "BigBirdTokenizer"})
    hf = next(hf for hf in family("big_bird").tiny() if hf["architectures"] == [f"BigBird{task}"])
    config = transformers.BigBirdConfig(**hf | {"vocab_size": len(tokenizer_of(saved).get_vocab())})
    getattr(transformers, f"BigBird{task}")(config).save_pretrained(saved.path)
    encoding = tokenizer_of(saved).encode("the cat", "sat")
    assert encoding.tokens == ["[CLS]", "the", "cat", "[SEP]", "sat", "[SEP]"]
    answers = task == "ForQuestionAnswering"
    assert encoding.type_ids == [0, 0, 0, 0, int(answers), int(answers)]


FAMILIES = ["big_bird", "roberta", "roformer", "mpnet", "distilbert"]


@pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_tokenizer_of_bert_in_another_family(saved, name, form):
    if form == "tokenizer.json":
        saved.json("tokenizer.json", json.loads(tokenizer_of(saved).to_str()))
    saved.json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    hf = family(name).tiny()[0] | {"vocab_size": len(tokenizer_of(saved).get_vocab())}
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**hf))
    model.save_pretrained(saved.path)
    tokenizer, reference = tokenizer_of(saved), transformers.AutoTokenizer.from_pretrained(saved.path)
    typed = load_checkpoint(saved.path)[0].config.type_vocab_size > 1
    for text in [*((text,) for text in TEXTS), *PAIRS]:
        ours, expected = tokenizer.encode(*text), reference(*text)
        assert ours.ids == expected["input_ids"], text
        assert ours.type_ids == (expected["token_type_ids"] if typed else [0] * len(ours)), text
    assert typed == (name in ("big_bird", "roformer"))


@pytest.fixture
def splinter(saved):
    """The checkpoint as a Splinter's that answers questions, its tokenizer in vocab.txt alone."""
    words = [*(saved.path / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1], "[QUESTION]"]
    hf = family("splinter").tiny()[2] | {"vocab_size": len(words), "question_token_id": len(words) - 1}
    model = transformers.SplinterForQuestionAnswering(transformers.SplinterConfig(**hf))
    model.save_pretrained(saved.path)
    (saved.path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return saved


def test_question_token_between_question_and_text(splinter):
    splinter.json("tokenizer_config.json", {"tokenizer_class": "SplinterTokenizer"})
    reference = transformers.AutoTokenizer.from_pretrained(splinter.path)
    tokenizer = tokenizer_of(splinter)
    assert_tokenizes_as(tokenizer, reference)
    words = ["[CLS]", "cat", "[QUESTION]", ".", "[SEP]", "mat", "[SEP]"]
    assert tokenizer.encode("cat", "mat").tokens == words
    encoder = load_checkpoint(splinter.path)[0]
    assert encoder.config.head.spans.token == tokenizer.token_to_id("[QUESTION]")


def test_a_vocabulary_without_the_question_token(splinter):
    vocabulary = splinter.path / "vocab.txt"
    text = vocabulary.read_text(encoding="utf-8").replace("[QUESTION]", "[OTHER]")
    vocabulary.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab\.txt lacks \[QUESTION\], which stand in a pair"):
        load_checkpoint(splinter.path)


@pytest.fixture
def with_tokenizer_json(saved):
    """A tokenizer.json that truncates, pads and keeps case, as sentence-transformers saves them."""
    tokenizer = Tokenizer.from_str(load_checkpoint(saved.path)[1].tokenizer_json)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    content = json.loads(tokenizer.to_str())
    content["normalizer"]["lowercase"] = False
    saved.json("tokenizer.json", content)
    saved.json("tokenizer_config.json", {"do_lower_case": False})
    return saved


def test_tokenizer_json_without_truncation_and_padding(with_tokenizer_json):
    written = json.loads((with_tokenizer_json.path / "tokenizer.json").read_text())
    assert written["truncation"]
    assert written["padding"]
    read = json.loads(load_checkpoint(with_tokenizer_json.path)[1].tokenizer_json)
    assert read == written | {"truncation": None, "padding": None}
    assert len(tokenizer_of(with_tokenizer_json).encode("the cat sat on the mat").ids) == 8


@pytest.mark.parametrize("options", [o for o in OPTIONS if "do_lower_case" in o or not o])
def test_stated_normalizer_options_win_over_tokenizer_json(with_tokenizer_json, options):
    saved = with_tokenizer_json
    saved.json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **options})
    reference = transformers.AutoTokenizer.from_pretrained(saved.path)
    assert_tokenizes_as(tokenizer_of(saved), reference)


def test_the_side_that_texts_are_cut_on(saved):
    saved.json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "truncation_side": "left"})
    checkpoint = load_checkpoint(saved.path)[1]
    reference = transformers.AutoTokenizer.from_pretrained(saved.path)
    tokenizer = RuntimeTokenizer(checkpoint.tokenizer_json, 6)
    texts, pairs = zip(*PAIRS, strict=True)
    for given in (([TEXTS[0]],), (texts, pairs)):
        expected = reference(*map(list, given), truncation=True, max_length=6)["input_ids"]
        assert [item.ids.tolist() for item in tokenizer.encode(*given, truncate=True)] == expected


def test_special_tokens_that_are_split_are_refused(saved):
    saved.json("tokenizer_config.json", {"split_special_tokens": True})
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: split_special_tokens is set"):
        load_checkpoint(saved.path)


def test_they_do_not_concern_other_tokenizers(with_tokenizer_json):
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}
    with_tokenizer_json.json("tokenizer_config.json", options)
    assert tokenizer_of(with_tokenizer_json).encode("The Cat").tokens == ["[CLS]", "The", "Cat", "[SEP]"]


def test_sentence_transformers_lowercase_first(with_tokenizer_json):
    saved = with_tokenizer_json
    kinds = ("Transformer", "Pooling")
    saved.json(
        "modules.json",
        [
            {"idx": i, "path": ["", "1_Pooling"][i], "type": f"sentence_transformers.models.{kind}"}
            for i, kind in enumerate(kinds)
        ],
    )
    saved.json("1_Pooling/config.json", {"pooling_mode_mean_tokens": True})
    saved.json("sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": True})
    tokenizer = tokenizer_of(saved)
    assert tokenizer.encode("The CAT").tokens == ["[CLS]", "the", "cat", "[SEP]"]
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    saved.json("sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False})
    assert tokenizer_of(saved).encode("The CAT").tokens == ["[CLS]", "The", "[UNK]", "[SEP]"]


def test_no_tokenizer(saved):
    (saved.path / "vocab.txt").unlink()
    assert load_checkpoint(saved.path)[1].tokenizer_json is None


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_a_vocabulary_that_is_not_enough(saved, file):
    saved.json("tokenizer_config.json", {"word_tokenizer_type": "basic"})
    saved.options(file, tokenizer_class="BertJapaneseTokenizer")
    with pytest.warns(UserWarning, match=r"vocab\.txt: it alone does not define a BertJapaneseTokenizer"):
        assert load_checkpoint(saved.path)[1].tokenizer_json is None


@pytest.fixture
def byte_pairs(saved):
    """The checkpoint as a RoBERTa's, with the files that transformers wrote before tokenizer.json."""
    (saved.path / "vocab.txt").unlink()
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(TEXTS * 4, vocab_size=300, special_tokens=special, show_progress=False)
    trained.save_model(str(saved.path))
    hf = roberta.tiny()[0] | {"vocab_size": 300}
    transformers.RobertaModel(transformers.RobertaConfig(**hf)).save_pretrained(saved.path)
    return saved


def test_byte_pairs(byte_pairs):
    checkpoint = load_checkpoint(byte_pairs.path)[1]
    assert {"vocab.json", "merges.txt"} <= set(checkpoint.files)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    reference = transformers.RobertaTokenizer.from_pretrained(byte_pairs.path)
    for text in [*((text,) for text in TEXTS), *PAIRS]:
        assert tokenizer.encode(*text).ids == reference(*text)["input_ids"], text
    assert tokenizer.encode("the cat").ids[0] == 0


@pytest.mark.parametrize("said", [{}, {"add_prefix_space": True}, {"add_prefix_space": False}])
@pytest.mark.parametrize("kind", ["RobertaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("written", [True, False])
def test_a_space_in_front_of_byte_pairs(byte_pairs, kind, said, written):
    content = json.loads(tokenizer_of(byte_pairs).to_str())
    content["pre_tokenizer"]["add_prefix_space"] = written
    byte_pairs.json("tokenizer.json", content)
    byte_pairs.json("tokenizer_config.json", {"tokenizer_class": kind, **said})
    for name in ("vocab.json", "merges.txt"):
        (byte_pairs.path / name).unlink()
    tokenizer, reference = (
        tokenizer_of(byte_pairs),
        transformers.AutoTokenizer.from_pretrained(byte_pairs.path),
    )
    for text in ("the cat", " the cat", "cats<mask> sat"):
        assert tokenizer.encode(text).ids == reference(text)["input_ids"], text


def test_without_transformers_byte_pairs_are_not_read(byte_pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.warns(
        UserWarning, match=r"merges\.txt, vocab\.json: reading them needs transformers and sent"
    ):
        assert load_checkpoint(byte_pairs.path)[1].tokenizer_json is None


def test_merges_that_do_not_fit_are_not_read(byte_pairs):
    (byte_pairs.path / "merges.txt").write_text("#version: 0.2\nq\n")
    with pytest.warns(UserWarning, match=r"vocab\.json: transformers makes no tokenizer\.json of them"):
        assert load_checkpoint(byte_pairs.path)[1].tokenizer_json is None


def test_code_that_comes_with_a_tokenizer_is_not_run(byte_pairs):
    """tokenizer_config.json may name a class in a file of the checkpoint."""
    byte_pairs.json(
        "tokenizer_config.json",
        {"tokenizer_class": "MineTokenizer", "auto_map": {"AutoTokenizer": ["mine.MineTokenizer", None]}},
    )
    ran = byte_pairs.path / "ran"
    (byte_pairs.path / "mine.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.warns(UserWarning, match="The model takes token ids only"):
        assert load_checkpoint(byte_pairs.path)[1].tokenizer_json is None
    assert not ran.exists()


def test_sentence_pieces(saved):
    (saved.path / "vocab.txt").unlink()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4), model_writer=model, vocab_size=36, minloglevel=2
    )
    (saved.path / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    hf = xlm_roberta.tiny()[0] | {"vocab_size": 50}
    transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**hf)).save_pretrained(saved.path)
    checkpoint = load_checkpoint(saved.path)[1]
    assert "sentencepiece.bpe.model" in checkpoint.files
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    for text in ("The cats sat on the MAT.", "the cat"):
        # XLM-R counts from 1 what SentencePiece counts from 0, between its own special tokens
        assert tokenizer.encode(text).ids == [0, *(piece + 1 for piece in pieces.encode(text)), 2], text


UNSPLIT = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False) | {"special": True}
ADDED = {
    "a list": {"tokenizer_config.json": {"additional_special_tokens": ["[c]"]}},
    "its later name": {"tokenizer_config.json": {"extra_special_tokens": ["[c]", "cats"]}},
    "numbers": {"tokenizer_config.json": {"added_tokens_decoder": {"6": {"content": "cat", **UNSPLIT}}}},
    "a new number": {
        "tokenizer_config.json": {"added_tokens_decoder": {"21": {"content": "[c]", **UNSPLIT}}}
    },
    "a map": {"special_tokens_map.json": {"cls_token": "the", "additional_special_tokens": ["[c]"]}},
    "both": {
        "tokenizer_config.json": {"cls_token": "sat", "extra_special_tokens": ["sat"]},
        "special_tokens_map.json": {"cls_token": {"content": "the"}, "extra_special_tokens": ["[c]"]},
    },
    "a map without a say": {
        "tokenizer_config.json": {"added_tokens_decoder": {"6": {"content": "cat", **UNSPLIT}}},
        "special_tokens_map.json": {"cls_token": "the"},
    },
    "a file of its own": {"added_tokens.json": {"cat": 6}},
}


# Another [CLS] than tokenizer.json's post-processor has is put into it by some versions of transformers.
ADDED_TO = [("vocab.txt", where) for where in ADDED] + [
    ("tokenizer.json", where)
    for where, files in ADDED.items()
    if not any("cls_token" in content for content in files.values())
]


@pytest.mark.parametrize(("form", "where"), ADDED_TO)
def test_tokens_that_are_not_split(saved, form, where):
    if form == "tokenizer.json":
        saved.json("tokenizer.json", json.loads(tokenizer_of(saved).to_str()))
    for name, content in ADDED[where].items():
        saved.json(name, content)
    reference = transformers.AutoTokenizer.from_pretrained(saved.path)
    tokenizer = tokenizer_of(saved)
    for text in ("the [c] cats", "thecat[c]sat", "Cats"):
        assert tokenizer.encode(text).ids == reference(text)["input_ids"], text


def test_an_added_token_with_another_number(saved):
    numbered = {"30": {"content": "[c]", **UNSPLIT}}
    saved.json("tokenizer_config.json", {"added_tokens_decoder": numbered})
    with pytest.raises(ModelError, match=r"token '\[c\]' is said to have id 30, the vocabulary gives it 21"):
        load_checkpoint(saved.path)


def test_added_tokens(saved):
    saved.json("added_tokens.json", {"cat": 6})
    assert load_checkpoint(saved.path)[1].tokenizer_json
    saved.json("added_tokens.json", {"<new>": 21, "cat": 6})
    with pytest.raises(ModelError, match=r"tokens beyond vocab\.txt \(<new>\) need a tokenizer\.json"):
        load_checkpoint(saved.path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("vocab.txt", "the\ncat\n", r"vocab\.txt: sep_token not found"),
        ("tokenizer.json", "{}", r"tokenizer\.json: "),
        ("tokenizer.json", "[]", "expected a JSON object"),
        ("tokenizer.json", "{", "not valid JSON"),
        ("tokenizer_config.json", "{", "not valid JSON"),
    ],
)
def test_malformed_files_are_named(saved, name, text, message):
    (saved.path / name).write_text(text)
    with pytest.raises(ModelError, match=message) as error:
        load_checkpoint(saved.path)
    assert name in str(error.value)
