"""The C header, compiled without a warning, against the network: forward, backward, and learning."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import relative
from drawn import HIDDEN, PAIRS, network, samples

import deltarule as dr
from deltarule.interop import to_c

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"]
COMPILERS = {"gcc": ["-std=c99", "-x", "c"], "g++": ["-std=c++11", "-x", "c++"], "clang": ["-std=c99", "-x", "c"]}
VALUE = {"float32": 1e-5, "float64": 1e-13}

MAIN = """
#include <stdio.h>
#include "%(file)s"
static %(real)s x[%(n)d][%(n_0)d], y[%(n)d][%(n_L)d];
static void put(const char *what, const %(real)s *values, long count) {
    printf("%%s", what);
    for (long i = 0; i < count; i++) printf(" %%.17g", (double)values[i]);
    printf("\\n");
}
int main(void) {
    double value;
    for (int i = 0; i < %(n)d; i++)
        for (int j = 0; j < %(n_0)d; j++) { if (scanf("%%lf", &value) != 1) return 1; x[i][j] = (%(real)s)value; }
    for (int i = 0; i < %(n)d; i++)
        for (int j = 0; j < %(n_L)d; j++) { if (scanf("%%lf", &value) != 1) return 1; y[i][j] = (%(real)s)value; }
    for (int i = 0; i < %(n)d; i++) {
        %(real)s a[%(upper)s_OUTPUTS];
        %(name)s_predict(x[i], a);
        put("a", a, %(upper)s_OUTPUTS);
        printf("class %%d\\n", %(name)s_classify(x[i]));
        %(more)s
    }
    %(end)s
    return 0;
}
"""


def run(net, x, y, path, name="net", compiler="gcc", more="", end="", **options):
    """What a program around the header prints: by its first word, the rows of numbers."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    to_c(net, path / f"{name}.h", **options)
    real = "float" if net.dtype == np.float32 else "double"
    fields = {"file": f"{name}.h", "real": real, "n": len(x), "n_0": net.sizes[0], "n_L": net.sizes[-1]}
    program = MAIN % {**fields, "name": name, "upper": name.upper(), "more": more, "end": end}
    (path / "main.c").write_text(program)
    command = [compiler, *COMPILERS[compiler], *STRICT, path / "main.c", "-o", path / "main", "-lm"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    text = " ".join(repr(float(value)) for value in [*x.ravel(), *y.ravel()])
    done = subprocess.run([path / "main"], input=text, capture_output=True, text=True, check=True)
    rows = {}
    for line in done.stdout.splitlines():
        word, *values = line.split(" ")
        rows.setdefault(word, []).append(values)
    return {word: np.array(found, np.float64) if word[0] != "w" else found for word, found in rows.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HIDDEN)
def test_every_activation(name, dtype, tmp_path):
    net = network([5, 7, 3, 6, 4], name, "identity", "quadratic", dtype)
    net.W[1] *= 2
    x, y = samples(net, 30)
    x[0] *= 30
    got = run(net, x, y, tmp_path)["a"]
    assert relative(got, net.predict(x)) < VALUE[dtype]
    assert np.abs(got - net.predict(x)).max() < VALUE[dtype] * max(1, np.abs(got).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", list(dr.ACTIVATIONS))
def test_every_output_and_its_class(output, dtype, tmp_path):
    net = network([5, 6, 3], "tanh", output, "quadratic", dtype, scale=3)
    x, y = samples(net, 30)
    got = run(net, x, y, tmp_path)
    assert relative(got["a"], net.predict(x)) < VALUE[dtype]
    assert got["class"].ravel().tolist() == net.classify(x).tolist()


BOTH = """
        static net_trace t;
        const %(real)s C = net_backprop(&net_trained, x[i], y[i], &t);
        put("C", &C, 1);
        %(puts)s
"""


def backward(net, x, y, path, compiler="gcc"):
    real = "float" if net.dtype == np.float32 else "double"
    puts = "".join(
        f'put("a{l}", t.a{l}, {net.sizes[l]}); put("delta{l}", t.delta{l}, {net.sizes[l]});\n'
        for l in range(1, net.L + 1)
    )
    return run(net, x, y, path, more=BOTH % {"real": real, "puts": puts}, compiler=compiler, backward=True)


def assert_backward(net, x, y, got):
    trace, limit = net.backprop(x, y), VALUE[str(net.dtype)]
    assert relative(got["C"].ravel(), trace.cost) < limit
    for l in range(1, net.L + 1):
        assert relative(got[f"a{l}"], trace.a[l]) < limit
        assert np.abs(trace.delta[l]).max() > 0
        assert relative(got[f"delta{l}"], trace.delta[l]) < limit, l


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HIDDEN)
def test_the_backward_pass_with_every_activation(name, dtype, tmp_path):
    net = network([5, 7, 3, 4], name, "sigmoid", "quadratic", dtype)
    x, y = samples(net, 10)
    assert_backward(net, x, y, backward(net, x, y, tmp_path))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_the_backward_pass_behind_every_output_and_cost(output, cost, dtype, tmp_path):
    net = network([5, 6, 4], "tanh", output, cost, dtype, scale=1.0)
    x, y = samples(net, 10)
    assert_backward(net, x, y, backward(net, x, y, tmp_path))


def test_a_vanishing_error_keeps_its_relative_accuracy(tmp_path):
    net = network([3, 4, 4, 2], "sigmoid", "sigmoid", "quadratic", "float64", scale=6)
    x, y = samples(net, 5)
    x *= 10
    got, trace = backward(net, x, y, tmp_path), net.backprop(x, y)
    assert np.abs(trace.delta[1]).min() < 1e-10
    assert np.allclose(got["delta1"], trace.delta[1], rtol=1e-9, atol=0)


LEARN = """
    {
        static net_parameters p;
        static net_trace t;
        p = net_trained;
        for (int i = 0; i < %(N)d; i++) net_learn(&p, x[i], y[i], %(eta)s, &t);
        %(puts)s
    }
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_learning_on_the_device_is_sgd_on_one_sample_after_another(dtype, tmp_path):
    net = network([5, 6, 4, 3], "tanh", "softmax", "log_likelihood", dtype)
    x, y = samples(net, 50)
    puts = "".join(
        f'put("W{l}", p.W{l}, {net.W[l].size}); put("b{l}", p.b{l}, {net.b[l].size});' for l in range(1, net.L + 1)
    )
    eta = "0.1f" if dtype == "float32" else "0.1"
    got = run(net, x, y, tmp_path, end=LEARN % {"N": len(x), "eta": eta, "puts": puts}, backward=True)
    before = net.copy()
    net.fit(x, y, epochs=1, batch_size=1, optimizer=dr.SGD(0.1), shuffle=False, progress=False)
    for l in range(1, net.L + 1):
        assert relative(net.W[l], before.W[l]) > 0.01
        assert relative(got[f"W{l}"].reshape(net.W[l].shape), net.W[l]) < VALUE[dtype] * 10
        assert relative(got[f"b{l}"].ravel(), net.b[l]) < VALUE[dtype] * 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_constants_are_the_same_bits(dtype, tmp_path):
    net = network([30, 20, 5], "relu", "identity", "quadratic", dtype)
    net.W[1][0, :6] = [0.0, -0.0, 1e-42, -3.4e38, 1e20, np.finfo(dtype).tiny]
    x, y = samples(net, 1)
    x[:] = 0
    end = f'put("W1", net_trained.W1, {net.W[1].size}); put("b2", net_trained.b2, 5);'
    got = run(net, x, y, tmp_path, end=end)
    assert got["W1"].astype(dtype).tobytes() == net.W[1].tobytes()
    assert got["b2"].astype(dtype).tobytes() == net.b[2].tobytes()


@pytest.mark.parametrize("compiler", ["g++", "clang"])
def test_other_compilers_take_it_too(compiler, tmp_path):
    for number, (output, cost) in enumerate(PAIRS[:4]):
        net = network([4, 5, 3], "gelu", output, cost, "float32")
        folder = tmp_path / str(number)
        folder.mkdir()
        x, y = samples(net, 4)
        assert_backward(net, x, y, backward(net, x, y, folder, compiler))


def test_one_layer_and_one_output(tmp_path):
    net = network([3, 1], "tanh", "sigmoid", "cross_entropy", "float32")
    x, y = samples(net, 20)
    got = run(net, x, y, tmp_path)
    assert relative(got["a"], net.predict(x)) < 1e-5
    assert got["class"].ravel().tolist() == net.classify(x).tolist()
    assert "NET_STACK_BYTES 0" in (tmp_path / "net.h").read_text()


def test_classes_of_any_spelling_come_back(tmp_path):
    words = ["*/ /*", 'say "hi"\\', "REAL NAME 1.0 exp(", "crème brûlée", "??/"]
    net = network([3, 5], "tanh", "softmax", "log_likelihood", "float32")
    net.classes = np.array(words)
    x, y = samples(net, 3)
    end = f'for (int i = 0; i < {len(words)}; i++) printf("word %s\\n", net_class(i));'
    got = run(net, x, y, tmp_path, end=end)["word"]
    assert [" ".join(parts) for parts in got] == words
    net.classes = np.array([3, 5, 7, 11, 13])
    end = 'for (int i = 0; i < 5; i++) printf("number %lld\\n", net_class(i));'
    assert run(net, x, y, tmp_path, end=end)["number"].ravel().tolist() == net.classes.tolist()


def test_two_networks_in_one_program_and_names_that_c_takes(tmp_path):
    one, two = (network([2, 3, 1], "tanh", "identity", "quadratic", "float32", seed) for seed in (1, 2))
    to_c(one, tmp_path / "my net-1.h")
    to_c(two, tmp_path / "other.h", name="784 é")
    x, y = samples(one, 2)
    shutil.copy(tmp_path / "my net-1.h", tmp_path / "first.h")
    more = 'net_784___predict(x[i], a); put("b", a, 1); my_net_1_predict(x[i], a); put("c", a, 1);'
    source = f'#include "{tmp_path}/first.h"\n#include "{tmp_path}/other.h"\n'
    to_c(one, tmp_path / "net.h")
    (tmp_path / "both.h").write_text(source + (tmp_path / "net.h").read_text())
    fields = {"file": "both.h", "real": "float", "n": 2, "n_0": 2, "n_L": 1, "name": "net", "upper": "NET"}
    (tmp_path / "main.c").write_text(MAIN % {**fields, "more": more, "end": ""})
    command = ["gcc", "-std=c99", *STRICT, tmp_path / "main.c", "-o", tmp_path / "main", "-lm"]
    subprocess.run(command, check=True)
    text = " ".join(repr(float(value)) for value in [*x.ravel(), *y.ravel()])
    done = subprocess.run([tmp_path / "main"], input=text, capture_output=True, text=True, check=True).stdout
    for word, net in (("a", one), ("b", two), ("c", one)):
        values = [float(line.split()[1]) for line in done.splitlines() if line.startswith(f"{word} ")]
        assert relative(np.array(values)[:, None], net.predict(x)) < 1e-5


def test_nothing_is_computed_in_double_for_float32(tmp_path):
    """A microcontroller without a double unit would pay for each; the compiler is asked."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    for name in HIDDEN:
        net = network([3, 4, 2], name, "softmax", "log_likelihood", "float32")
        to_c(net, tmp_path / "net.h", backward=True)
        (tmp_path / "main.c").write_text(
            '#include "net.h"\nfloat f(const float *x, float *y, net_parameters *p, net_trace *t);\n'
            "float f(const float *x, float *y, net_parameters *p, net_trace *t)\n"
            "{ net_predict(x, y); return net_learn(p, x, y, 0.1f, t); }\n"
        )
        command = ["gcc", "-std=c99", *STRICT, "-Wdouble-promotion", "-Wunsuffixed-float-constants", "-c"]
        command += [tmp_path / "main.c", "-o", tmp_path / "main.o"]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr


def test_the_comment_tells_the_memory_that_it_takes(tmp_path):
    net = network([64, 30, 20, 25, 10], "relu", "softmax", "log_likelihood", "float32")
    to_c(net, tmp_path / "net.h", backward=True)
    text = (tmp_path / "net.h").read_text()
    count = sum(W.size + b.size for W, b in zip(net.W, net.b, strict=True))
    assert f"{4 * count:,} bytes of constants, and 200 bytes of stack" in " ".join(text.split())
    x, y = samples(net, 1)
    end = 'printf("size %d %d %d\\n", (int)sizeof(net_parameters), (int)sizeof(net_trace), NET_STACK_BYTES);'
    assert run(net, x, y, tmp_path, end=end, backward=True)["size"].tolist() == [[4 * count, 4 * 2 * 85, 200]]
    assert re.search(r"#define NET_INPUTS 64\n#define NET_OUTPUTS 10\n", text)


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    own = dr.Network([2, 3, 1], (lambda z: z**3, lambda z: 3 * z**2), "identity")
    with pytest.raises(dr.BadInput, match="layer 1 has an activation of your own"):
        to_c(own, tmp_path / "own.h")
    net = dr.Network([2, 3, 1])
    net.b[2] = [np.nan]
    with pytest.raises(dr.BadInput, match=r"b\^2 holds a value that is not finite"):
        to_c(net, tmp_path / "nan.h")
    with pytest.raises(dr.BadInput, match="is a folder"):
        to_c(net, tmp_path)
    assert not list(tmp_path.iterdir())
