"""
Waves for fine detail
=====================

A net of ReLUs learns coarse shapes first, and fine detail late or never. It gets better eyes if its
first layer turns each number into waves of many frequencies: `nnkit.PeriodicEmbedding` learns them.
Here two nets learn a picture, as a function from a place (x, y) to a brightness.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# A flower of 96 x 96 pixels
# --------------------------
# The mean of four by four pixels of a photograph that scikit-learn brings.

photo = load_sample_image("flower.jpg").mean(axis=2)[20:404, 120:504] / 255
picture = photo.reshape(96, 4, 96, 4).mean(axis=(1, 3))
along = np.linspace(-1, 1, 96)
places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)  # (9216, 2)
target = picture.reshape(-1, 1)

# %%
# The same net, behind other eyes
# -------------------------------
# Each net is trained on all 9216 places, for 30 epochs.

body = [nn.Linear(128), nn.ReLU(), nn.Linear(128), nn.ReLU(), nn.Linear(1)]
waves = [nn.PeriodicEmbedding(24, hidden_features=48, sigma=3.0), nn.Flatten()]
nets = {
    "x and y as they are": nn.Sequential(body),
    "waves of x and y": nn.Sequential([*waves, *body]),
}
training = {"loss": "mse", "epochs": 30, "batch_size": 256, "random_state": 0}
losses = {}
for name, net in nets.items():
    adam = nn.Adam(lr=3e-3, schedule=nn.CosineSchedule())
    losses[name] = net.fit(places, target, optimizer=adam, **training)["loss"]

# %%
# What each has learned
# ---------------------
# The number below a picture is its signal-to-noise ratio (PSNR) in decibels: 10 log10(1 / mean
# squared error). More is better.

figure, panels = plt.subplots(2, 2, figsize=(7.5, 7.5), layout="constrained")
panels = panels.ravel()
panels[0].imshow(picture, cmap="gray", vmin=0, vmax=1)
panels[0].set_title("photograph")
decibels, colours = {}, ("C2", "C0")
for panel, (name, net), colour in zip(panels[1:], nets.items(), colours, strict=False):
    learnt = net.predict(places)
    decibels[name] = 10 * np.log10(1 / ((learnt - target) ** 2).mean())
    panel.imshow(learnt.reshape(96, 96), cmap="gray", vmin=0, vmax=1)
    panel.set(title=name, xlabel=f"{decibels[name]:.1f} dB")
    panels[3].plot(range(1, 31), losses[name], color=colour, label=name)
for panel in panels[:3]:
    panel.set(xticks=[], yticks=[])
panels[3].set(xlabel="epoch", ylabel="mean squared error", yscale="log")
panels[3].legend(frameon=False, fontsize=9)
plt.show()
