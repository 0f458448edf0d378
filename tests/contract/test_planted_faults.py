"""Parts that are wrong in one thing, which is found and named; and right ones, easily taken for wrong, which pass."""

import pytest

import nnkit as nn
from nnkit.testing import (
    CheckError,
    check_activation,
    check_layer,
    check_loss,
    check_optimizer,
    layers,
    losses,
    optimizers,
    others,
)
from nnkit.testing.checks import checked, checks_of
from nnkit.testing.part import pickle_round_trip, repr_can_be_typed_back_in
from tests.faults import fault, negative, out_of_range
from tests.parts import (
    RIGHT,
    BatchCentring,
    BatchRenorm,
    Dense,
    Drop,
    Exponential,
    KeepsOnItself,
    MovingCentring,
    Product,
    PythonAffine,
    Quartic,
    ReversedSums,
    Scale,
    ScaledSquare,
    SpectralDense,
    WarmMomentum,
)

# Likely causes that more than one fault has.
NOT_WRITTEN = "a number is left unwritten, or added to (+=) before it was set to 0"
UNWRITTEN = "a number is left unwritten, or memory is read (or added to) before it is written"
IN_PLACE = "it works in place; a kernel may write to what it gives (out, grad_x, grad_...), scratch and states only"
LAST_ROW = "only the last row of the batch counts; add up over the rows (+=)"
AVERAGED = "it is averaged over the rows; add them up, the loss does the averaging"
ADDED_UP = "the rows' gradients are to be added up (+=), neither averaged nor replaced"
MIXED = "a row depends on others of the batch, or on their number; mixes_rows = True allows that, in training only"
OVERFLOW = ("an exponential or a power overflows (take exp of -abs(x), or tanh, sigmoid of nnkit.kernels.math), "
            "or x is out of the domain that it should declare")  # fmt: skip
CSR = "indices need not be in order, and a column that comes twice counts twice; a row may be empty"
DRAWS = "the kernel draws numbers of its own, or remembers; draw them from seed (nnkit.kernels.random)"
SHARED = "something is kept on the class, in a global, or in a container that copies of the layer share"
CHECK_BOTH = "backward is not the derivative of the value that forward gives: check both"
ZERO_STEP = "it moves numbers whose gradient is 0; their step must be 0"
WIDE = "for float32 computes in float64; a constant, a NumPy call or a whole number of NumPy's widens it$"


def row_beyond(array):
    """What lies in memory behind the last row."""
    return f"np.lib.stride_tricks.as_strided({array}, (x.shape[0] + 1, x.shape[1]), {array}.strides)[x.shape[0]]"


# NumPy's 32-bit integers wrap around, Numba's become 64-bit ones: it is always true where it is not compiled.
ONLY_IN_NUMPY = "np.uint32({}) * np.uint32({}) < 2**32"

# What each check finds: a right part, the change that makes it wrong, and what has to be said about it.
FAULTS = {
    layers.indices_are_in_range: [
        fault(Scale, "build", "return in_shape", "return (in_shape[0] - 1,)",
              message=out_of_range("forward", "out[n, j] = x[n, j] * scale[j]", "out[n, j]", [0, 4], (4, 4))),
        fault(Scale, "forward", "x[n, j]", "x[n, j + 1]",
              message=out_of_range("forward", "out[n, j] = x[n, j + 1] * scale[j]", "x[n, j + 1]", [0, 5], (4, 5))),
        fault(Scale, "backward", "range(x.shape[0])", "range(x.shape[1])",
              message=out_of_range("backward", "grad_scale[j] += grad_out[n, j] * x[n, j]", "x[n, j]", [4, 0], (4, 5))),
        fault(Scale, "forward", "x[n, j]", "x[n, j - 1]",
              message=negative("forward", "out[n, j] = x[n, j - 1] * scale[j]", "x[n, j - 1]", [0, -1], (4, 5))),
        fault(Scale, "forward", "out[n, j] =", "i = j - 2\nout[n, i] =",
              message=negative("forward", "out[n, i] = x[n, j] * scale[j]", "out[n, i]", [0, -2], (4, 5))),
        fault(Scale, "backward", "grad_scale[j] +=", "grad_scale[j - n] +=",
              message=negative("backward", "grad_scale[j - n] += grad_out[n, j] * x[n, j]", "grad_scale[j - n]", [-1], (5,))),
        fault(SpectralDense, "forward", "normalise(left)", "normalise(left[left.shape[0] - 6 :])",
              message=negative("forward", "normalise(left[left.shape[0] - 6 :])", "left[left.shape[0] - 6:]",
                               "[-1:]", (5,))),
        fault(KeepsOnItself, "forward", "return np.exp(-self.squares)", "return np.exp(-self.squares).sum(axis=1)",
              message=r"expected forward to return the output, shape \(4, 5\), got shape \(4,\)$"),
        fault(KeepsOnItself, "backward", "return -2", "-2",
              message=r"expected backward to return the gradient of the input, shape \(4, 5\), got None$"),
        fault(KeepsOnItself, "backward", "-2 * x * np.exp(-self.squares) * grad_out", "grad_out @ x",
              message="backward fails at `return grad_out @ x`: ValueError: "),
    ],
    layers.randomness_follows_the_seed: [
        fault(Drop, "backward", "training and ", "", "forward", "training and ", "",
              cause="it is random out of training, too; name training and ask it"),
        fault(Scale, "forward", "* scale[j]", "* np.random.random()", cause=DRAWS),
        fault(PythonAffine, "forward", "x, offset", "x, offset, training",
              "forward", "x + offset", "x + offset + training * np.random.normal(size=x.shape)",
              count=20, cause=DRAWS),
        fault(Drop, "backward", "first_row + n", "first_row", "forward", "first_row + n", "first_row",
              message="forward draws the same numbers for every row; count rows from first_row$"),
    ],
    layers.states_follow_training: [
        fault(BatchCentring, "forward", "mean - running[j]", "mean - running[j] + (0.0 if x.shape[0] > 1 else np.nan)",
              array="running", index="0", count=5, wrong="are not finite",
              cause="it divides by the number of rows less one, or by what does not vary among them"),
    ],
    layers.begins_as_rows_say: [
        fault(nn.NTKLinear(3, from_data=True), "initialise", "std[std <= 1e-6 * np.abs(z).max(axis=0)] = 1.0", "pass",
              message="initialise fails at `weight, z = weight / std, z / std`: RuntimeWarning: divide by zero"),
        fault(nn.NTKLinear(3, from_data=True), "initialise", "random.exponential", "np.random.default_rng().exponential",
              kernel="initialise", array="bias",
              cause="it draws numbers of its own, or remembers; draw them from random, which it is given"),
        fault(nn.PiecewiseLinearEmbedding(2, bins=3), "initialise", "self.bins + 1), FAR", "self.bins), FAR",
              message=r"initialise fails at `ends\[feature, : len\(distinct\)\] = distinct`"),
        fault(nn.PiecewiseLinearEmbedding(2, bins=3), "initialise", '"ends": ends', '"end": ends',
              message="initialise gives 'end', which is none of its arrays: weight, slope, bias, ends$"),
        fault(nn.PiecewiseLinearEmbedding(2, bins=3), "initialise", "quantiles = ", "x.sort(axis=0)\nquantiles = ",
              kernel="initialise", array="x", cause="it writes to the rows that it is given"),
    ],
    layers.large_inputs_give_numbers: [
        fault(Scale, "forward", "x[n, j]", "np.log(np.exp(x[n, j] * x[n, j])) / x[n, j]", count=r"\d+", wrong="are not finite",
              cause="an exponential or a power overflows; take off the largest number first, as softmax does"),
    ],
    layers.padding_is_left_out: [
        fault(nn.GRU(3), "backward", "is_padding(mask, n, ", "(n < 0 and ", "forward", "is_padding(mask, n, ", "(n < 0 and ",
              count=r"\d+", cause="it depends on steps that are padding; leave out those where mask is 0", in_shape=(5, 2)),
        fault(nn.GRU(3), "backward", "is_padding(mask, n, ", "(n < 0 and ", array="grad_x", in_shape=(5, 2),
              cause="forward gives a wrong out: every gradient differs from its derivative"),
        fault(nn.GRU(3), "forward", "assign(h[s, n], h[s + 1, n])", "pass", in_shape=(5, 2), wrong="are not finite",
              cause="a number is left unwritten where a step is padding, or memory is read before it is written"),
        fault(nn.GRU(3), "forward", "is_padding(mask, n, ", "is_padding(mask, n + 1, ", in_shape=(5, 2),
              message="forward: is_padding fails at `return mask.shape.*`: mask.*out of range"),
    ],
    layers.sparse_rows_equal_dense: [
        fault(nn.Linear(3), "forward_csr", "row[j] += factor", "row[j] = factor", kernel="forward_csr", array="out", cause=CSR),
        fault(nn.Linear(3), "forward_csr", "row[j] = bias[j] if bias.shape[0] > 0 else 0.0", "pass",
              kernel="forward_csr", array="out", cause=CSR),
        fault(nn.Linear(3), "forward_csr", "indptr[x[n] + 1]", "indptr[x[n] + 2]", in_shape=(4,),
              message="forward_csr fails at .*: indptr.* is out of range"),
        fault(nn.Linear(3), "backward_csr", "column[j] +=", "column[j] =", array="grad_weight", cause=CSR),
        fault(nn.Linear(3), "backward_csr", "indptr[x[n]]", "indptr[n]", array="grad_weight", cause=CSR),
        fault(nn.Linear(3), "backward_csr", "grad_bias[:] = 0.0", "", array="grad_bias", index="0", count=3, cause=CSR),
    ],
    layers.sparse_rows_are_computed_alike: [
        fault(nn.Linear(3), "forward_csr", "+= factor", "+= np.float64(factor)", message=f"forward_csr {WIDE}"),
        fault(nn.Linear(3), "backward_csr", "+= factor", f"+= ({ONLY_IN_NUMPY.format('x[n] + 4', 2**30)}) * factor",
              array="grad_weight", cause=CSR),
    ],
    layers.inputs_stay_as_they_are: [
        fault(Scale, "forward", "for n", "x[0, 1] = 0.0\nfor n", array="x", index="0, 1", count=1, cause=IN_PLACE),
        fault(Scale, "forward", "for n", "scale[3] = 1.0\nfor n",
              kernel="a kernel", array="scale", index="3", count=1, cause=IN_PLACE),
        fault(Scale, "backward", "for n", "grad_out[0, 3] = 0.0\nfor n",
              array="grad_out", index="0, 3", count=1, cause=IN_PLACE),
        fault(Scale, "backward", "(x, scale", "(x, out, scale", "backward", "for n", "out[0, 4] = 0.0\nfor n",
              array="out", index="0, 4", count=1, cause=IN_PLACE),
        fault(Scale, "backward", "grad_out[n, j] * scale[j]", "grad_out[n, j] * scale[j]\nx[n, j] = 0.0",
              array="x", count=20, cause=IN_PLACE),
        fault(BatchCentring, "forward", "if training:", "running[0] += 1.0\nif training:",
              kernel="forward, out of training,", array="running", index="0", count=1,
              cause="it changes a state out of training; name training and ask it"),
        fault(MovingCentring, "forward", "if training:", "if True:",
              kernel="forward, out of training,", array="running", index=r"\d", count=5,
              cause="it changes a state out of training; name training and ask it"),
    ],
    layers.nothing_unwritten_is_read: [
        fault(Dense, "backward", "grad_bias[:] = 0.0", "grad_bias[:-1] = 0.0",
              "backward", "range(grad_bias.shape[0])", "range(grad_bias.shape[0] - 1)",
              array="grad_bias", index="4", count=1, wrong="are not finite", cause=UNWRITTEN),
        fault(Scale, "backward", "grad_x[n, j] =", "grad_x[n, j] +=", array="grad_x", index="0, 0", count=20, cause=UNWRITTEN),
        fault(ScaledSquare, "forward", "inner[n, j] = x", "inner[n, j] += x", index="0, 0", count=20, cause=UNWRITTEN),
        fault(ScaledSquare, "forward", "inner[n, j] = x", "if j < 4:\n    inner[n, j] = x",
              index="0, 4", count=4, cause=UNWRITTEN),
        fault(Scale, "build", "return in_shape", "return (in_shape[0] + 1,)",
              kernel="forward", array="out", index="0, 5", count=4, cause=UNWRITTEN),
        fault(ReversedSums, "forward", "range(x.shape[1] - 1, 0, -1)", "range(1, x.shape[1])",
              index=r"\d, [2-4]", count=12, cause="inplace = True, but it reads numbers that it has written over by then"),
    ],
    layers.gradients_are_the_derivatives: [
        fault(nn.Tanh, "backward", "grad_out *", "-grad_out *", array="grad_x", count=48, cause="the sign is wrong"),
        fault(nn.Tanh, "backward", "grad_out *", "0.5 * grad_out *",
              array="grad_x", count=48, cause="it is 0.5 times what it should be"),
        fault(nn.Tanh, "backward", "grad_out *", "", array="grad_x", cause="it does not depend on grad_out; multiply by it"),
        fault(Exponential, "backward", "out):", "x):", "backward", "* out", "* x",
              array="grad_x", cause="it would be right with out in place of x"),
        fault(nn.Hardtanh, "backward", " & (out < max_val)", "", array="grad_x",
              cause="the derivative at x = 2.888 is 0, got 1; it is right up to x = 0.999, and wrong above"),
        fault(nn.Linear(5), "backward", "dot(x.T, grad_out, grad_weight)", "dot(grad_out.T, x, grad_weight)",
              array="grad_weight", count=20, cause="it is transposed"),
        fault(nn.Linear(5), "backward", "dot(x.T, grad_out, grad_weight)",
              "dot(x.T, grad_out, grad_weight)\ngrad_weight[1, 0] *= -1.0",
              array="grad_weight", index="1, 0", count=1),
        fault(nn.Linear(5), "backward_x", "dot_transposed(grad_out, weight, strip, grad_x)", "dot(grad_out, weight, grad_x)",
              kernel="backward", array="grad_x", count=20),
        fault(nn.Linear(5), "backward", "sum_rows(grad_out, grad_bias)", "",
              array="grad_bias", index="0", count=5, cause=NOT_WRITTEN),
        fault(Dense, "backward", "grad_bias[:] = 0.0", "grad_bias[:-1] = 0.0",
              "backward", "range(grad_bias.shape[0])", "range(grad_bias.shape[0] - 1)",
              array="grad_bias", index="4", count=1, cause=NOT_WRITTEN),
        fault(Scale, "backward", "grad_x[n, j] = grad_out[n, j]", "grad_x[n, j] = 0.0 if j == 0 else grad_out[n, j]",
              array="grad_x", index=r"\d, 0", count=4,
              cause="all numbers but the first of each row are right: does the loop begin and end where it should?"),
        fault(Scale, "backward", "* x[n, j]", "* x[n, j] * (1.5 if j == 2 else 1.0)", array="grad_scale", index="2", count=1),
        fault(Scale, "backward", "* scale[j]", "* scale[j] + (1.0 if n == 3 else 0.0)",
              array="grad_x", index=r"3, \d", count=5),
        fault(Scale, "backward", "* scale[j]", "* scale[j]\nif n == 3 and j == 2:\n    grad_x[n, j] = 0.0",
              array="grad_x", index="3, 2", count=1),
        fault(Scale, "backward", "* x[n, j]", "* x[n, j] / real(x.shape[0])",
              array="grad_scale", index=r"\d", count=5, cause=AVERAGED),
        fault(Scale, "backward", "grad_scale[j] +=", "grad_scale[j] =",
              array="grad_scale", index=r"\d", count=5, cause=LAST_ROW),
        fault(Scale, "backward", "* x[n, j]", "* x[n, j]\ngrad_scale[j] += grad_out[n, j] * x[n, j]",
              array="grad_scale", index=r"\d", count=5, cause="it is 2 times what it should be"),
        fault(Scale, "backward", "grad_scale[:] = 0.0", "", array="grad_scale", index="0", count=5, cause=NOT_WRITTEN),
        fault(Drop, "backward", "training and ", "", kernel="backward, out of training,", array="grad_x"),
        fault(Drop, "backward", "bits(seed", "bits(seed + 1", array="grad_x"),
        fault(MovingCentring, "backward", "momentum * mean", "0.5 * momentum * mean", array="grad_x", count=20),
        fault(MovingCentring, "backward", "= grad_out[n, j] -", "= -grad_out[n, j] -", array="grad_x", count=20),
        fault(BatchRenorm(1.0, 0.0), "backward", "- mean", "+ mean", array="grad_x"),
        fault(BatchRenorm, "backward", "* ratio[j]", "", array="grad_x"),
        fault(SpectralDense, "backward", "along * left[i]", "left[i]", array="grad_weight"),
        fault(SpectralDense, "backward", "weight[i, j] / sigma", "weight[i, j]", array="grad_x", count=20,
              cause="it is 0.9225 times what it should be"),
    ],
    layers.compiled_equals_uncompiled: [
        fault(Scale, "forward", "* scale[j]", f"* scale[j] if {ONLY_IN_NUMPY.format('j', 2**30)} else 0.0",
              index=r"\d, 4", count=4,
              cause="compiled code rounds differently or does something else: integer arithmetic, a NumPy function"),
        fault(PythonAffine, "forward", "x + offset", "offset + (np.round(x, 1) if x.dtype == np.float32 else x)",
              kernel="forward in float32", array="out", cause="in float32 it loses its digits: large numbers that cancel out"),
    ],
    layers.wide_rows_have_their_derivative: [
        fault(Scale, "backward", "grad_out[n, j] * scale[j]", "grad_out[n, j] * scale[j if j < 30 else 0]",
              message=r"backward gives a wrong grad_x: at \[\d+, 3\d\] expected .*, got .* \(of 23 rows of shape \(37,\)\)"),
    ],
    layers.wide_rows_are_computed_alike: [
        fault(Scale, "build", "return", 'self.workspace("line", (16,))\nreturn', "forward", "scale, out", "scale, line, out",
              "forward", "out[n, j] =", "line[j] = x[n, j]\nout[n, j] =",
              message=out_of_range("forward", "line[j] = x[n, j]", "line[j]", [16], (16,))),
    ],
    layers.float32_stays_float32: [
        fault(nn.Tanhshrink, "forward", "x - tanh(x)", "np.float64(x) - tanh(x)", message=f"forward {WIDE}"),
        fault(Scale, "forward", "x[n, j]", "x[n].copy()[j]",
              message="forward allocates memory; write into out and declared scratch arrays"),
        fault(Scale, "forward", "* scale[j]", "* scale[j] / np.int64(x.shape[1])", message=f"forward {WIDE}"),
    ],
    layers.only_these_rows_are_written: [
        fault(Scale, "forward", "for n", f"{row_beyond('out')}[0] = 1.0\nfor n",
              message="forward writes to out beyond the rows of the batch$"),
        fault(Scale, "backward", "grad_scale[:]",
              "np.lib.stride_tricks.as_strided(grad_scale, (x.shape[1] + 1,), grad_scale.strides)[:]",
              message="backward writes beyond its parameters' gradients$"),
    ],
    layers.batch_equals_rows: [
        fault(Scale, "backward", "* x[n, j]", "* x[n, j] / real(x.shape[0])",
              array="grad_scale", index=r"\d", count=5, cause=ADDED_UP),
        fault(Scale, "backward", "grad_scale[j] +=", "grad_scale[j] =",
              array="grad_scale", index=r"\d", count=5, cause=ADDED_UP),
        fault(Scale, "backward", "* scale[j]", "* scale[j]\nif n == 1 and j == 2:\n    grad_x[n, j] += grad_out[0, j]",
              "forward", "* scale[j]", "* scale[j]\nif n == 1 and j == 2:\n    out[0, j] += x[n, j]",
              index=r"\d+, 2", cause=MIXED),
        fault(BatchCentring, "forward", "if training:", "if True:", count=115, cause=MIXED),
        fault(Scale, "forward", "* scale[j]", "* scale[j] if n < 4 else 0.0", cause=MIXED),
    ],
    layers.passes_do_not_disturb_each_other: [
        fault(KeepsOnItself, "forward", "self.squares = x", "type(self).squares = x",
              kernel="backward", array="grad_x", count=20, cause=SHARED),
        fault(KeepsOnItself, "build", "return in_shape", "self.seen = {}\nreturn in_shape",
              "forward", "self.squares = x", "self.seen[0] = self.squares = x", "backward", "self.squares", "self.seen[0]",
              array="grad_x", count=20, cause=SHARED),
        fault(ScaledSquare, "backward", "* grad_out[n, j]", "* grad_out[n, j]\ninner[n, j] *= grad_out[n, j]",
              array="grad_x", cause="backward overwrites what it reads; a second backward must find what forward has left"),
    ],
    layers.neighbours_do_not_matter: [
        fault(Scale, "forward", "* scale[j]", f"* scale[j] + {row_beyond('x')}[j]",
              cause="it reads memory that it has not named, or writes to memory that is not its to change"),
    ],
    layers.shards_and_threads_do_not_matter: [
        fault(Drop, "backward", "first_row + n", "n", "forward", "first_row + n", "n",
              index=r"[23], \d", cause="random numbers depend on the shard; count rows from first_row"),
        fault(BatchCentring, "build", "return", 'self.partial("sums", in_shape)\nreturn',
              kernel="forward", array="out", cause="it counts on the whole batch"),
    ],
    repr_can_be_typed_back_in: [
        fault(nn.HuberLoss(delta=3.0), "__init__", "= delta", "= 2.0 * delta",
              message=r"makes another part, HuberLoss\(delta=12.0\); store arguments as"),
    ],
    pickle_round_trip: [
        fault(nn.HuberLoss, "__init__", "= delta", "= delta\nself.work_out = lambda x: delta * x",
              message="cannot be pickled .*; store numbers, names and parts only$"),
    ],
    layers.nan_stays_nan: [
        fault(nn.ReLU, "forward", "0.0 if x < 0.0 else x", "x if x > 0.0 else 0.0",
              message="forward makes numbers of NaN in float32; a comparison with NaN is false"),
    ],
    layers.large_inputs_stay_finite: [
        fault(nn.Softplus, "forward", "softplus(beta * x)", "np.log(1.0 + np.exp(beta * x))",
              index="0, 1, 1", count=16, wrong="are not finite", cause=OVERFLOW),
        fault(nn.Softplus, "forward", "softplus(beta * x)", "(x if x > 1000.0 else np.log(1.0 + np.exp(beta * x)))",
              wrong="are not finite", cause=OVERFLOW),
    ],
    layers.outputs_do_not_jump: [
        fault(nn.ReLU, "forward", "x < 0.0", "x < 0.01",
              message="wrong out: from x = 0.009675 to 0.01116 it goes from 0 to 0.01116, where backward says 0"),
    ],
    layers.outputs_are_what_it_says: [
        fault(nn.Sigmoid, "forward", "sigmoid(x)", "2.0 * sigmoid(x) - 1.0",
              message="gives is numbers from 0 to 1, but outputs are from -1 to 1"),
        fault(nn.Hardtanh(-1.0, 2.0), "forward", "max_val if cut > max_val", "1.0 if cut > 1.0",
              message="numbers from -1 to 2, but outputs are from -1 to 1 alone"),
    ],
    losses.loss_indices_are_in_range: [
        fault(Product, "forward", "target[k]", "target[k + 1]",
              message=out_of_range("forward", "total += prediction[k] * prediction[k] * target[k + 1]",
                                   "target[k + 1]", [4], (4,))),
        fault(Quartic, "forward", "return self.difference**4", "return (self.difference**4).sum()",
              message=r"expected forward to return the losses, shape \(4, 4\), got shape \(\)$"),
    ],
    layers.unusual_inputs_are_computed_alike: [
        fault(nn.Softplus, "forward", "softplus(beta * x)",
              f"(softplus(beta * x) if x < 100.0 or {ONLY_IN_NUMPY.format('x', 2**28)} else 0.0)",
              index=r"\d, \d, \d", cause="compiled code does something else with NaN, or with large numbers"),
    ],
    losses.loss_gradient_is_the_derivative: [
        fault(nn.HuberLoss(delta=0.5), "backward", "-delta if cut < -delta else cut", "cut", array="grad_prediction",
              cause="the derivative at prediction = -1.864 and target = 1.227 is -0.5, got -3.091; it is right down to "
                    "prediction - target = -0.499, and wrong below"),
        fault(nn.MSELoss, "backward", "2.0 * ", "",
              array="grad_prediction", count=16, cause="it is 0.5 times what it should be"),
        fault(Product, "backward", "2.0 * prediction[k] * target[k]", "prediction[k] * prediction[k]",
              array="grad_prediction", count=16,
              cause="it is the derivative by the target, not by the prediction (or the sign is wrong)"),
        fault(Product, "backward", "* target[k]", "* target[k] / real(prediction.shape[0])",
              array="grad_prediction", count=16,
              cause="it is averaged over the numbers of a row; reduction is the framework's, forward and backward are of one "
                    "term each"),
        fault(Product, "forward", "return total", "return total / real(prediction.shape[0])",
              kernel="backward", array="grad_prediction", count=16,
              cause="forward averages over the numbers of a row, backward does not"),
        fault(Product, "backward", "* target[k]", "* target[k] if k != 2 else 100.0",
              array="grad_prediction", index=r"\d, 2", count=4, cause=CHECK_BOTH),
        fault(Product, "backward", "range(prediction.shape[0])", "range(prediction.shape[0] - 1)",
              array="grad_prediction", index="0, 3", count=4, cause=NOT_WRITTEN),
        fault(Quartic, "backward", "return 4 * self.difference**3",
              "gradient = 4 * self.difference**3\ngradient[-1, 1] = 1000.0\nreturn gradient",
              array="grad_prediction", index="3, 1", count=1, cause=CHECK_BOTH),
    ],
    losses.weights_equal_repetition: [
        fault(Quartic, "backward", "**3", "**3 / len(prediction)", "forward", "**4", "**4 / len(prediction)",
              array="loss", index="", cause="weights are left out, or rows depend on each other or on how many there are"),
    ],
    losses.weightless_rows_do_not_matter: [
        fault(nn.CrossEntropyLoss, "fused", "total, mass, weighty = ", "if w == 0.0:\n    break\ntotal, mass, weighty = ",
              kernel="fused", array="loss", index=""),
    ],
    losses.weightless_places_do_not_matter: [
        fault(nn.CrossEntropyLoss, "fused", "p, t, g = prediction[n]", "p, t, g = prediction[0 if n == 3 else n]",
              kernel="fused", array="loss", index="", in_shape=(2, 3)),
    ],
    losses.labels_equal_probabilities: [
        fault(nn.NLLLoss, "backward", "range(target.shape[0])", "range(1)", "forward", "range(target.shape[0])", "range(1)",
              array="loss", index=""),
        fault(nn.NLLLoss, "backward", "[label + i]", "[i]", "forward", "[label + i]", "[i]", array="loss", index=""),
    ],
    losses.probabilities_have_their_gradient: [
        fault(nn.NLLLoss, "backward", "* target[i]", "* (1.0 if target[i] > 0.0 else 0.0)",
              array="grad_prediction", index=r"\d, \d"),
    ],
    losses.loss_needs_no_gradient: [
        fault(nn.CrossEntropyLoss, "fused", "weighty * log(total)", "weighty * total",
              kernel="fused", array="loss", index="", cause="fused computes another loss than forward"),
    ],
    losses.loss_compiled_equals_uncompiled: [
        fault(nn.SoftMarginLoss, "forward", "return ", f"return {ONLY_IN_NUMPY.format('prediction + 4.0', 2**30)} * ",
              array="loss", index=""),
    ],
    losses.loss_float32_stays_float32: [
        fault(nn.SoftMarginLoss, "forward", "(-target", "(-np.float64(target)", message=f"loss {WIDE}"),
    ],
    losses.batch_of_one_is_a_row: [
        fault(Quartic, "backward", "**3", "**3 * min(len(prediction) - 1, 1)",
              "forward", "**4", "**4 * min(len(prediction) - 1, 1)",
              array="loss", index=""),
    ],
    losses.losses_do_not_disturb_each_other: [
        fault(Quartic, "forward", "**4", "**4 + np.random.random(prediction.shape)",
              array="loss", index="", cause="it draws numbers of its own, or remembers"),
        fault(Quartic, "backward", "return", "target[1, 2] = 9.0\nreturn",
              kernel="a kernel", array="target", index="1, 2", count=1,
              cause="it works in place; backward may write to grad_prediction only"),
    ],
    losses.losses_of_several_threads_are_apart: [
        fault(Quartic, "forward", "**4", '**4 + (__import__("threading").current_thread().name != "MainThread")',
              array="loss", index="", count=1,
              cause="threads share something that one of them changes: a global, the class, or a container on the loss"),
    ],
    losses.link_gives_the_probabilities: [
        fault(nn.BCEWithLogitsLoss, "probabilities", "np.exp(-prediction)", "np.exp(-2.0 * prediction)",
              kernel="link", array="array of probabilities", index=r"\d, \d",
              cause="link names another activation; leave it out where there is none"),
    ],
    optimizers.update_indices_are_in_range: [
        fault(nn.SGD, "update", "lr * grad[i]", "lr * grad[i + 1]",
              message=out_of_range("update", "value[i] -= lr * grad[i + 1]", "grad[i + 1]", [64], (64,))),
    ],
    optimizers.walks_are_reproducible: [
        fault(WarmMomentum, "coefficients", "return", 'self.steps = getattr(self, "steps", 0) + len(step)\nreturn',
              "coefficients", "lr / 2", "lr / self.steps",
              kernel="update", cause="something is kept outside of the declared states, or drawn at random"),
    ],
    optimizers.coefficients_of_many_steps_equal_one_by_one: [
        fault(WarmMomentum, "coefficients", "lr / 2", "lr * np.minimum(1.0, step[0] / 3.0)",
              array="rate", index="0", count=1, cause="it depends on the other steps that are asked for"),
    ],
    optimizers.steps_follow_the_rate: [
        fault(nn.SGD, "update", "lr * grad[i]", "0.01 * grad[i]",
              message=r"whatever lr is; name lr \(or a coefficient of it\)$"),
    ],
    optimizers.update_compiled_equals_uncompiled: [
        fault(nn.SGD, "update", "lr * grad[i]", f"lr * grad[i] if {ONLY_IN_NUMPY.format('i', 2**28)} else 0.0", index=r"\d+"),
    ],
    optimizers.update_descends: [
        fault(nn.SGD, "update", "lr * grad[i]", "-lr * grad[i]",
              message=r"300 steps bring a quadratic from \d+ to \S+ only, at the best of four rates, \S+; likely cause: "
                      "it goes up the gradient, the sign of the step is wrong$"),
        fault(nn.SGD, "update", "lr * grad[i]", "1e-6 * lr * grad[i]",
              message=r"300 steps bring a quadratic from \d+ to \d+ only, at the best of four rates, 1$"),
    ],
    optimizers.update_float32_stays_float32: [
        fault(nn.SGD, "update", "lr * grad[i]", "lr * grad[i] / np.sqrt(np.float64(4.0))", message=f"update {WIDE}"),
    ],
    optimizers.padding_stays_zero: [
        fault(nn.SGD, "update", "lr * grad[i]", "lr if grad[i] >= 0.0 else -lr", index=r"96|97|\d+", count=32, cause=ZERO_STEP),
        fault(nn.SGD, "update", "lr * grad[i]", "0.1 * lr * grad[i] / abs(grad[i])",
              index=r"96|97|\d+", count=32, cause=ZERO_STEP),
    ],
    optimizers.chunks_do_not_matter: [
        fault(nn.SGD, "update", "if momentum == 0.0:", "value[0] *= 0.9\nif momentum == 0.0:",
              index="(16|32|48|64|80)", count=5,
              cause="it treats a chunk as a whole; update must do to each number what it does to the others"),
    ],
    optimizers.gradient_is_only_read: [
        fault(nn.SGD, "update", "lr * grad[i]", "lr * grad[i]\nif i == 3:\n    grad[i] = 0.0",
              array="grad", index="(3|67)", count=2, cause="it works in place; a declared state can hold what it computes"),
    ],
    others.shapes_are_filled_from_the_seed_alone: [
        fault(nn.Uniform, "__call__", "random.uniform(", "np.random.uniform(",
              array=r"array of shape \(\)", index="", cause="it draws from another source than the generator that it is given"),
        fault(nn.Uniform, "__call__", "high, shape", "high, shape[::-1]",
              message=r"gives shape \(32, 64\), expected \(64, 32\)$"),
        fault(nn.Ones, "__call__", "return np.ones(shape)", "array = np.ones(shape)\narray.flat[-1:] = np.inf\nreturn array",
              array=r"array of shape \(\)", index="", count=1, wrong="are not finite"),
    ],
    others.factor_is_between_0_and_1: [
        fault(nn.ConstantSchedule, "factor", "np.ones_like(epoch)", "0.5 + epoch / epochs",
              message=r"factor is from 0.5 to 1.495, expected numbers in \[0, 1\], not all 0$"),
        fault(nn.ConstantSchedule, "factor", "np.ones_like(epoch)", "np.where(epoch < 5.0, 1.0, np.nan)",
              array="factor", index="100", count=100, wrong="are not finite"),
        fault(nn.ConstantSchedule, "factor", "if self.gamma", "epoch /= epochs\nif self.gamma",
              array="epoch", index="199", count=199, cause="it works in place on the times that it is given"),
        fault(nn.ConstantSchedule, "factor", "(epoch)", "(epoch, np.float32)",
              message="factor gives float32, expected float64$"),
    ],
    others.factor_of_many_times_equals_one_by_one: [
        fault(nn.ConstantSchedule, "factor", "np.ones_like(epoch)", "1.0 - epoch / (epoch.max() + 1.0)",
              array="factor", index=r"\d+", cause="it depends on the other times that are asked for"),
    ],
}  # fmt: skip

# What the framework refuses before a check could find it.
REFUSED = [
    fault(nn.Linear(5), "backward", ", grad_bias):", "):", "backward", "sum_rows(grad_out, grad_bias)", "",
          message=r"^Linear\(out_features=5\): expected backward to name .* grad_bias$"),
    fault(nn.Linear(5), "backward", ", grad_bias):", "):", "backward", "sum_rows(grad_out, grad_bias)", "",
          "backward_x", "grad_x):", "grad_x, grad_bias):\n    sum_rows(grad_out, grad_bias)",
          message=r"^Linear\(out_features=5\): expected backward to name .* grad_bias$"),
    fault(nn.SGD, "update", "nesterov):", "nesterov, weight_decay):",
          "update", "lr * grad[i]", "lr * (grad[i] + weight_decay * value[i])",
          message=r"^SGD\(\): update names 'weight_decay', which the framework applies"),
]  # fmt: skip

CHECKERS = {"layer": check_layer, "activation": check_activation, "loss": check_loss, "optimizer": check_optimizer}
FOUND = [(check, planted) for check, found in FAULTS.items() for planted in found]
PUBLIC = {str(planted): planted for _, planted in FOUND if planted.right.registry.kind in CHECKERS}.values()


def example_of(part, in_shape=None):
    """What the public checker of the part's kind checks it on."""
    if in_shape is not None:
        return nn.Example(part, in_shape)
    if isinstance(part, nn.Activation):
        return nn.Example(part, (3, 4), part.low, part.high, part.kinks)
    if isinstance(part, nn.Loss):
        return nn.Example(part, (4,), part.prediction_low, part.prediction_high, part.kinks)
    return nn.Example(part)


@pytest.mark.parametrize(("check", "planted"), FOUND, ids=[f"{check.__name__}-{planted}" for check, planted in FOUND])
def test_planted_fault_is_caught_and_named(check, planted):
    part = planted.wrong
    with pytest.raises(CheckError, match=planted.message) as caught:
        checked(check, example_of(part, planted.in_shape))
    assert repr(part) in str(caught.value)


@pytest.mark.parametrize("planted", PUBLIC, ids=str)
def test_public_checker_refuses_a_wrong_part(planted):
    part = planted.wrong
    with pytest.raises(CheckError) as caught:
        CHECKERS[part.registry.kind](part, **{} if planted.in_shape is None else {"in_shape": planted.in_shape})
    assert repr(part) in str(caught.value)


@pytest.mark.parametrize("planted", REFUSED, ids=str)
def test_a_part_that_does_not_fit_the_framework_is_refused(planted):
    part = planted.wrong
    with pytest.raises(nn.KernelError, match=planted.message):
        CHECKERS[part.registry.kind](part)


def test_a_fault_whose_place_has_gone_fails():
    with pytest.raises(ValueError, match=r"^Scale\.forward: expected 'x / scale' exactly once in its source, found it 0 times"):
        assert fault(Scale, "forward", "x / scale", "x").wrong


def test_every_check_has_a_fault_that_it_finds():
    assert set(FAULTS) == {check for _, planted in FOUND for check in checks_of(planted.right)}


@pytest.mark.parametrize(("part", "options"), RIGHT, ids=[type(part).__name__ for part, _ in RIGHT])
def test_a_right_part_is_not_accused(part, options):
    report = CHECKERS[part.registry.kind](part, **options)
    assert report.part is part
    assert report.checks == tuple(check.__name__ for check in checks_of(part))
