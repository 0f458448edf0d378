"""Words that users of PyTorch, Keras and scikit-learn type by habit, and what is written here instead."""

from __future__ import annotations

__all__ = ["ATTRIBUTES", "CLASSES", "ELSEWHERE", "HOOKS", "NAMES", "NEEDLESS", "RENAMED"]

# An argument there: what the same is called here. The first that is taken where it is given counts.
RENAMED: dict[str, tuple[str, ...]] = {
    "a": ("low",),
    "alpha": ("negative_slope",),
    "axis": ("dim",),
    "b": ("high",),
    "bias_initializer": ("bias_init",),
    "clipnorm": ("clip_norm",),
    "clipvalue": ("clip_value",),
    "criterion": ("loss",),
    "dilation_rate": ("dilation",),
    "div_factor": ("div",),
    "epsilon": ("eps",),
    "eta_min": ("final",),
    "factor": ("gamma",),
    "filepath": ("path",),
    "filters": ("out_channels",),
    "final_div_factor": ("final_div",),
    "global_clipnorm": ("clip_norm",),
    "go_backwards": ("reverse",),
    "hidden_dim": ("hidden_size", "out_features"),
    "hidden_layer_sizes": ("layers",),
    "hidden_size": ("out_features",),
    "input_dim": ("num_embeddings",),
    "kernel_initializer": ("weight_init",),
    "learning_rate": ("lr",),
    "loss_fn": ("loss",),
    "lr_scheduler": ("schedule",),
    "mask_value": ("value",),
    "max_epochs": ("epochs",),
    "max_iter": ("epochs",),
    "max_norm": ("clip_norm",),
    "maxval": ("high",),
    "minval": ("low",),
    "n_epochs": ("epochs",),
    "n_iter_no_change": ("patience",),
    "n_jobs": ("n_threads",),
    "n_layers": ("num_layers",),
    "nb_epoch": ("epochs",),
    "nesterovs_momentum": ("nesterov",),
    "num_epochs": ("epochs",),
    "out_features": ("hidden_size", "out_channels"),
    "output_dim": ("embedding_dim", "out_features"),
    "p": ("rate",),
    "pct_start": ("rise",),
    "pool_size": ("kernel_size",),
    "recurrent_initializer": ("weight_init",),
    "restore_best_weights": ("restore_best",),
    "rho": ("alpha",),
    "seed": ("random_state",),
    "solver": ("optimizer",),
    "stddev": ("std",),
    "strides": ("stride",),
    "T_0": ("restart",),
    "T_mult": ("stretch",),
    "tol": ("min_delta",),
    "units": ("out_features", "hidden_size", "out_channels"),
    "use_bias": ("bias",),
    "val": ("value",),
    "weights": ("sample_weight",),
}

_INPUT = "sizes of the input come from the data"
_DECAY = "weight decay is the optimizer's, as in nn.Adam(weight_decay=1e-4)"
_RATE = "the learning rate is the optimizer's, as in nn.Adam(lr=1e-3)"
_LAYOUT = "channels come first, (N, channels, height, width)"
_CLASS_WEIGHT = "rows are weighted by fit(..., sample_weight=...)"
_TIME = "a schedule goes by the optimizer's lr and the epochs of fit, and steps by itself"
_SHOWN = "fit(progress=True) or False says what is shown"
_NONE = "there is no such option here; leave it out"

# An argument there that is not needed here, and why. It counts where no other name is known.
NEEDLESS: dict[str, str] = {
    **dict.fromkeys(
        ("in_features", "in_channels", "input_size", "num_features", "normalized_shape", "num_channels", "embed_dim", "d_model",
         "input_shape", "batch_input_shape", "input_dim", "in_shape", "kdim", "vdim", "key_dim"), _INPUT,
    ),
    **dict.fromkeys(
        ("weight_decay", "kernel_regularizer", "bias_regularizer", "recurrent_regularizer", "embeddings_regularizer",
         "activity_regularizer", "l1", "l2", "alpha"), _DECAY,
    ),
    **dict.fromkeys(("learning_rate", "learning_rate_init", "lr"), _RATE),
    **dict.fromkeys(("data_format", "channels_last"), _LAYOUT),
    **dict.fromkeys(("weight", "class_weight", "pos_weight"), _CLASS_WEIGHT),
    **dict.fromkeys(("size_average", "reduce"), "reduction='mean' or reduction='sum' says it"),
    **dict.fromkeys(("last_epoch", "T_max", "total_steps", "total_iters", "max_lr", "base_lr", "decay_steps", "optimizer"),
                    _TIME),
    **dict.fromkeys(("verbose", "verbosity"), _SHOWN),
    **dict.fromkeys(("dropout", "recurrent_dropout", "dropout_rate"),
                    "dropout is a layer of its own: put nn.Dropout(0.2) after it"),
    **dict.fromkeys(
        ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused", "baseline", "start_from_epoch", "proj_size",
         "padding_mode", "return_indices", "return_state", "stateful", "unroll", "add_bias_kv", "add_zero_attn", "sparse",
         "scale_grad_by_freq", "norm_type", "threshold", "align_corners", "dampening", "centered", "cooldown",
         "decoupled_weight_decay"), _NONE,
    ),
    "activation": "an activation is a layer of its own: put 'relu', or another one, after it",
    "batch_first": "sequences are always (N, steps, features)",
    "class_mode": "the loss says what targets are",
    "device": "all is computed on the CPU",
    "dilation": "its windows have no gaps; leave it out",
    "dtype": "numbers are float32, or what model.build(in_shape, dtype=...) says",
    "from_logits": "cross_entropy and bce_with_logits take logits, nll and bce take what comes after the softmax or sigmoid",
    "ignore_index": "leave such rows out, or give them a sample_weight of 0",
    "inplace": "layers work in place by themselves where they can",
    "momentum": "momentum is the optimizer's, as in nn.SGD(momentum=0.9)",
    "mode": "the loss is what is to fall",
    "name": "layers are named by their places, from 0 on",
    "params": "fit and optimizer.step(model) tell an optimizer its model",
    "return_dict": "metrics are measured by fit, and by functions of scikit-learn",
    "shuffle": "fit shuffles",
    "size": "scale_factor says how many times larger",
    "steps_per_epoch": "batch_size says it",
    "test_size": "validation_split is the part that is held out",
    "time_major": "sequences are always (N, steps, features)",
    "track_running_stats": "running statistics are always kept",
    "trainable": "write model.freeze('0.*') once the model is built",
    "validation_freq": "validation comes after every epoch",
    "workers": "n_threads says how many threads compute",
}  # fmt: skip

_LOOP = "write model.fit(X, y, ...); by hand it is out = model.forward(x, training=True); loss, grad = criterion(out, y); " \
        "model.backward(grad); optimizer.step(model)"  # fmt: skip
_CPU = "all is computed on the CPU; leave it out"
_DTYPE = "write model.copy('float64'), or model.build(in_shape, dtype='float64')"
_ARRAYS = "write model.parameters() and model.states(), which hold live arrays by name"
_LIST = "write the list of layers: nn.Sequential([...])"
_FROZEN = "write model.freeze('0.*') and model.unfreeze('0.*'), by patterns over the names of parameters"

# A method or attribute of models and parts there, and what is written here.
ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys(("to", "cuda", "cpu"), _CPU),
    **dict.fromkeys(("double", "float", "half", "bfloat16", "type"), _DTYPE),
    **dict.fromkeys(("state_dict", "named_parameters", "named_buffers", "buffers", "get_weights", "weights",
                     "trainable_weights",
                     "trainable_variables", "trainable_parameters", "coefs_", "intercepts_"), _ARRAYS),
    **dict.fromkeys(("add", "add_module", "append", "extend", "insert", "register_module", "pop"), _LIST),
    **dict.fromkeys(("requires_grad", "requires_grad_", "trainable"), _FROZEN),
    **dict.fromkeys(("train_on_batch", "fit_generator", "training_step", "fit_one_cycle"), _LOOP),
    **dict.fromkeys(("modules", "children", "named_modules", "named_children"), "write model.layers, or go through the model"),
    "apply": "write model.layers, or go through the model",
    "backward": "write loss, grad = criterion(out, y), then model.backward(grad)",
    "classes_": "a model knows no labels; nn.NNClassifier does",
    "compile": "write model.fit(X, y, loss=..., optimizer=..., metrics=[...]): nothing is set up before",
    "eval": "model.predict(X) and model.forward(x) leave dropout off; leave it out",
    **dict.fromkeys(("export", "to_onnx"), "write nn.onnx.export(model, path); model.to_c(path) writes C"),
    "fit_transform": "nn.NNClassifier and nn.NNRegressor are transformers",
    "from_config": "write nn.load(path)",
    "get_config": "write part.hyperparameters(), or model.save(path)",
    "grad": "write model.gradients(), which holds live arrays by name",
    "load": "write model = nn.load(path)",
    "load_state_dict": "write nn.torch_weights(model, state_dict)",
    "load_weights": "write model = nn.load(path)",
    "history": "a History is the mapping itself: write history['loss']",
    "item": "write loss, grad = criterion(out, y), then float(loss)",
    "param_groups": "write optimizer.lr, optimizer.weight_decay and so on",
    "predict_classes": "write model.predict(X).argmax(axis=1)",
    "predict_proba": "write model.predict(X), raw outputs; nn.NNClassifier gives probabilities",
    "register_buffer": "write self.state(name, shape) in build",
    "register_parameter": "write self.parameter(name, shape) in build",
    "save_weights": "write model.save(path)",
    "score": "write model.evaluate(X, y); nn.NNClassifier and nn.NNRegressor have scores",
    "set_weights": "write model.parameters()['0.weight'] = array",
    "train": "model.fit(X, y, ...) trains, and model.forward(x, training=True) switches dropout on; leave it out",
    "weight": "write model.parameters()['0.weight'], where 0 is the layer's place in the model",
    "zero_grad": "backward writes gradients anew each time; leave it out",
}  # fmt: skip

# A method that is called there: the one that is called here.
HOOKS: dict[str, str] = {
    "apply_gradients": "update",
    "call": "forward",
    "compute": "__call__",
    "get_lr": "factor",
    "on_after_backward": "on_batch_end",
    "on_batch_begin": "on_batch_end",
    "on_batch_start": "on_batch_end",
    "on_epoch_begin": "on_epoch_end",
    "on_epoch_start": "on_epoch_end",
    "on_step_end": "on_batch_end",
    "on_test_end": "on_epoch_end",
    "on_train_batch_end": "on_batch_end",
    "on_train_begin": "on_fit_begin",
    "on_train_end": "on_fit_end",
    "on_train_epoch_end": "on_epoch_end",
    "on_train_start": "on_fit_begin",
    "on_validation_end": "on_epoch_end",
    "on_validation_epoch_end": "on_epoch_end",
    "result": "__call__",
    "update_state": "__call__",
    "update_step": "update",
}

# A class or function there that stands in ``nnkit`` under another name.
CLASSES: dict[str, str] = {
    "AdaptiveAveragePooling2D": "AdaptiveAvgPool2d",
    "BatchNormalization": "BatchNorm1d",
    "BinaryCrossentropy": "BCEWithLogitsLoss",
    "CategoricalCrossentropy": "CrossEntropyLoss",
    "Dense": "Linear",
    "CosineAnnealingLR": "CosineSchedule",
    "ExponentialLR": "ExponentialSchedule",
    "LayerNormalization": "LayerNorm",
    "MLPClassifier": "NNClassifier",
    "MLPRegressor": "NNRegressor",
    "MeanAbsoluteError": "L1Loss",
    "MeanSquaredError": "MSELoss",
    "Model": "Sequential",
    "ModelCheckpoint": "Checkpoint",
    "Module": "Layer",
    "MultiStepLR": "MultiStepSchedule",
    "MultiheadAttention": "MultiHeadAttention",
    "OneCycleLR": "OneCycle",
    "ReduceLROnPlateau": "ReduceOnPlateau",
    "SparseCategoricalCrossentropy": "CrossEntropyLoss",
    "StepLR": "StepSchedule",
}

# A name there that no name in ``nnkit`` stands for, and what is written here.
ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(("DataLoader", "Dataset", "TensorDataset", "utils"),
                    "write model.fit(X, y, batch_size=64): it takes arrays, and cuts and shuffles them itself"),
    **dict.fromkeys(("Tensor", "tensor", "from_numpy"), "its arrays are NumPy's"),
    **dict.fromkeys(("device", "cuda"), "all is computed on the CPU"),
    **dict.fromkeys(("no_grad", "inference_mode"), "model.predict(X) computes no gradients"),
    **dict.fromkeys(("manual_seed", "seed"), "write model.fit(X, y, random_state=0), or model.build(in_shape, random_state=0)"),
    **dict.fromkeys(("set_num_threads", "get_num_threads"), "write model.fit(X, y, n_threads=2), or set NNKIT_NUM_THREADS"),
    "Parameter": "write self.parameter(name, shape) in the layer's build",
    "autograd": "a part has a forward and a backward",
    "functional": "activations and losses are classes, such as nn.ReLU and nn.CrossEntropyLoss",
    "init": "write nn.Linear(64, weight_init='kaiming_uniform'); `nnkit list` shows them all",
    "optim": "optimizers stand in nnkit itself, such as nn.Adam",
    "save": "write model.save(path)",
}

# A part's name there, as a text: its name here.
NAMES: dict[str, str] = {
    "acc": "accuracy",
    "bce_loss": "bce",
    "binary_accuracy": "accuracy",
    "binary_crossentropy": "bce",
    "categorical_accuracy": "accuracy",
    "categorical_crossentropy": "cross_entropy",
    "ce": "cross_entropy",
    "dense": "linear",
    "kullback_leibler_divergence": "kl_div",
    "log_loss": "cross_entropy",
    "mean_absolute_error": "mae",
    "l1": "mae",
    "mean_squared_error": "mse",
    "sparse_categorical_accuracy": "accuracy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "squared_error": "mse",
    "swish": "silu",
    "smooth_l1_loss": "smooth_l1",
}
