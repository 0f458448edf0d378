"""
A very small GPT
================

It reads text, one character after the other, and guesses the next one. The text is nnkit's own
documentation: the docstrings of its layers. After 1400 steps the net spells words, and
begins to know what comes after what.
"""

import inspect
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Text becomes numbers
# --------------------
# Each row is 32 characters long; its targets are the characters that follow, one place further on.

STEPS = 32
parts = [part for part in nn.registry.layers.values() if part.__module__.startswith("nnkit.")]
text = "\n".join(inspect.getdoc(part).partition("Examples")[0] for part in parts)
letters = sorted(set(text))
codes = np.array([letters.index(letter) for letter in text])
starts = np.arange(0, len(codes) - STEPS, STEPS)
X = codes[starts[:, None] + np.arange(STEPS)]
y = codes[starts[:, None] + np.arange(1, STEPS + 1)]
print(f"{len(text)} characters, {len(letters)} different ones, {len(X)} rows")

# %%
# The net
# -------
# Two blocks of attention; with ``causal=True`` each place sees only those before it.

WIDTH = 64
block = {"dim_feedforward": 128, "dropout": 0.0, "norm_first": True, "causal": True}
model = nn.Sequential([
    nn.Embedding(len(letters), WIDTH), nn.PositionalEmbedding(),
    nn.TransformerEncoderLayer(4, activation="gelu", **block),
    nn.TransformerEncoderLayer(4, activation="gelu", **block),
    nn.LayerNorm(), nn.Linear(len(letters)),
])
adam = nn.AdamW(lr=6e-3, schedule=nn.OneCycle())
training = {"loss": "cross_entropy", "epochs": 4, "batch_size": 8, "random_state": 0}
history = model.fit(X, y, optimizer=adam, **training)
print(f"{history.steps} steps, loss {history.loss[-1]:.2f}")

# %%
# Let it write
# ------------
# The next character is drawn with the probabilities that the net gives. Scores are divided by 0.6
# first, which makes likely ones still likelier.

random = np.random.default_rng(0)
begin = "The gradient of the loss by the output of a layer"
written = [letters.index(letter) for letter in begin]
for _ in range(250):
    scores = model.predict(np.array([written[-STEPS:]]))[0, -1].astype(float)
    written.append(random.choice(len(letters), p=softmax(scores / 0.6)))
print(textwrap.fill("".join(letters[code] for code in written), 70))

# %%
# What it expects
# ---------------
# A sentence that is not in the text. Below each character stand the five that the net thought most
# likely there, having read all that is to the left; a frame marks the right one.

sentence = "The shape of the output layer"
row = np.array([[letters.index(letter) for letter in sentence.ljust(STEPS)]])
said = softmax(model.predict(row)[0, : len(sentence) - 1], axis=1).T  # (letters, places)
best = np.argsort(-said, axis=0)[:5]
likely = np.take_along_axis(said, best, axis=0)  # (5, places)

figure, panel = plt.subplots(figsize=(9.5, 3), layout="constrained")
image = panel.imshow(likely, cmap="Blues", vmin=0, vmax=1, aspect="auto")
signs = {" ": "\N{OPEN BOX}", "\n": "\N{RETURN SYMBOL}"}
for (rank, place), code in np.ndenumerate(best):
    colour = "white" if likely[rank, place] > 0.5 else "black"
    sign = signs.get(letters[code], letters[code])
    panel.text(place, rank, sign, ha="center", va="center", color=colour)
    if letters[code] == sentence[place + 1]:
        corner, frame = (place - 0.46, rank - 0.46), {"fill": False, "edgecolor": "C2"}
        panel.add_patch(plt.Rectangle(corner, 0.92, 0.92, linewidth=2, **frame))
panel.set_xticks(range(len(sentence) - 1), sentence[1:].replace(" ", "\N{OPEN BOX}"))
panel.xaxis.tick_top()
panel.tick_params(length=0)
panel.set_yticks(range(5), ["1st guess", "2nd", "3rd", "4th", "5th"])
panel.spines[:].set_visible(False)
figure.colorbar(image, ax=panel, label="probability")
plt.show()
