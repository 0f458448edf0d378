"""Images, sequences and text, as a user would: the scores that nets of these sizes reach."""

import numpy as np
import pytest

import nnkit as nn

pytest.importorskip("sklearn")

from sklearn import datasets
from sklearn.model_selection import train_test_split


def digits():
    """Images of one channel, (1, 8, 8): training and test data."""
    X, y = datasets.load_digits(return_X_y=True)
    return train_test_split(X.reshape(-1, 1, 8, 8) / 16, y, test_size=0.25, random_state=0, stratify=y)


def accuracy(model, X, y):
    return (model.predict(X).argmax(axis=1) == y).mean()


def fit_classes(model, X, y):
    adam = nn.Adam(5e-3, schedule="cosine")
    model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=15, batch_size=32, random_state=0)


def test_a_convolutional_net_reads_digits():
    """Over nine splits and seeds: 0.987 to 0.996."""
    X, X_test, y, y_test = digits()
    model = nn.Sequential([
        nn.Conv2d(32, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(10),
    ])  # fmt: skip
    fit_classes(model, X, y)
    assert accuracy(model, X_test, y_test) >= 0.985


def residual_block(channels):
    return [
        nn.Residual(nn.Conv2d(channels, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(channels, 3, padding=1),
                    nn.BatchNorm2d()),
        nn.ReLU(),
    ]  # fmt: skip


def test_a_residual_net_with_branches_reads_digits():
    """Over nine splits and seeds: 0.982 to 0.996."""
    X, X_test, y, y_test = digits()
    model = nn.Sequential([
        nn.Branches(nn.Conv2d(8, 1), nn.Conv2d(8, 3, padding=1)), nn.ReLU(), *residual_block(16),
        nn.MaxPool2d(2), *residual_block(16), nn.Flatten(), nn.Dropout(0.5), nn.Linear(10),
    ])  # fmt: skip
    fit_classes(model, X, y)
    assert accuracy(model, X_test, y_test) >= 0.98


def spoilt(X, seed):
    """Images with noise, half of them as negatives."""
    random = np.random.default_rng(seed)
    negative = random.random((len(X), 1, 1, 1)) < 0.5
    return np.where(negative, 1 - X, X) + random.normal(0, 0.3, X.shape)


def around(channels, *inner):
    """A level of a U-Net: the image goes past the smaller one, with what is inside of that."""
    smaller = [nn.MaxPool2d(2), nn.Conv2d(2 * channels, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()]
    return nn.Branches("identity", [*smaller, *inner, nn.ConvTranspose2d(channels, 2, stride=2)])


def test_a_u_net_repairs_digits():
    """Over four splits and seeds: 0.021 to 0.023; the best linear map of all places to all has 0.076."""
    X, X_test, _, _ = digits()
    inner = [around(32), nn.Conv2d(32, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()]
    model = nn.Sequential([
        nn.Conv2d(16, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), around(16, *inner),
        nn.Conv2d(16, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(1, 1),
    ])  # fmt: skip
    adam = nn.Adam(1e-2, schedule="cosine")
    model.fit(spoilt(X, 0), X, optimizer=adam, epochs=15, batch_size=32, random_state=0)
    assert model.evaluate(spoilt(X_test, 1), X_test) < 0.026


def adding_problem(rows, seed, steps=50):
    """Numbers, two of them marked (one in each half); the sum of the marked ones is asked for.

    Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4. Who always says 1 has a mean squared error of 1/6.
    """
    random = np.random.default_rng(seed)
    X = np.zeros((rows, steps, 2))
    X[:, :, 0] = random.random((rows, steps))
    marked = np.stack([random.integers(0, steps // 2, rows), random.integers(steps // 2, steps, rows)])
    X[np.arange(rows), marked, 1] = 1.0
    return X, (X[:, :, :1] * X[:, :, 1:]).sum(axis=1)


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_a_recurrent_net_remembers_two_numbers_among_fifty(layer):
    X, y = adding_problem(2000, seed=0)
    model = nn.Sequential([getattr(nn, layer)(32), nn.Linear(1)])
    model.fit(X, y, optimizer=nn.Adam(1e-2, clip_norm=1.0, schedule="cosine"), epochs=25, batch_size=32, random_state=0)
    assert model.evaluate(*adding_problem(1000, seed=1)) < 0.01


SUBJECTS = {"the dog": "it barks", "the cat": "it purrs", "the owls": "they watch", "the wolves": "they howl"}
VERBS = {"the dog": ("sees", "likes"), "the cat": ("sees", "likes"), "the owls": ("see", "like"), "the wolves": ("see", "like")}
OBJECTS = ("the old tree", "a small house", "the river", "a red ball", "the moon")
LINKS = ("and then", "because", "while")


def text(characters, seed):
    """Sentences in which the last words depend on the first ones, thirty characters before."""
    random = np.random.default_rng(seed)
    sentences, length = [], 0
    while length < characters:
        subject = random.choice(list(SUBJECTS))
        middle = [random.choice(VERBS[subject]), random.choice(OBJECTS), random.choice(LINKS), SUBJECTS[subject]]
        sentences.append(f"{subject} {' '.join(middle)}. ")
        length += len(sentences[-1])
    return "".join(sentences)[:characters]


def windows(codes, steps):
    """Rows of so many characters, and for each the one that comes next."""
    rows = (len(codes) - 1) // steps
    return codes[: rows * steps].reshape(rows, steps), codes[1 : rows * steps + 1].reshape(rows, steps)


def test_a_transformer_learns_more_of_a_text_than_pairs_of_letters():
    training, validation = text(30_000, seed=0), text(6_000, seed=1)
    alphabet = {letter: code for code, letter in enumerate(sorted(set(training)))}
    codes, held = (np.array([alphabet[letter] for letter in part]) for part in (training, validation))
    pairs = np.ones((len(alphabet), len(alphabet)))  # each pair once more than it was seen
    np.add.at(pairs, (codes[:-1], codes[1:]), 1.0)
    chances = pairs / pairs.sum(axis=1, keepdims=True)
    bigrams = -np.log(chances[held[:-1], held[1:]]).mean()

    model = nn.Sequential([
        nn.Embedding(len(alphabet), 32), nn.PositionalEmbedding(),
        *(layer for _ in range(2) for layer in (
            nn.Residual(nn.LayerNorm(), nn.MultiHeadAttention(4, causal=True)),
            nn.Residual(nn.LayerNorm(), nn.Linear(64), nn.GELU(), nn.Linear(32)),
        )),
        nn.LayerNorm(), nn.Linear(len(alphabet)),
    ])  # fmt: skip
    X, y = windows(codes, 64)
    model.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(5e-3, schedule="cosine"), epochs=12, batch_size=16, random_state=0)
    loss = model.evaluate(*windows(held, 64), loss="cross_entropy")
    assert loss < 0.5 * bigrams


LONGEST, TOKENS = 8, 12  # 0 is padding, 1 to 10 are words, 11 begins an answer


def questions(rows, seed, answer):
    """Sequences of 2 to 8 words, and what is to be answered to each."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, LONGEST + 1, rows)
    X = np.where(np.arange(LONGEST) < lengths[:, None], random.integers(1, 11, (rows, LONGEST)), 0)
    y = np.zeros_like(X)
    for said, asked, length in zip(y, X, lengths, strict=True):
        said[:length] = answer(asked[:length])
    return X, y


def so_far(answers):
    """What a decoder sees: the answer up to the word before."""
    return np.insert(answers[:, :-1], 0, 11, axis=1)


@pytest.mark.parametrize("answer", [lambda words: words, lambda words: words[::-1]], ids=["copy", "reverse"])
def test_an_encoder_and_a_decoder_answer_word_by_word(answer):
    """Whole answers, each word told from those that were said before."""
    X, y = questions(4000, 0, answer)
    embeddings = {name: [nn.Embedding(TOKENS, 32, padding_idx=padding), nn.PositionalEmbedding()]
                  for name, padding in (("src", 0), ("tgt", None))}  # fmt: skip
    transformer = nn.Transformer(4, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=64, dropout=0.0,
                                 norm_first=True, causal=True)  # fmt: skip
    net = nn.Graph(src=("question", embeddings["src"]), tgt=("answer", embeddings["tgt"]),
                   out=(("src", "tgt"), [transformer, nn.Linear(TOKENS)]))  # fmt: skip
    model = nn.Sequential([net])
    adam = nn.Adam(3e-3, schedule="cosine")
    model.fit({"question": X, "answer": so_far(y)}, y, loss="cross_entropy", optimizer=adam, epochs=15, batch_size=32,
              random_state=0)  # fmt: skip
    asked, expected = questions(500, 1, answer)
    said = np.zeros_like(expected)
    for step in range(LONGEST):
        said[:, step] = model.predict({"question": asked, "answer": so_far(said)})[:, step].argmax(axis=1)
    assert (said == expected)[asked > 0].mean() >= 0.99
    assert (said == expected).all(axis=1).mean() >= 0.97


ENCODER = {"dim_feedforward": 9, "dropout": 0.0}
PADDED = [
    nn.RNN(5), nn.GRU(5), nn.LSTM(5), nn.RNN(3, return_sequences=True, nonlinearity="relu"), nn.GRU(3, return_sequences=True),
    nn.LSTM(3, return_sequences=True), nn.LSTM(5, proj_size=2, return_sequences=True),
    nn.GRU(4, num_layers=2, bidirectional=True), nn.LSTM(4, num_layers=2, bidirectional=True, return_sequences=True),
    nn.MultiHeadAttention(2), nn.MultiHeadAttention(2, causal=True, rotary=10000.0),
    nn.TransformerEncoderLayer(2, **ENCODER),
    nn.TransformerEncoder(nn.TransformerEncoderLayer(2, norm_first=True, **ENCODER), 2, norm=nn.LayerNorm()),
]  # fmt: skip


@pytest.mark.parametrize("layer", PADDED, ids=repr)
def test_what_fills_a_sequence_up_changes_nothing(layer):
    """Outputs, gradients of the input and of the parameters are those of the shorter sequences, to rounding."""
    random = np.random.default_rng(0)
    short = random.normal(size=(6, 5, 4))
    long = np.concatenate([short, np.full((6, 4, 4), -9.0)], axis=1)
    padded = nn.Sequential([nn.Masking(-9.0), layer]).build((9, 4), random_state=0, dtype="float64")
    alone = nn.Sequential([nn.Masking(-9.0), layer]).build((5, 4), random_state=0, dtype="float64")
    expected, out = alone.forward(short, training=True), padded.forward(long, training=True)
    steps = out.ndim == 3
    np.testing.assert_allclose(out[:, :5] if steps else out, expected, rtol=0, atol=1e-13)
    grad = random.normal(size=expected.shape)
    expected = alone.backward(grad)
    grad = np.pad(grad, ((0, 0), (0, 4), (0, 0))) if steps else grad
    grad_x = padded.backward(grad)
    np.testing.assert_allclose(grad_x[:, :5], expected, rtol=0, atol=1e-13)
    assert not grad_x[:, 5:].any()
    for own, other in zip(padded.gradients().values(), alone.gradients().values(), strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-12)


def test_padding_of_questions_and_answers_changes_nothing():
    """The decoder sees the questions' mask through the encoder, and its own."""
    X, y = questions(20, 2, lambda words: words[::-1])
    X, y = X[:, :5], y[:, :5]

    def build(asked, told):
        net = nn.Graph(
            src=("question", nn.Embedding(TOKENS, 8, padding_idx=0)), tgt=("answer", nn.Embedding(TOKENS, 8, padding_idx=0)),
            out=(("src", "tgt"), nn.Transformer(2, num_encoder_layers=1, num_decoder_layers=2, dim_feedforward=9, dropout=0.0)),
        )
        return nn.Sequential([net]).build({"question": (asked,), "answer": (told,)}, random_state=0, dtype="float64")

    out = build(5, 5).predict({"question": X, "answer": y})
    wider = build(9, 7).predict({"question": np.pad(X, ((0, 0), (0, 4))), "answer": np.pad(y, ((0, 0), (0, 2)))})
    np.testing.assert_allclose(wider[:, :5], out, rtol=0, atol=1e-13)
