"""Parts from elsewhere: entry points, clashes of names, modules that are run again, and what the command line says of them."""

import re
import textwrap

import pytest

import nnkit as nn

CUBE = '''
    """A plugin."""
    import nnkit as nn

    @nn.register("cube")
    class Cube(nn.Activation):
        """s(x) = x**3.

        Examples
        --------
        >>> Cube()
        Cube()
        """

        @staticmethod
        def forward(x):
            return x * x * x

        @staticmethod
        def backward(grad_out, x):
            return 3.0 * x * x * grad_out
'''


@pytest.fixture
def install(tmp_path):
    """Make a distribution with one module and an entry point, as pip would leave it; return the folder to import from."""
    site = tmp_path / "site"
    site.mkdir()

    def install(distribution, text, entry_point=True):
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(textwrap.dedent(text))
        about = site / f"{module}-1.5.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        if entry_point:
            (about / "entry_points.txt").write_text(f"[nnkit.plugins]\n{module} = {module}\n")
        return str(site)

    return install


def test_plugin_is_loaded_when_its_name_is_asked_for(install, script):
    output = script(
        """
        import sys, nnkit as nn
        nn.Sequential(["relu", nn.Linear(2)]).build((3,)).fit([[1.0, 2.0, 3.0]], [[0.0, 0.0]], epochs=1)
        assert "nnkit_cube" not in sys.modules
        print(nn.Sequential(["cube"]).build((2,)).predict([[2.0, -1.0]]).tolist())
        assert nn.registry.activations["cube"] is sys.modules["nnkit_cube"].Cube
        """,
        PYTHONPATH=install("nnkit-cube", CUBE),
    )
    assert output == "[[8.0, -1.0]]\n"


@pytest.mark.parametrize("question", ["'cube' in nn.registry.activations", "'cube' in list(nn.registry.activations)",
                                      "nn.registry.activations.get('cube') is not None"])  # fmt: skip
def test_every_way_to_look_finds_it(install, script, question):
    assert script(f"import nnkit as nn; print({question})", PYTHONPATH=install("nnkit-cube", CUBE)) == "True\n"


def test_plugin_that_comes_in_while_the_process_runs_is_found(install, script):
    output = script(
        f"""
        import sys, nnkit as nn
        print("cube" in nn.registry.activations)
        sys.path.append({install("nnkit-cube", CUBE)!r})
        print("cube" in nn.registry.activations)
        """
    )
    assert output == "False\nTrue\n"


BROKEN = {
    "import error": "import a_module_that_is_not_there",
    "syntax error": "def",
    "exit": "raise SystemExit(3)",
    "takes a built-in name": CUBE.replace('"cube"', '"relu"'),
    "takes a layer's name": CUBE.replace('"cube"', '"linear"'),
    "names what nobody provides": CUBE.replace("backward(grad_out, x)", "backward(grad_out, y)"),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_plugin_is_one_warning_with_its_name(install, script, text):
    install("nnkit-cube", CUBE)
    output = script(
        """
        import warnings, nnkit as nn
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(nn.Sequential(["cube"]))
            for _ in range(2):
                try:
                    nn.Sequential(["cuba"])
                except nn.RegistryError as error:
                    print(error)
        (warning,) = caught
        assert warning.category is nn.PluginWarning
        print(warning.message)
        print(nn.registry.activations["relu"] is nn.ReLU, nn.registry.layers["linear"] is nn.Linear)
        """,
        PYTHONPATH=install("nnkit-wrong", text),
    )
    lines = output.splitlines()
    assert lines[0] == "Sequential([Cube()])"
    assert "did you mean 'cube'?; plugins left out: nnkit-wrong 1.5 (it cannot be loaded)" in lines[1]
    assert lines[3].startswith("the plugin nnkit-wrong 1.5 cannot be loaded and is left out: importing nnkit_wrong raises ")
    assert "NNKIT_PLUGINS_BLOCK=nnkit-wrong" in lines[3]
    assert lines[4] == "True True"


def test_plugin_that_fails_half_way_leaves_nothing_behind(install, script):
    install("nnkit-cube", CUBE)
    output = script(
        """
        import warnings, nnkit as nn
        warnings.simplefilter("ignore")
        print(nn.registry.activations["cube"].__module__, "other" in nn.registry.activations)
        """,
        PYTHONPATH=install("nnkit-a", textwrap.dedent(CUBE + CUBE.replace('"cube"', '"other"') + "    1 / 0")),
    )
    assert output == "nnkit_cube False\n"  # nnkit-a came first, by its name


def test_two_plugins_with_one_name_are_told_apart(install, script):
    install("nnkit-cube", CUBE)
    output = script(
        """
        import warnings, nnkit as nn
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(nn.registry.activations["cube"].__module__)
        print(caught[0].message)
        """,
        PYTHONPATH=install("nnkit-other", CUBE),
    )
    first, warning = output.splitlines()
    assert first == "nnkit_cube"
    assert "'cube' is taken by nnkit_cube.Cube; nnkit_other.Cube needs another name" in warning


@pytest.mark.parametrize(
    ("variable", "value", "left_out"),
    [("NNKIT_PLUGINS", "off", "all"), ("NNKIT_PLUGINS_BLOCK", "other, NNKIT_cube", "nnkit-cube, other")],
)
def test_plugins_can_be_left_out(install, script, variable, value, left_out):
    environment = {"PYTHONPATH": install("nnkit-cube", "raise RuntimeError"), variable: value}
    output = script("import nnkit as nn; nn.Sequential(['cube'])", expect=1, **environment)
    assert output == ""
    output = script(
        """
        import nnkit as nn
        try:
            nn.Sequential(["cube"])
        except nn.RegistryError as error:
            print(error)
        """,
        **environment,
    )
    assert f"plugins left out: {left_out} (by NNKIT_PLUGINS)" in output


def test_list_shows_what_comes_from_where(install, script):
    install("nnkit-wrong", "1 / 0")
    output = script(
        "import warnings; warnings.simplefilter('ignore'); import nnkit.__main__ as m; m.main(['list'])",
        PYTHONPATH=install("nnkit-cube", CUBE), COLUMNS="200",
    )  # fmt: skip
    lines = [line.split() for line in output.splitlines()]
    assert ["nnkit-cube", "1.5", "cube"] in lines
    assert lines[0][:3] == ["activations", "nnkit-numba", nn.__version__]
    assert "left out: nnkit-wrong 1.5, which cannot be loaded (ZeroDivisionError: division by zero)" in output


def test_threads_that_ask_at_once_all_get_it(install, script):
    output = script(
        """
        import nnkit as nn
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool:
            print(set(pool.map(lambda _: nn.Sequential(["cube"]).layers[0].key, range(32))))
        """,
        PYTHONPATH=install("nnkit-cube", "import time; time.sleep(0.2)\n" + textwrap.dedent(CUBE)),
    )
    assert output == "{'cube'}\n"


# ------------------------------------------------------------------------------------------- code that is run again


def test_reloaded_module_redefines_its_parts(install, script):
    output = script(
        """
        import importlib, pathlib, sys, nnkit as nn
        sys.dont_write_bytecode = True
        import nnkit_cube
        print(nn.Sequential(["cube"]).build((1,)).predict([[2.0]]))
        path = pathlib.Path(nnkit_cube.__file__)
        path.write_text(path.read_text().replace("return x * x * x", "return 5.0 * x"))
        importlib.reload(nnkit_cube)
        print(nn.Sequential(["cube"]).build((1,)).predict([[2.0]]))
        del sys.modules["nnkit_cube"]
        import nnkit_cube
        print(nn.registry.activations["cube"] is nnkit_cube.Cube)
        """,
        PYTHONPATH=install("nnkit-cube", CUBE),
    )
    assert output == "[[8.]]\n[[10.]]\nTrue\n"


def test_second_class_of_the_same_name_in_one_module_is_refused(install, script):
    text = textwrap.dedent(CUBE)
    output = script(
        """
        import nnkit as nn
        try:
            import nnkit_cube
        except nn.RegistryError as error:
            print(error)
        """,
        PYTHONPATH=install("nnkit-cube", text + text, entry_point=False),
    )
    assert "'cube' is taken by nnkit_cube.Cube; nnkit_cube.Cube needs another name" in output


def test_notebook_cell_that_is_run_again_redefines_quietly(script):
    output = script(
        '''
        import linecache, sys, types, nnkit as nn
        notebook = types.ModuleType("notebook")
        sys.modules["notebook"] = notebook
        for run in (2.0, 3.0):
            cell = f"""
        import nnkit as nn
        @nn.register("twice")
        class Twice(nn.Activation):
            @staticmethod
            def forward(x):
                return {run} * x
            @staticmethod
            def backward(grad_out):
                return {run} * grad_out
        """
            name = f"<cell {run}>"
            linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
            exec(compile(cell, name, "exec"), vars(notebook))
            print(nn.Sequential(["twice"]).build((1,)).predict([[1.0]]))
        '''
    )
    assert output == "[[2.]]\n[[3.]]\n"


def test_edited_plugin_is_compiled_anew_by_the_next_process(install, script):
    use = "import nnkit as nn; print(nn.Sequential(['cube']).build((1,)).predict([[2.0]]))"
    for body, result in (("x * x * x", "[[8.]]\n"), ("x + 40.0", "[[42.]]\n")):
        folder = install("nnkit-cube", CUBE.replace("return x * x * x", f"return {body}"))
        assert script(use, PYTHONPATH=folder) == result


# ------------------------------------------------------------------------------------------------------- checking it

CHECK = """
    import nnkit as nn
    try:
        for report in nn.testing.check_plugin("nnkit-cube"):
            print(repr(report).splitlines()[0])
    except nn.testing.CheckError as error:
        print(error)
"""


def test_check_plugin_checks_every_part_of_a_distribution(install, script):
    assert re.fullmatch(r"Cube\(\): all \d\d checks passed\n", script(CHECK, PYTHONPATH=install("nnkit-cube", CUBE)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CUBE.replace("3.0 *", "2.0 *"), "backward gives a wrong grad_x: at [0, 0, 1] expected "),
        (CUBE.replace(">>> Cube()", ">>> Cube().key"), "Cube: an example in its docstring gives something else:"),
        (CUBE.replace("@nn.register", "#"), "nnkit-cube: importing nnkit_cube registers no part"),
        ("import nothing_like_it", "nnkit-cube 1.5: importing nnkit_cube raises ModuleNotFoundError"),
    ],
)
def test_check_plugin_says_what_is_wrong(install, script, text, message):
    assert message in script(CHECK, PYTHONPATH=install("nnkit-cube", text))


def test_check_plugin_wants_an_installed_distribution_with_an_entry_point(install, script):
    assert "nnkit-cube: expected an installed distribution" in script(CHECK)
    output = script(CHECK, PYTHONPATH=install("nnkit-cube", CUBE, entry_point=False))
    assert 'nnkit-cube: expected an entry point in the group "nnkit.plugins", got none' in output


COMMAND = "import sys, nnkit.__main__ as m; sys.exit(m.main(['check', {target!r}]))"


@pytest.mark.parametrize("target", ["nnkit_cube:Cube", "nnkit_cube", "nnkit-cube", "nnkit_cube.py", "nnkit_cube.py:Cube"])
def test_check_command_takes_classes_modules_files_and_distributions(install, script, monkeypatch, target):
    folder = install("nnkit-cube", CUBE)
    monkeypatch.chdir(folder)
    output = script(COMMAND.format(target=target), PYTHONPATH=folder)
    assert "right  gradients_are_the_derivatives" in output
    assert output.splitlines()[-1] == "all is right"
    assert "vectorised" in output


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nnkit_cube:Cuba", "expected a part, got nothing of that name; nnkit_cube has Cube"),
        ("nnkit_cube:nn", "expected a part, got <module 'nnkit'"),
        ("json", "expected a module that registers parts"),
        ("nowhere", "nowhere: expected a module, a file or an installed distribution"),
        ("no-where", "no-where: expected an installed distribution"),
    ],
)
def test_check_command_says_what_it_cannot_find(install, script, target, message):
    output = script(COMMAND.format(target=target), expect=1, PYTHONPATH=install("nnkit-cube", CUBE))
    assert message in output


def test_check_command_says_of_every_right_part_what_was_vectorised(install, script):
    both = CUBE.replace("3.0 *", "-3.0 *") + "\n\n" + CUBE.replace("Cube", "Dice").replace("cube", "dice")
    output = script(COMMAND.format(target="nnkit_cube"), expect=1, PYTHONPATH=install("nnkit-cube", both))
    wrong, right = output.split("Dice()\n")
    assert "wrong" in wrong and "vectorised" not in wrong
    assert "  wrong  " not in right and "vectorised" in right, right


def test_check_command_fails_on_a_wrong_part_and_goes_on_with_the_other_checks(install, script):
    folder = install("nnkit-cube", CUBE.replace("3.0 *", "-3.0 *"))
    output = script(COMMAND.format(target="nnkit_cube"), expect=1, PYTHONPATH=folder)
    assert "wrong  gradients_are_the_derivatives" in output
    assert "likely cause: the sign is wrong" in output
    assert "right  nan_stays_nan" in output
    assert output.splitlines()[-1] == "not all is right"
